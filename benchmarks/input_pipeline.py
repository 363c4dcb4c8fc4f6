"""Images a second of the input pipeline beside Keras' layers and plain PyTorch.

    python -m benchmarks.input_pipeline

CIFAR-10's shape, batches of 128, the preset's augmentation: crop after padding by 4, horizontal
flip, cutout of 8. Each contender has all cores, in a process of its own.
"""

import os
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from benchmarks.measure import (
    CORES,
    Comparison,
    Measure,
    fastest,
    has_torch,
    measure_batches,
    measure_in_turns,
    ratios,
    report,
    rounds_and_seconds,
)
from pipeline.console.quiet_start import load_tensorflow_quietly

IMAGES, CLASSES, BATCH_SIZE = 50_000, 10, 128
CROP_PADDING, CUTOUT = 4, 8
BUFFERED_BATCHES = 32
"""More than any contender can have in stock when its turn comes; they are not counted."""

BAR_KERAS, BAR_TORCH = 5.0, 1.0


def random_images() -> tuple[np.ndarray, np.ndarray]:
    """Draw images, uint8 [50000, 32, 32, 3], and labels, int64 [50000]."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (IMAGES, 32, 32, 3), np.uint8)
    return images, rng.integers(0, CLASSES, IMAGES)


def _measure(batches: Iterator[Any], seconds: float) -> Measure:
    return measure_batches(batches, seconds, batch_size=BATCH_SIZE, buffered=BUFFERED_BATCHES)


def ours(seconds: float) -> Measure:
    """Build the training batches as train.py does."""
    load_tensorflow_quietly()
    import tensorflow as tf

    from pipeline.config.settings import AugmentConfig
    from pipeline.data.batches import Examples, build_training_batches
    from pipeline.data.table import ArrayImages, Source

    tf.config.experimental.enable_op_determinism()
    images, labels = random_images()
    names = tuple(str(label) for label in range(CLASSES))
    no_digests = np.zeros((IMAGES, 0), np.uint8)
    source = Source("random", names, labels, no_digests, ArrayImages(images), provided={})
    batches = build_training_batches(
        Examples(source, np.arange(IMAGES), image_size=32),
        AugmentConfig(crop_padding=CROP_PADDING, flip="horizontal", cutout=CUTOUT),
        global_batch_size=BATCH_SIZE,
        seed=0,
        first_step=0,
        last_step=2**62,
    )
    return _measure(iter(batches), seconds)


def keras(seconds: float, variant: str) -> Measure:
    """Build Keras' layers in tf.data."""
    load_tensorflow_quietly()
    from benchmarks.keras_batches import keras_batches

    batches = keras_batches(
        *random_images(), variant=variant, batch_size=BATCH_SIZE, padding=CROP_PADDING, cutout=CUTOUT
    )
    return _measure(iter(batches), seconds)


def torch(seconds: float, threads: int, workers: int) -> Measure:
    """Build PyTorch's tensor code, in this process alone or in `workers` more of one thread."""
    import torch

    from benchmarks.torch_batches import AugmentedBatches, load_in_workers

    torch.set_num_threads(threads)
    images, labels = (torch.from_numpy(array) for array in random_images())
    batches = AugmentedBatches(images, labels, batch_size=BATCH_SIZE, padding=CROP_PADDING, cutout=CUTOUT)
    return _measure(load_in_workers(batches, workers) if workers else iter(batches), seconds)


def main() -> None:
    """Run the benchmark."""
    arguments = rounds_and_seconds(__doc__)
    load_before = os.getloadavg()[0]
    contenders: dict[str, tuple[Callable[..., Measure], tuple[Any, ...]]] = {
        "ours": (ours, (arguments.seconds,)),
        "Keras, crop by image": (keras, (arguments.seconds, "image")),
        "Keras, translation by batch": (keras, (arguments.seconds, "translation")),
        "Keras, one crop a batch (less work)": (keras, (arguments.seconds, "batch")),
    }
    if has_torch():
        for threads in sorted({1, CORES}):
            contenders[f"PyTorch, threads: {threads}"] = (torch, (arguments.seconds, threads, 0))
        contenders[f"PyTorch, DataLoader workers: {CORES}"] = (torch, (arguments.seconds, 1, CORES))
    rates = measure_in_turns(contenders, arguments.rounds)

    comparisons = []
    for peer, bar in (("Keras", BAR_KERAS), ("PyTorch", BAR_TORCH)):
        equal_work = [n for n in rates if n.startswith(peer) and "less work" not in n]
        if equal_work:
            best = fastest(rates, equal_work)
            comparisons.append(Comparison(f"ours / {best}", ratios(rates["ours"], rates[best]), bar))
    settings = {"images": IMAGES, "pixels": 32, "batch_size": BATCH_SIZE, **vars(arguments)}
    report("input_pipeline", settings, rates, comparisons, load_before)


if __name__ == "__main__":
    main()
