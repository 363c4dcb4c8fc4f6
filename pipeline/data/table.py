"""A table of labelled images, the one shape that every source of data takes."""

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import tensorflow as tf

from pipeline.config.reading import READING, Reading


@dataclass(frozen=True)
class ArrayImages:
    """Images of one size, held in memory.

    Attributes:
        images: uint8 [images, height, width, 3], RGB.
        originals: row -> the encoded file, of some of those that were files.
    """

    images: np.ndarray
    originals: Mapping[int, bytes] = field(default_factory=dict)

    @functools.cached_property
    def tensor(self) -> tf.Tensor:
        """The images as one tensor in the CPU's memory, made once for all splits."""
        with tf.device("CPU"):
            return tf.constant(self.images)


@dataclass(frozen=True)
class EncodedImages:
    """Images of any size, left on disk and read one by one inside tf.data.

    Attributes:
        read: graph function from an int64 scalar, a row of the table, to a string scalar, the
            encoded file, as `decode_image` takes it.
        quick: read them for training as `read_quickly` does.
    """

    read: Callable[[tf.Tensor], tf.Tensor]
    quick: bool = False


@dataclass(frozen=True)
class Source:
    """A data set: row i of the table is image i, its label and its digest.

    Attributes:
        name: what the user called it.
        class_names: label -> name.
        labels: int64 [images].
        digests: uint8 [images, bytes]; equal for equal stored images, else different.
        images: the images themselves.
        provided: split name (train, validation, test) -> int64 rows. Always has train.
        problems: (path, problem) of every file that was left out.
        paths: row -> file, where each image is a file of its own; else empty.
        reading: how files become what a network sees.
    """

    name: str
    class_names: tuple[str, ...]
    labels: np.ndarray
    digests: np.ndarray
    images: ArrayImages | EncodedImages
    provided: dict[str, np.ndarray]
    problems: tuple[tuple[str, str], ...] = ()
    paths: Sequence[str] = ()
    reading: Reading = READING

    def path_of(self, row: int) -> str | None:
        """Return the file of a row; None where images are not files of their own."""
        return self.paths[row] if self.paths else None
