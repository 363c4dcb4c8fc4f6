"""The paths of a million files in one piece of memory."""

import os
from collections.abc import Callable, Iterable, Sequence
from typing import overload

import numpy as np
import tensorflow as tf

from pipeline.data.class_names import shown


class Names(Sequence[bytes]):
    """Names one behind the other: a list of them would take 50 bytes a name more.

    Args:
        joined: all of them.
        starts: int64 [names + 1], where each begins, and the end of the last.
    """

    def __init__(self, joined: bytes, starts: np.ndarray) -> None:
        self.joined, self.starts = joined, starts

    @classmethod
    def of(cls, groups: Iterable[Sequence[bytes]]) -> "Names":
        """Put names together, a group at a time, so that no more than a group of them is held twice."""
        parts, lengths = [], [np.zeros(1, np.int64)]
        for group in groups:
            parts.append(b"".join(group))
            lengths.append(np.fromiter(map(len, group), np.int64, len(group)))
        return cls(b"".join(parts), np.cumsum(np.concatenate(lengths)))

    def __len__(self) -> int:
        return len(self.starts) - 1

    @overload
    def __getitem__(self, place: int) -> bytes: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[bytes]: ...
    def __getitem__(self, place: int | slice) -> bytes | Sequence[bytes]:
        if isinstance(place, slice):
            return tuple(self[row] for row in range(*place.indices(len(self))))
        row = range(len(self))[place]
        return self.joined[self.starts[row] : self.starts[row + 1]]

    def take(self, rows: np.ndarray) -> "Names":
        """Return the names at some places, int64 [rows], ascending."""
        if len(rows) == len(self):
            return self
        lengths, kept = np.diff(self.starts), np.zeros(len(self), bool)
        kept[rows] = True
        joined = np.frombuffer(self.joined, np.uint8)[np.repeat(kept, lengths)].tobytes()
        return Names(joined, np.concatenate([[0], np.cumsum(lengths[kept])]))


class Paths(Sequence[str]):
    """Paths below one folder, as they are shown.

    Args:
        root: the folder.
        names: the paths relative to it.
    """

    def __init__(self, root: bytes, names: Names) -> None:
        self.root, self._names = root, names

    def __len__(self) -> int:
        return len(self._names)

    @overload
    def __getitem__(self, place: int) -> str: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[str]: ...
    def __getitem__(self, place: int | slice) -> str | Sequence[str]:
        if isinstance(place, slice):
            return tuple(self[row] for row in range(*place.indices(len(self))))
        return shown(os.path.join(self.root, self._names[place]))

    def reader(self) -> Callable[[tf.Tensor], tf.Tensor]:
        """Return the graph function from a row, int64 scalar, to what its file holds, string scalar."""
        with tf.device("CPU"):
            names, starts = tf.constant(self._names.joined), tf.constant(self._names.starts)

        def read(row: tf.Tensor) -> tf.Tensor:
            start = tf.gather(starts, row)
            name = tf.strings.substr(names, start, tf.gather(starts, row + 1) - start)
            return tf.io.read_file(tf.strings.join([self.root, name], separator="/"))

        return read
