"""One run: assemble data, model and callbacks; fit; test the best weights once."""

from collections.abc import Sequence

import keras
import numpy as np
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.data.batches import Order, build_evaluation_batches, build_training_batches
from pipeline.data.prepare import PixelStatistics, PreparedData
from pipeline.files import write_json, write_whole
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.pretrained import Pretrained, assign_pretrained
from pipeline.run_directory import RunDirectory
from pipeline.training import messages, plots
from pipeline.training.callbacks import KeepBest, RecordHistory, StopOnNonFinite
from pipeline.training.checkpoint import (
    Checkpoints,
    Interrupted,
    RestoreEpochMetrics,
    SaveCheckpoints,
    load_variables,
    name_variables,
)
from pipeline.training.moving_average import MovingAverage
from pipeline.training.networks import (
    build_deployed_network,
    build_metrics,
    build_training_network,
    compile_for_training,
)
from pipeline.training.optimization import balanced_class_weights, build_schedule
from pipeline.training.transfer import freeze


class TrainingRun:
    """One run, from its newest checkpoint to its end.

    Attributes:
        model: the network being trained, compiled.
        parameters: of the network, frozen or not.
        progression: how far it is.
        checkpoints: its states to resume from.
        fresh: names of the layers that did not begin with pretrained weights, where there are any.
    """

    def __init__(
        self,
        config: Config,
        directory: RunDirectory,
        data: PreparedData,
        statistics: PixelStatistics,
        strategy: tf.distribute.Strategy,
        pretrained: Pretrained | None = None,
    ) -> None:
        self.config, self.directory, self.data = config, directory, data
        self.statistics, self.strategy, self.pretrained = statistics, strategy, pretrained
        self.classes = len(data.source.class_names)
        order = Order(data.splits.train, config.fit.batch_size, config.run.seed)
        self.steps_per_epoch = order.steps_per_epoch
        self.total_steps = config.total_epochs * self.steps_per_epoch
        self.schedule = build_schedule(config.fit, config.transfer, self.steps_per_epoch)
        self._frozen = "none"
        with strategy.scope():
            self.model, self.epoch_metrics = self._build_model()
            self.parameters = count_parameters(self.model)
            self.fresh = assign_pretrained(pretrained, self.model) if pretrained else []
            self.average = None
            if config.fit.ema_decay:
                self.average = MovingAverage(self.model.weights, config.fit.ema_decay)
            self.checkpoints = Checkpoints(directory, self._variables())
            self.progression = self.checkpoints.restore()
        self._freeze_or_thaw()
        if self.progression.step % self.steps_per_epoch == 0:
            # What they hold is the validation that ended an epoch.
            for metric in self.epoch_metrics:
                metric.reset_state()

    def _build_model(self) -> tuple[keras.Model, list[keras.metrics.Metric]]:
        model = build_training_network(
            self.config, self.classes, self.statistics, self.strategy.num_replicas_in_sync
        )
        class_weights = None
        if self.config.fit.class_weights == "balanced":
            labels = self.data.source.labels[self.data.splits.train]
            class_weights = balanced_class_weights(np.bincount(labels, minlength=self.classes))
        return model, compile_for_training(model, self.config, self.schedule, class_weights)

    @property
    def _in_last_phase(self) -> bool:
        """Whether nothing is left to thaw."""
        epochs = self.config.fit.epochs
        thaws = self.config.transfer.finetune_epochs > 0
        return thaws and self.progression.step >= epochs * self.steps_per_epoch

    def _freeze_or_thaw(self) -> None:
        """Let those layers train that train in this phase of the run."""
        frozen = "none" if self._in_last_phase else self.config.transfer.freeze
        if frozen != self._frozen:
            freeze(self.model, frozen)
            # The traced step would go on training what it trained before.
            self.model.train_function = None
            self._frozen = frozen

    def _variables(self) -> list[keras.Variable]:
        """Everything that training changes."""
        metrics = [variable for metric in self.epoch_metrics for variable in metric.variables]
        average = self.average.variables if self.average else []
        return [*self.model.variables, *self.model.optimizer.variables, *metrics, *average]

    def fit(self, watchers: Sequence[keras.callbacks.Callback], last_epoch: int | None = None) -> None:
        """Train from the step that the progression is at to the end.

        Args:
            watchers: callbacks that come after the run's own and before its state is saved.
            last_epoch: stop after this one, and go on another time; None: the schedule's last.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            NonFinite: the loss or a weight is no longer finite.
        """
        saver = SaveCheckpoints(
            self.checkpoints,
            self.progression,
            steps_per_epoch=self.steps_per_epoch,
            every_seconds=self.config.run.checkpoint_seconds,
            every_steps=self.config.run.checkpoint_steps,
        )
        callbacks = [*self._callbacks(), *watchers, saver]
        validation = self._evaluation_batches("validation")
        last_epoch = last_epoch or self.config.total_epochs
        last_step = last_epoch * self.steps_per_epoch
        with saver.listening():
            while not self.progression.stopped_early and self.progression.step < last_step:
                self._freeze_or_thaw()
                phase_end = last_epoch if self._in_last_phase else self.config.fit.epochs
                self._fit_to_epoch_end_or_all(validation, callbacks, min(phase_end, last_epoch))
        if saver.signal is not None:
            raise Interrupted

    def _fit_to_epoch_end_or_all(
        self, validation: tf.data.Dataset, callbacks: list[keras.callbacks.Callback], last_epoch: int
    ) -> None:
        """Fit the rest of a half-done epoch alone, since `fit` takes epochs of equal length."""
        step = self.progression.step
        epoch, done = divmod(step, self.steps_per_epoch)
        batches = build_training_batches(
            self.data.examples("train"),
            self.config.augment,
            global_batch_size=self.config.fit.batch_size,
            seed=self.config.run.seed,
            first_step=step,
            last_step=self.total_steps,
        )
        self.model.fit(
            batches,
            initial_epoch=epoch,
            epochs=epoch + 1 if done else last_epoch,
            steps_per_epoch=self.steps_per_epoch - done,
            shuffle=False,
            validation_data=validation,
            callbacks=callbacks,
            verbose=0,
        )

    def _callbacks(self) -> list[keras.callbacks.Callback]:
        fit, directory, progression = self.config.fit, self.directory, self.progression
        weights = self.average.averages if self.average else self.model.weights
        weights = dict(zip(name_variables(self.model.weights), weights, strict=True))
        callbacks = [
            RestoreEpochMetrics(self.epoch_metrics),
            StopOnNonFinite(progression),
            RecordHistory(directory.history, self.schedule, progression, fit.batch_size),
            KeepBest(weights, directory.best_weights, progression, fit.early_stopping),
            keras.callbacks.TensorBoard(directory.tensorboard, write_graph=False),
        ]
        # Before whatever evaluates or saves, so that it finds this step's average.
        return [self.average, *callbacks] if self.average else callbacks

    def _evaluation_batches(self, split: str) -> tf.data.Dataset:
        return build_evaluation_batches(
            self.data.examples(split),
            global_batch_size=self.config.fit.batch_size,
            replicas=self.strategy.num_replicas_in_sync,
        )

    def draw_contact_sheet(self) -> None:
        """Draw the first augmented batch."""
        batches = build_training_batches(
            self.data.examples("train"),
            self.config.augment,
            global_batch_size=self.config.fit.batch_size,
            seed=self.config.run.seed,
            first_step=0,
            last_step=1,
        )
        images, labels = next(iter(batches.as_numpy_iterator()))
        path = self.directory.plots / "augmented_batch.png"
        plots.plot_contact_sheet(images, labels, self.data.source.class_names, path)

    def finish(self) -> None:
        """Test the deployed network with the best weights, once, and write what a run leaves."""
        with self.strategy.scope():
            deployed = build_deployed_network(self.config, self.classes, self.statistics)
            load_variables(self.directory.best_weights, name_variables(deployed.weights))
            deployed.compile(
                # Keras' own, so that the saved model loads where this package is not.
                loss=keras.losses.CategoricalCrossentropy(from_logits=True),
                weighted_metrics=build_metrics(),
                jit_compile=False,
            )
        test = deployed.evaluate(self._evaluation_batches("test"), return_dict=True, verbose=0)
        history, best = self.progression.history, self.progression.best_epoch
        plots.plot_learning_curves(history, self.directory.plots / "learning_curves.png")
        write_whole(self.directory.model, deployed.save)
        metrics = {
            "test": {
                "images": len(self.data.splits.test),
                **{name: test[name] for name in ("accuracy", "cross_entropy")},
            },
            "validation": {
                "images": len(self.data.splits.validation),
                "best_epoch": best,
                "accuracy": history[best - 1]["val_accuracy"],
                "cross_entropy": history[best - 1]["val_cross_entropy"],
            },
            "epochs": len(history),
            "steps": self.progression.step,
            "parameters": count_parameters(deployed),
            "multiply_adds": sum(multiply_adds(deployed).values()),
        }
        # Last: its presence says that the run is finished.
        write_json(self.directory.metrics, metrics)
        messages.print_summary(self.directory.path, metrics)
