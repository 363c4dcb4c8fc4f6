"""Training for int8: a few epochs on the run's own batches, which may end at any step and go on."""

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from export.convert.converter import Range
from export.errors import ExportFailed
from export.finetune.network import compute, verify_known
from export.finetune.simulation import Simulation
from export.quantize.strategies import Trained
from export.verify.accuracy import KerasAnswers
from export.verify.logits import FLOAT32_TOLERANCE
from pipeline.console.progress import Progress
from pipeline.data.batches import build_training_batches, load_images
from pipeline.errors import UserError
from pipeline.finished_run import FinishedRun
from pipeline.tflite.constants import read_constants
from pipeline.tflite.file import TFLiteFile
from pipeline.training.optimization import SoftmaxCrossEntropy
from pipeline.training.run import class_weights
from pipeline.training.variables import Damaged, NonFinite, Unreadable, read_variables, save_variables

RATE = 2e-5
"""Of Adam at the start, for weights in units of their channel's greatest magnitude; a half cosine to 0."""

RANGE_RATE = 2e-4
"""Of Adam at the start, for the logarithms of ranges; a half cosine to 0 at `RANGES_UNTIL`."""

RANGES_UNTIL = 0.5
"""Share of the steps after which the ranges stay as they are."""

CHECKED_IMAGES = 32
"""On so many of validation the network that is trained is held to the file it was read from."""


class Training:
    """A network that is trained for int8, and how far it is.

    Args:
        float32: the network in float32, from which it starts and which it learns to answer like.
        ranges: of its activations, to start with.
        label_loss: the loss that the network was trained with.
        total_steps: of the whole training.
        temperature: what the logits were divided by since.
    """

    def __init__(
        self,
        float32: TFLiteFile,
        ranges: Mapping[str, Range],
        label_loss: keras.losses.Loss,
        total_steps: int,
        temperature: float = 1.0,
    ) -> None:
        self.simulation = Simulation(float32, ranges)
        self._temperature = temperature
        self._label_loss, self._float_loss = label_loss, SoftmaxCrossEntropy()
        self._graph, self._constants = float32.graph, read_constants(float32.content)
        cosine = keras.optimizers.schedules.CosineDecay
        until = max(1, round(RANGES_UNTIL * total_steps))
        self._parts = [
            (self.simulation.weights, keras.optimizers.Adam(cosine(RATE, total_steps))),
            (self.simulation.growths, keras.optimizers.Adam(cosine(RANGE_RATE, until))),
        ]
        for variables, optimizer in self._parts:
            optimizer.build(variables)
        self.take_step: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = tf.function(self._take_step)
        self._logits = tf.function(self.simulation.logits)

    @property
    def step(self) -> int:
        """Steps that were taken."""
        return int(self._parts[0][1].iterations.numpy())

    @property
    def variables(self) -> dict[str, keras.Variable]:
        """All that it depends on besides its batches, by names that are the same in every process."""
        all_variables = [v for part, optimizer in self._parts for v in (*part, *optimizer.variables)]
        return {f"{place:04d}": variable for place, variable in enumerate(all_variables)}

    def float_logits(self, images: tf.Tensor) -> tf.Tensor:
        """Compute what the network in float32 answers: [batch, classes]."""
        return compute(self._graph, tf.cast(images, tf.float32), self._constants)

    def predict(self, images: np.ndarray) -> np.ndarray:
        """Return logits [images, classes] of pixels [images, height, width, 3], with rounding."""
        return self._logits(images).numpy()

    def _take_step(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Learn from a batch; return the loss.

        It is the mean of two, to the labels and to the probabilities that the network in float32 gives
        (Hinton et al. 2015, arXiv:1503.02531, section 2, at temperature 1).
        """
        probabilities = tf.nn.softmax(self.float_logits(images))
        with tf.GradientTape() as tape:
            logits = self.simulation.logits(images)
            label_loss = self._label_loss(labels, self._temperature * logits)
            loss = (label_loss + self._float_loss(probabilities, logits)) / 2
        values = [[variable.value for variable in variables] for variables, _ in self._parts]
        gradients = tape.gradient(loss, values)
        for (variables, optimizer), of_part in zip(self._parts, gradients, strict=True):
            optimizer.apply(of_part, variables)
        return loss


def train_for_int8(
    float32: TFLiteFile,
    ranges: Mapping[str, Range],
    *,
    run: FinishedRun,
    epochs: int,
    validation: KerasAnswers,
    state: Path,
    temperature: float = 1.0,
) -> Trained:
    """Train a network for int8, going on with what `state` holds of the same training.

    Its batches are those that would come after the run's last epoch, augmented as those were. So what
    comes out is a function of the arguments alone, however often it was interrupted.

    Args:
        float32: the network in float32.
        ranges: name of each activation -> its range to begin with.
        run: whose batches, settings and seed.
        epochs: passes over train.
        validation: after each epoch the accuracy on its images is told.
        state: file that is written after each epoch, and where it is interrupted.
        temperature: what the run's logits are divided by in `float32`.

    Raises:
        ExportFailed: an operation is unknown or computes otherwise than in LiteRT, or a weight is no
            longer finite.
        UserError: `state` is something else, or cannot be read or written.
    """
    if run.config.run.deterministic:
        tf.config.experimental.enable_op_determinism()
    verify_known(float32.graph)
    train, batch_size = run.data.examples("train"), run.config.fit.batch_size
    steps_per_epoch = len(train) // batch_size
    total_steps, already = epochs * steps_per_epoch, run.config.total_epochs * steps_per_epoch
    training = Training(float32, ranges, _label_loss(run), total_steps, temperature)
    _verify_same(training, float32, load_images(run.data.examples("validation").spread(CHECKED_IMAGES)))
    fingerprint = _fingerprint(float32, ranges, run, epochs, temperature)
    _restore(training, state, fingerprint)

    def save() -> None:
        save_variables(state, training.variables, fingerprint=np.array(fingerprint))

    batches = build_training_batches(
        train,
        run.config.augment,
        global_batch_size=batch_size,
        seed=run.config.run.seed,
        first_step=already + training.step,
        last_step=already + total_steps,
    )
    scores = None
    try:
        with Progress(total_steps, "training for int8", "steps", training.step) as progress:
            if training.step:
                progress.line(f"   finetune  goes on after step {training.step:,}")
            for images, labels in batches:
                loss = float(training.take_step(images, labels))
                progress.update(1, f"loss {loss:.4f}")
                epoch, in_epoch = divmod(training.step, steps_per_epoch)
                if in_epoch == 0:
                    save()
                    scores = _simulate(training, validation)
                    accuracy = np.mean(scores.argmax(axis=-1) == validation.split.labels)
                    progress.line(f"   finetune  epoch {epoch}/{epochs}: {accuracy:.2%} on validation")
    except KeyboardInterrupt:
        # Of weights that are no longer finite nothing is worth going on with.
        with contextlib.suppress(NonFinite):
            save()
        raise
    except NonFinite as error:
        raise ExportFailed(f"--finetune must keep its weights finite; {error}") from None
    trained, final_ranges = training.simulation.trained()
    return Trained(
        trained, final_ranges, epochs, _simulate(training, validation) if scores is None else scores
    )


def _label_loss(run: FinishedRun) -> keras.losses.Loss:
    return SoftmaxCrossEntropy(run.config.fit.label_smoothing, class_weights(run.config, run.data))


def _simulate(training: Training, validation: KerasAnswers) -> np.ndarray:
    """Logits of the simulation for validation, float32 [images, classes]."""
    return validation.split.predict({"the simulation": training.predict})["the simulation"]


def _verify_same(training: Training, float32: TFLiteFile, images: np.ndarray) -> None:
    """Check that without rounding the network computes what its file does."""
    received, expected = training.float_logits(images).numpy(), float32.predict(images)
    if float32.graph.operations[-1].name == "SOFTMAX":
        received = tf.nn.softmax(received).numpy()
    off, limit = np.abs(received - expected).max(), FLOAT32_TOLERANCE * max(1.0, np.abs(expected).max())
    if not off <= limit:
        raise ExportFailed(
            f"--finetune must train what LiteRT computes, to {limit:.3g}; scores are off by {off:.3g}"
        )


def _fingerprint(
    float32: TFLiteFile, ranges: Mapping[str, Range], run: FinishedRun, epochs: int, temperature: float
) -> str:
    """Digest of all that the training is a function of."""
    settings = {
        "ranges": [(each.low, each.high) for each in ranges.values()],
        "augment": asdict(run.config.augment),
        "fit": asdict(run.config.fit),
        "seed": run.config.run.seed,
        "splits": run.splits,
        "epochs": [epochs, run.config.total_epochs],
        "rates": [RATE, RANGE_RATE, RANGES_UNTIL],
        "temperature": temperature,
    }
    digest = hashlib.sha256(json.dumps(settings, sort_keys=True).encode())
    for values in read_constants(float32.content).values():
        digest.update(values.tobytes())
    return digest.hexdigest()


def _restore(training: Training, state: Path, fingerprint: str) -> None:
    """Go on with what was kept of the same training; of another it will be overwritten."""
    if not os.path.lexists(state):
        return
    try:
        saved = read_variables(state, training.variables)
    except Damaged as error:
        raise UserError(
            f"--finetune keeps how far it is in {state}, which holds something else: {error} "
            "(move it elsewhere)"
        ) from None
    except Unreadable:
        raise
    except UserError:
        return  # Of another network.
    if str(saved.get("fingerprint")) == fingerprint:
        for name, variable in training.variables.items():
            variable.assign(saved[name])
