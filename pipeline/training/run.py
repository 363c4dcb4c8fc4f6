"""One run: built at its newest checkpoint, trained to the end, tested once."""

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.data.batches import WHOLE, Share, build_evaluation_batches, build_training_batches
from pipeline.data.prepare import PreparedData
from pipeline.errors import UserError
from pipeline.files.json_file import write_json
from pipeline.files.whole import write_whole
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.models.names import HEAD
from pipeline.pretrained import assign_pretrained
from pipeline.run_directory import RunDirectory
from pipeline.training import plots
from pipeline.training.callbacks import KeepBest, RecordHistory, ShowProgress, StopOnNonFinite
from pipeline.training.checkpoint import Checkpoints, Progression
from pipeline.training.checkpoint_callbacks import Interrupted, RestoreEpochMetrics, SaveCheckpoints
from pipeline.training.distillation import TaughtNetwork
from pipeline.training.linear_head import compute_features, fit_linear_head
from pipeline.training.messages import shorter_run
from pipeline.training.moving_average import MovingAverage
from pipeline.training.multi_worker import prepare_for_hosts
from pipeline.training.networks import (
    build_deployed_network,
    build_metrics,
    build_training_network,
    compile_for_training,
)
from pipeline.training.optimization import Schedule, balanced_class_weights, build_schedule
from pipeline.training.resolve import Resolved
from pipeline.training.teacher import Teacher
from pipeline.training.transfer import freeze
from pipeline.training.variables import Damaged, load_variables, name_variables, save_variables


@dataclass
class TrainingRun:
    """One run, from its newest checkpoint to its end.

    Attributes:
        resolved: its settings, data and devices.
        directory: where it is written.
        model: the network being trained, compiled.
        parameters: of the network, frozen or not.
        fresh: names of the layers that did not begin with pretrained weights, where there are any.
        schedule: step -> learning rate.
        epoch_metrics: running means of the epoch.
        average: moving average of the weights, where there is one.
        checkpoints: its states to resume from.
        progression: how far it is.
        frozen: up to which part of the network nothing trains now.
    """

    resolved: Resolved
    directory: RunDirectory
    model: keras.Model
    parameters: int
    fresh: list[str]
    schedule: Schedule
    epoch_metrics: list[keras.metrics.Metric]
    average: MovingAverage | None
    checkpoints: Checkpoints
    progression: Progression
    frozen: str = "none"

    def fit(self, watchers: Sequence[keras.callbacks.Callback], last_epoch: int | None = None) -> None:
        """Train from the step that the progression is at to the end.

        Args:
            watchers: callbacks that come after the run's own and before its state is saved.
            last_epoch: stop after this one, and go on another time; None: the schedule's last.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            NonFinite: the loss or a weight is no longer finite.
            UserError: a state cannot be written.
        """
        config, steps_per_epoch = self.resolved.config, self.resolved.steps_per_epoch
        progression = self.progression
        if config.transfer.linear_head and progression.step == 0 and not progression.start:
            self._begin_with_linear_head()
        saver = SaveCheckpoints(
            self.checkpoints,
            progression,
            steps_per_epoch=steps_per_epoch,
            every_seconds=config.run.checkpoint_seconds,
            every_steps=config.run.checkpoint_steps,
            hosts=self.resolved.ground.hosts,
        )
        callbacks = [*self._callbacks(), *watchers, saver]
        validation = shared_evaluation_batches(self.resolved, "validation")
        last_epoch = last_epoch or config.total_epochs
        with saver.listening():
            try:
                while not progression.stopped_early and progression.step < last_epoch * steps_per_epoch:
                    self.freeze_or_thaw()
                    phase_end = last_epoch if self._in_last_phase else config.fit.epochs
                    self._fit_to_epoch_end_or_all(validation, callbacks, min(phase_end, last_epoch))
            finally:
                self.checkpoints.wait()
        hosts = self.resolved.ground.hosts
        if hosts.tell(saver.signal is not None or hosts.stop_asked):
            raise Interrupted

    def _begin_with_linear_head(self) -> None:
        """Fit the head to the weights' features; what it validates at is what training has to beat."""
        hosts = self.resolved.ground.hosts
        # Not on every host: logistic regression's last bit is the processor's.
        head = hosts.tell([part.tolist() for part in self._fit_head()] if hosts.is_chief else None)
        self.model.get_layer(HEAD).set_weights([np.array(part, np.float32) for part in head])
        if self.average:
            self.average.restart()
        found = self.model.evaluate(
            shared_evaluation_batches(self.resolved, "validation"), return_dict=True, verbose=0
        )
        figures = ("accuracy", "cross_entropy")
        self.progression.start = {"step": 0, **{f"val_{name}": found[name] for name in figures}}
        save_variables(self.directory.best_weights, self.checkpoints.best)
        for metric in self.epoch_metrics:
            metric.reset_state()
        self.checkpoints.save(self.progression)

    def _fit_head(self) -> list[np.ndarray]:
        """Fit the head to the features of all images of train: kernel and bias."""
        data, balanced = self.resolved.ground.data, self.resolved.config.fit.class_weights == "balanced"
        rows = {"train": data.splits.train, "validation": data.splits.validation}
        batches = {split: (evaluation_batches(self.resolved, split), len(of)) for split, of in rows.items()}
        features = compute_features(self.model, batches)
        train, validation = ((features[split], data.source.labels[of]) for split, of in rows.items())
        return list(fit_linear_head(train, validation, balanced=balanced))

    def freeze_or_thaw(self) -> None:
        """Let those layers train that train in this phase of the run."""
        frozen = "none" if self._in_last_phase else self.resolved.config.transfer.freeze
        if frozen != self.frozen:
            freeze(self.model, frozen)
            # The traced step would go on training what it trained before.
            self.model.train_function = None
            self.frozen = frozen

    @property
    def _in_last_phase(self) -> bool:
        """Whether nothing is left to thaw."""
        config = self.resolved.config
        thawed_at = config.fit.epochs * self.resolved.steps_per_epoch
        return config.transfer.finetune_epochs > 0 and self.progression.step >= thawed_at

    def _fit_to_epoch_end_or_all(
        self, validation: tf.data.Dataset, callbacks: list[keras.callbacks.Callback], last_epoch: int
    ) -> None:
        """Fit the rest of a half-done epoch alone, since `fit` takes epochs of equal length."""
        step, steps_per_epoch = self.progression.step, self.resolved.steps_per_epoch
        epoch, done = divmod(step, steps_per_epoch)
        self.model.fit(
            share_out(
                self.resolved, partial(training_batches, self.resolved, step, self.resolved.total_steps)
            ),
            initial_epoch=epoch,
            epochs=epoch + 1 if done else last_epoch,
            steps_per_epoch=steps_per_epoch - done,
            shuffle=False,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        fit, directory, progression = self.resolved.config.fit, self.directory, self.progression
        callbacks = [
            RestoreEpochMetrics(self.epoch_metrics),
            StopOnNonFinite(progression),
            RecordHistory(directory.history, self.schedule, progression, fit.batch_size),
            KeepBest(self.checkpoints.best, directory.best_weights, progression, fit.early_stopping),
            keras.callbacks.TensorBoard(directory.tensorboard, write_graph=False),
        ]
        # Before whatever evaluates or saves, so that it finds this step's average.
        return [self.average, *callbacks] if self.average else callbacks


def build_run(resolved: Resolved, directory: RunDirectory) -> TrainingRun:
    """Build a run at its newest checkpoint, or at its start.

    Raises:
        UserError: the weights to start from do not fit the network, or a checkpoint is of another.
    """
    config, ground = resolved.config, resolved.ground
    schedule = build_schedule(config.fit, config.transfer, resolved.steps_per_epoch)
    with ground.strategy.scope():
        model = build_training_network(config, resolved.classes, ground.statistics, resolved.replicas)
        if ground.teacher:
            model = _teach(model, ground.teacher, config)
        metrics = compile_for_training(model, config, schedule, class_weights(config, ground.data))
        if ground.hosts.count > 1:
            prepare_for_hosts(model, resolved.classes)
        parameters = count_parameters(model)
        names = ground.data.source.class_names
        fresh = assign_pretrained(ground.pretrained, model, names) if ground.pretrained else []
        average = MovingAverage(model.weights, config.fit.ema_decay) if config.fit.ema_decay else None
        variables = [*model.variables, *model.optimizer.variables]
        variables += [variable for metric in metrics for variable in metric.variables]
        best = dict(
            zip(name_variables(model.weights), average.averages if average else model.weights, strict=True)
        )
        sums = [variable for metric in metrics for variable in metric.variables]
        checkpoints = Checkpoints(
            directory, variables + (average.variables if average else []), best, sums, ground.hosts
        )
        progression = checkpoints.restore()
    run = TrainingRun(
        resolved, directory, model, parameters, fresh, schedule, metrics, average, checkpoints, progression
    )
    run.freeze_or_thaw()
    if progression.step % resolved.steps_per_epoch == 0:
        # What they hold is the validation that ended an epoch.
        for metric in metrics:
            metric.reset_state()
    return run


def _teach(model: keras.Model, teacher: Teacher, config: Config) -> TaughtNetwork:
    """Put a teacher beside the network."""
    transfer = config.transfer
    # After the network, whose generators are named as they are without one.
    network = teacher.build(config)
    return TaughtNetwork(model, network, share=transfer.teacher_share, temperature=transfer.temperature)


def class_weights(config: Config, data: PreparedData) -> list[float] | None:
    """Weight of each class in the loss of labels, by the images of train; None where all count alike."""
    if config.fit.class_weights != "balanced":
        return None
    labels = data.source.labels[data.splits.train]
    return balanced_class_weights(np.bincount(labels, minlength=len(data.source.class_names)))


def share_out(
    resolved: Resolved, build: Callable[[Share], tf.data.Dataset]
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Build what `fit` takes: all batches, or of several hosts this one's share of each."""
    hosts, strategy = resolved.ground.hosts, resolved.ground.strategy
    if hosts.count == 1:
        return build(WHOLE)
    share = Share(hosts.index, hosts.count, resolved.replicas)
    return strategy.distribute_datasets_from_function(lambda context: build(share))


def training_batches(
    resolved: Resolved, first_step: int, last_step: int, share: Share = WHOLE
) -> tf.data.Dataset:
    """Build the run's batches `first_step` to `last_step - 1`; see `build_training_batches`."""
    return build_training_batches(
        resolved.ground.data.examples("train"),
        resolved.config.augment,
        global_batch_size=resolved.config.fit.batch_size,
        seed=resolved.config.run.seed,
        first_step=first_step,
        last_step=last_step,
        share=share,
    )


def shared_evaluation_batches(
    resolved: Resolved, split: str
) -> tf.data.Dataset | tf.distribute.DistributedDataset:
    """Build one pass over a split for all hosts together."""
    return share_out(resolved, partial(evaluation_batches, resolved, split))


def evaluation_batches(resolved: Resolved, split: str, share: Share = WHOLE) -> tf.data.Dataset:
    """Build one pass over a split; see `build_evaluation_batches`."""
    return build_evaluation_batches(
        resolved.ground.data.examples(split),
        global_batch_size=resolved.config.fit.batch_size,
        replicas=resolved.replicas,
        share=share,
    )


def draw_contact_sheet(resolved: Resolved, path: Path) -> None:
    """Draw the first augmented batch."""
    images, labels = next(iter(training_batches(resolved, 0, 1).as_numpy_iterator()))
    plots.plot_contact_sheet(images, labels, resolved.ground.data.source.class_names, path)


def fit_showing_progress(run: TrainingRun, *watchers: keras.callbacks.Callback) -> None:
    """Train to the end, with a bar or lines; see `TrainingRun.fit`."""
    config = run.resolved.config
    progress = ShowProgress(
        run.progression,
        epochs=config.total_epochs,
        total_steps=run.resolved.total_steps,
        examples_per_step=config.fit.batch_size,
        shorter=lambda seconds_left: shorter_run(config, seconds_left),
    )
    with contextlib.closing(progress):
        run.fit([progress, *watchers])


def finish(run: TrainingRun) -> dict[str, Any]:
    """Test the deployed network with the best weights, once; write what a run leaves.

    Returns:
        The metrics.

    Raises:
        UserError: the best weights are gone or damaged.
    """
    resolved, directory, splits = run.resolved, run.directory, run.resolved.ground.data.splits
    with resolved.ground.strategy.scope():
        deployed = build_deployed_network(resolved.config, resolved.classes, resolved.ground.statistics)
        try:
            load_variables(directory.best_weights, name_variables(deployed.weights))
        except Damaged as error:
            raise UserError(
                f"a run must end with whole best weights; {directory.best_weights}: {error} "
                "(--resume goes back to the last state that has them)"
            ) from None
        deployed.compile(
            # Without state: else whoever loads the model is warned that some is missing.
            optimizer=keras.optimizers.SGD(),
            # Keras' own, so that the saved model loads where this package is not.
            loss=keras.losses.CategoricalCrossentropy(from_logits=True),
            weighted_metrics=build_metrics(),
            jit_compile=False,
        )
        if resolved.ground.hosts.count > 1:
            prepare_for_hosts(deployed, resolved.classes)
    test = deployed.evaluate(shared_evaluation_batches(resolved, "test"), return_dict=True, verbose=0)
    history, best = run.progression.history, run.progression.best
    assert best is not None
    plots.plot_learning_curves(history, directory.plots / "learning_curves.png")
    write_whole(directory.model, deployed.save)
    metrics = {
        "test": {"images": len(splits.test), **{name: test[name] for name in ("accuracy", "cross_entropy")}},
        "validation": {
            "images": len(splits.validation),
            "best_epoch": run.progression.best_epoch,
            "accuracy": best["val_accuracy"],
            "cross_entropy": best["val_cross_entropy"],
        },
        "epochs": len(history),
        "steps": run.progression.step,
        "parameters": count_parameters(deployed),
        "multiply_adds": sum(multiply_adds(deployed).values()),
    }
    if resolved.ground.teacher:
        metrics["teacher"] = resolved.ground.teacher.describe()
    # Last: its presence says that the run is finished.
    write_json(directory.metrics, metrics)
    return metrics
