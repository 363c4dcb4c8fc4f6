"""From the settings to data that is ready to be batched: source, splits, size, statistics."""

import functools
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from pipeline.config.config import Config
from pipeline.console.progress import Progress
from pipeline.data import batches
from pipeline.data.batches import Examples, build_evaluation_batches
from pipeline.data.decoding import decode, orientation, pillow_images, resize
from pipeline.data.exclusions import Excluded, find_excluded
from pipeline.data.image_size import side_of_squares
from pipeline.data.sources import load_source
from pipeline.data.splits import Splits, fingerprint, leave_out, split_source
from pipeline.data.table import ArrayImages, Source
from pipeline.errors import UserError
from pipeline.files.kept import Kept, version_of

STATISTICS_IMAGES = 10_000
"""Pixel statistics are taken over at most this many images of train, evenly spread."""


@dataclass(frozen=True)
class PreparedData:
    """A source with its splits, at the size the model takes.

    Attributes:
        source: the table of images.
        splits: which rows are for what.
        image_size: height and width, pixels.
        excluded: what a list leaves out of the splits, where there is one.
    """

    source: Source
    splits: Splits
    image_size: int
    excluded: Excluded | None = None

    @property
    def labels(self) -> np.ndarray:
        """Labels of the images of all splits, int64 [images]."""
        return self.source.labels[np.concatenate(list(vars(self.splits).values()))]

    def examples(self, split: str) -> Examples:
        """Return the images of a split: train, validation, calibration or test."""
        return Examples(self.source, getattr(self.splits, split), self.image_size)


def prepare_data(config: Config) -> PreparedData:
    """Load, check and split the data.

    Raises:
        UserError: the data is missing, too damaged or too small, or needs an image size, or the
            list of what to leave out is not one of it.
    """
    source = load_source(config.data)
    splits, excluded = draw_splits(config, source)
    data = PreparedData(source, splits, config.data.image_size or _own_size(source), excluded)
    check_fits(config, data)
    return data


def draw_splits(config: Config, source: Source) -> tuple[Splits, Excluded | None]:
    """Split the table, and take out of the splits what a list leaves out, where there is one.

    Raises:
        UserError: a class is too small, or the list is not one of this table.
    """
    splits = split_source(source, config.data, config.split_seed)
    if not config.data.exclude:
        return splits, None
    # After the draw, so that what is left is drawn as if nothing were left out.
    excluded = find_excluded(Path(config.data.exclude), source, config.data.data, splits)
    return leave_out(source, splits, excluded.rows), excluded


def check_fits(config: Config, data: PreparedData) -> None:
    """Hold the settings to the data.

    Raises:
        UserError: a batch is larger than train, padding as wide as an image, or nothing of an
            image left.
    """
    if len(data.splits.train) < config.fit.batch_size:
        raise UserError(
            f"--batch-size must be at most the {len(data.splits.train):,} images of train; "
            f"received {config.fit.batch_size}"
        )
    if config.augment.crop_padding >= data.image_size:
        raise UserError(
            f"--crop-padding must be less than the images' {data.image_size} pixels; "
            f"received {config.augment.crop_padding}"
        )
    if config.augment.cutout >= 2 * data.image_size:
        raise UserError(
            f"--cutout must be less than twice the images' {data.image_size} pixels, as it would cut out all "
            f"of each; received {config.augment.cutout}"
        )


def _own_size(source: Source) -> int:
    """Side of the images where they are squares of one size."""
    shape = source.images.images.shape[1:] if isinstance(source.images, ArrayImages) else (None, None)
    return side_of_squares(shape, source.name)


@dataclass(frozen=True)
class PixelStatistics:
    """Mean and standard deviation of each colour channel, in units of [0, 255]."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def pixel_statistics(examples: Examples) -> PixelStatistics:
    """Measure the pixels of the un-augmented, resized images; those of files are measured once and kept."""
    sample = examples.spread(STATISTICS_IMAGES)
    if isinstance(examples.source.images, ArrayImages):
        return _measure(sample)
    subject = (fingerprint(sample.source, sample.rows), sample.image_size, sample.source.reading)
    kept = Kept("statistics", repr(subject).encode(), _version())
    if arrays := kept.read():
        return PixelStatistics(tuple(arrays["mean"].tolist()), tuple(arrays["std"].tolist()))
    measured = _measure(sample)
    kept.write({"mean": np.array(measured.mean), "std": np.array(measured.std)})
    return measured


@functools.cache
def _version() -> str:
    """Tell apart all that decides what the pixels of an image are."""
    modules = (sys.modules[__name__], batches, decode, orientation, pillow_images, resize)
    return version_of(*modules, packages=("tensorflow", "pillow", "numpy"))


def _measure(sample: Examples) -> PixelStatistics:
    pixels, total, squares = 0, np.zeros(3), np.zeros(3)
    with Progress(len(sample), "measuring pixel statistics", "images") as progress:
        for images, _, _ in build_evaluation_batches(sample, global_batch_size=256):
            channels = images.numpy().reshape(-1, 3).astype(np.float64)
            pixels += len(channels)
            total += channels.sum(axis=0)
            squares += (channels**2).sum(axis=0)
            progress.update(len(images))
    mean = total / pixels
    # A channel that never varies has nothing to be divided by.
    std = np.sqrt(np.maximum(squares / pixels - mean**2, 0))
    return PixelStatistics(tuple(mean.tolist()), tuple(np.where(std > 0, std, 1.0).tolist()))
