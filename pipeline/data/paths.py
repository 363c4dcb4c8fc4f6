"""The paths of a million files in one piece of memory."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import overload

import numpy as np
import tensorflow as tf

from pipeline.data.class_names import shown


class Paths(Sequence[str]):
    """Paths below one folder, as they are shown.

    A list of them would take 120 bytes a file more than the names do.

    Args:
        root: the folder.
        names: the paths relative to it.
    """

    def __init__(self, root: bytes, names: Iterable[bytes]) -> None:
        self.root = root
        names = list(names)
        self._names = b"".join(names)
        self._starts = np.cumsum([0, *map(len, names)])

    def __len__(self) -> int:
        return len(self._starts) - 1

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return tuple(self[row] for row in range(*place.indices(len(self))))
        row = range(len(self))[place]
        return shown(os.path.join(self.root, self._names[self._starts[row] : self._starts[row + 1]]))

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the graph function from a row, int64 scalar, to what its file holds, string scalar."""
        names, starts = tf.constant(self._names), tf.constant(self._starts)

        def read(row: tf.Tensor) -> tf.Tensor:
            start = tf.gather(starts, row)
            name = tf.strings.substr(names, start, tf.gather(starts, row + 1) - start)
            return tf.io.read_file(tf.strings.join([self.root, name], separator="/"))

        return read
