"""Images a second of the input pipeline from JPEG files of 500 x 375 pixels to crops of 224 x 224.

    python -m benchmarks.large_images

The recipe of ImageNet: a random part of each image from 35 % of its area on, bilinear and antialiased,
mirrored or not. Beside it, with the same pixels up to rounding, plain tf.data and PyTorch's DataLoader with
Pillow. Each contender has all cores, in processes of its own.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.measure import (
    CORES,
    Comparison,
    Measure,
    has_torch,
    measure_batches,
    measure_in_turns,
    ratios,
    report,
    rounds_and_seconds,
)
from pipeline.console.quiet_start import load_tensorflow_quietly

IMAGES, HEIGHT, WIDTH, SIZE, BATCH_SIZE = 256, 375, 500, 224, 32
MIN_AREA = 0.35
BUFFERED_BATCHES = 8
"""As many as a contender can have in stock when its turn comes; they are not counted."""

BAR_TENSORFLOW, BAR_TORCH = 1.0, 1.2


def draw_images(folder: Path) -> None:
    """Write JPEGs of two classes, about 75 kB each as those of ImageNet: waves and noise."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[: 2 * HEIGHT, : 2 * WIDTH]
    scene = 128 + rng.normal(0, 14, (2 * HEIGHT, 2 * WIDTH, 3))
    for _ in range(10):
        phase = x * rng.uniform(0.01, 0.2) + y * rng.uniform(0.01, 0.2)
        scene += np.sin(phase)[..., np.newaxis] * rng.uniform(5, 30, 3)
    scene = np.clip(scene, 0, 255).astype(np.uint8)
    for number in range(IMAGES):
        top, left = rng.integers(HEIGHT), rng.integers(WIDTH)
        path = folder / "ab"[number % 2] / f"{number:03d}.jpg"
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(scene[top : top + HEIGHT, left : left + WIDTH]).save(path, quality=86)


def _measure(batches: Iterator[Any], seconds: float) -> Measure:
    return measure_batches(batches, seconds, batch_size=BATCH_SIZE, buffered=BUFFERED_BATCHES)


def ours(seconds: float, folder: Path, quick: bool) -> Measure:
    """Build the training batches as train.py does."""
    load_tensorflow_quietly()
    import tensorflow as tf

    from pipeline.config.settings import AugmentConfig, DataConfig
    from pipeline.data.batches import Examples, build_training_batches
    from pipeline.data.sources import load_source

    tf.config.experimental.enable_op_determinism()
    source = load_source(DataConfig(data=f"folder:{folder}", quick_reading=quick))
    batches = build_training_batches(
        Examples(source, np.arange(len(source.labels)), image_size=SIZE),
        AugmentConfig(resized_crop_area=MIN_AREA, flip="horizontal"),
        global_batch_size=BATCH_SIZE,
        seed=0,
        first_step=0,
        last_step=2**31,
    )
    return _measure(iter(batches), seconds)


def plain(seconds: float, folder: Path) -> Measure:
    """Build what a tutorial of tf.data has, with the antialiased resize."""
    load_tensorflow_quietly()
    import tensorflow as tf

    def read(path: Any) -> Any:
        image = tf.io.decode_jpeg(tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE")
        whole = tf.constant([[[0.0, 0.0, 1.0, 1.0]]])
        begin, size, _ = tf.image.sample_distorted_bounding_box(
            tf.shape(image), whole, seed=1, area_range=(MIN_AREA, 1.0), aspect_ratio_range=(3 / 4, 4 / 3)
        )
        image = tf.image.resize(tf.slice(image, begin, size), [SIZE, SIZE], antialias=True)
        return tf.image.random_flip_left_right(tf.cast(tf.round(image), tf.uint8))

    files = tf.data.Dataset.from_tensor_slices(sorted(map(str, folder.glob("*/*.jpg"))))
    files = files.shuffle(IMAGES).repeat()
    batches = files.map(read, num_parallel_calls=tf.data.AUTOTUNE).batch(BATCH_SIZE).prefetch(4)
    return _measure(iter(batches), seconds)


def torch(seconds: float, folder: Path, workers: int) -> Measure:
    """Build PyTorch's DataLoader with Pillow, in `workers` processes of one thread."""
    import torch

    from benchmarks.torch_batches import load_crops

    torch.set_num_threads(1)
    files = sorted(folder.glob("*/*.jpg"))
    return _measure(
        load_crops(files, size=SIZE, min_area=MIN_AREA, batch_size=BATCH_SIZE, workers=workers), seconds
    )


def main() -> None:
    """Run the benchmark."""
    arguments = rounds_and_seconds(__doc__)
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw_images(folder)
        seconds = arguments.seconds
        contenders: dict[str, tuple[Callable[..., Measure], tuple[Any, ...]]] = {
            "ours": (ours, (seconds, folder, True)),
            "ours, --no-quick-reading": (ours, (seconds, folder, False)),
            "plain tf.data": (plain, (seconds, folder)),
        }
        if has_torch():
            contenders["PyTorch"] = (torch, (seconds, folder, CORES))
        rates = measure_in_turns(contenders, arguments.rounds)
    bars = {"plain tf.data": BAR_TENSORFLOW, "PyTorch": BAR_TORCH}
    comparisons = [
        Comparison(f"ours / {peer}", ratios(rates["ours"], rates[peer]), bar)
        for peer, bar in bars.items()
        if peer in rates
    ]
    settings = {"pixels": f"{WIDTH} x {HEIGHT}", "crop": SIZE, "batch_size": BATCH_SIZE, **vars(arguments)}
    report("large_images", settings, rates, comparisons, load_before)


if __name__ == "__main__":
    main()
