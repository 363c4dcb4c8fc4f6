"""A run as train.py sets it up, on random images: what its loop adds to its steps, and their arithmetic."""

import contextlib
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.config.presets import preset
from pipeline.config.settings import ModelConfig
from pipeline.data.prepare import PixelStatistics, PreparedData
from pipeline.data.splits import Splits
from pipeline.data.table import ArrayImages, Source
from pipeline.models import build_model
from pipeline.models.cost import multiply_adds
from pipeline.run_directory import RunDirectory
from pipeline.training.devices import build_strategy
from pipeline.training.resolve import Ground, resolve
from pipeline.training.run import TrainingRun, build_run, fit_showing_progress, training_batches

IMAGES, CLASSES, BATCH_SIZE = 50_000, 10, 128
PRODUCT_SIDE = 2048
"""Side of the matrices whose product shows what the machine can do; larger ones are no faster."""

PRODUCT_OPERATIONS = 2 * PRODUCT_SIDE**3
NEVER_SECONDS = 1e9


class Alternation:
    """Stands in for a model's train function: a block of the loop's steps, a block in memory.

    The loop's block lasts from the end of a block in memory to the end of its own last step, so
    it holds as many callbacks as steps. The pipeline makes up for a batch within the step that
    takes it, because its buffers are full and a step takes far longer than a batch; so no work
    of the loop moves into a block in memory.

    Args:
        model: a compiled model; `fit` will call this in place of its train function.
        batch: the batch in memory, images and labels.
        steps: of a block.

    Attributes:
        seconds: name of the block -> its duration in each round.
    """

    def __init__(self, model: keras.Model, batch: tuple[Any, Any], steps: int) -> None:
        model.make_train_function()
        self._step = model.train_function
        model.train_function = self
        self._memory = in_memory(batch)
        self._steps, self._done = steps, 0
        self._start = 0.0
        self.seconds: dict[str, list[float]] = {"loop": [], "memory": []}

    def __call__(self, batches: Iterator[Any]) -> dict[str, Any]:
        """Take one step of the loop and, at a block's end, the block in memory."""
        logs = self._step(batches)
        if self._done == 0:
            # Either iterator's first step traces and compiles.
            self._step(self._memory)
            self._start = time.perf_counter()
        elif self._done % self._steps == 0:
            middle = time.perf_counter()
            for _ in range(self._steps):
                self._step(self._memory)
            end = time.perf_counter()
            self.seconds["loop"].append(middle - self._start)
            self.seconds["memory"].append(end - middle)
            self._start = end
        self._done += 1
        return logs


def _config(model: str, width: int, precision: str) -> Config:
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    return preset("cifar10").with_values(
        {
            "model": model,
            "width": width,
            "precision": policy,
            "batch_size": BATCH_SIZE,
            "image_size": 32,
            "epochs": 1,
            "devices": "cpu",
            "checkpoint_seconds": NEVER_SECONDS,
        }
    )


def _random_data(steps: int) -> PreparedData:
    """Draw 50,000 images; an epoch of `steps` steps, and one batch to validate with."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    labels = rng.integers(0, CLASSES, IMAGES)
    names = tuple(str(label) for label in range(CLASSES))
    no_digests = np.zeros((IMAGES, 0), np.uint8)
    source = Source("random", names, labels, no_digests, ArrayImages(images), provided={})
    few = np.arange(BATCH_SIZE)
    train = np.resize(np.arange(IMAGES), steps * BATCH_SIZE)
    return PreparedData(source, Splits(train, validation=few, calibration=few, test=few), 32)


@contextlib.contextmanager
def training_run(model: str, width: int, precision: str, steps: int) -> Iterator[TrainingRun]:
    """Set up a run of `steps` steps as pipeline.training.train does."""
    config = _config(model, width, precision)
    keras.utils.set_random_seed(config.run.seed)
    tf.config.experimental.enable_op_determinism()
    statistics = PixelStatistics(mean=(127.5,) * 3, std=(73.9,) * 3)
    ground = Ground(_random_data(steps), statistics, build_strategy(config.run.devices))
    with tempfile.TemporaryDirectory() as folder:
        directory = RunDirectory(Path(folder) / "run")
        with directory.open():
            yield build_run(resolve(config, ground), directory)


def first_batch(run: TrainingRun) -> tuple[Any, Any]:
    """Take the first batch of a run."""
    return next(iter(training_batches(run.resolved, 0, 1)))


def measure_loop(
    model: str, width: int, precision: str, rounds: int, steps: int
) -> tuple[dict[str, list[float]], float]:
    """Train with the whole loop, interrupted by blocks in memory.

    Returns:
        The blocks' seconds in each round (`Alternation.seconds`), and the median seconds that
        training waits for a checkpoint, which is written beside it.
    """
    with training_run(model, width, precision, 1 + rounds * steps) as run:
        alternation = Alternation(run.model, first_batch(run), steps)
        with contextlib.redirect_stdout(io.StringIO()):
            fit_showing_progress(run)
        saves = []
        for _ in range(3):
            start = time.perf_counter()
            run.checkpoints.begin_to_save(run.progression)
            saves.append(time.perf_counter() - start)
            run.checkpoints.wait()
        return alternation.seconds, statistics.median(saves)


def step_operations(model: str, width: int) -> int:
    """Count the floating-point operations that one image costs in a training step.

    Three times the forward pass's (for the output, the gradient of the input and that of the
    kernel), two for each multiply-add of a convolution or dense layer; nothing else counts. The
    first convolution's input needs no gradient, so this is too many by a third of that layer's.
    """
    network = build_model(
        ModelConfig(model=model, width=width),
        input_shape=(32, 32, 3),
        classes=CLASSES,
        pixel_mean=(0.0,) * 3,
        pixel_std=(1.0,) * 3,
        seed=0,
    )
    return 3 * 2 * sum(multiply_adds(network).values())


def build_product(precision: str) -> Callable[[], None]:
    """Build a function that computes a product of two matrices, `PRODUCT_SIDE` wide and high."""
    left, right = (
        tf.cast(tf.random.stateless_uniform([PRODUCT_SIDE] * 2, [0, place]), precision) for place in (0, 1)
    )
    multiply = tf.function(tf.matmul)

    def product() -> None:
        # Operations on a CPU have ended when they return.
        multiply(left, right)

    return product


def in_memory(batch: tuple[Any, Any]) -> Iterator[Any]:
    """Repeat a batch without end, as a train function takes it."""
    return iter(tf.data.Dataset.from_tensors(batch).repeat())
