"""How answers are written: a row an image, aligned for a terminal or as CSV."""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.data.class_names import on_a_terminal
from pipeline.errors import UserError, printable

UNSURE = "unsure"

DEFAULT_TOP = 3

Ranked = Sequence[tuple[str, float]]
"""The most probable classes of an image with their probabilities, the best first."""


@dataclass(frozen=True)
class Wording:
    """What an answer says.

    Attributes:
        class_names: label -> name.
        top: classes that are named, from 1 to all.
        unsure: least probability of the best class that is an answer, in [0, 1].
    """

    class_names: tuple[str, ...]
    top: int
    unsure: float

    def best(self, probabilities: np.ndarray) -> np.ndarray:
        """Pick the labels of the most probable classes, int64 [images, top]; of equals the first.

        Args:
            probabilities: float32 [images, classes].
        """
        return np.argsort(-probabilities, axis=1, kind="stable")[:, : self.top]

    def rank(self, probabilities: np.ndarray) -> list[Ranked]:
        """Name the most probable classes of each image; of equals the first, as run.py does.

        Args:
            probabilities: float32 [images, classes].
        """
        best = self.best(probabilities)
        values = np.take_along_axis(probabilities, best, axis=1)
        return [
            [(self.class_names[label], value) for label, value in zip(labels, row, strict=True)]
            for labels, row in zip(best.tolist(), values.tolist(), strict=True)
        ]

    def header(self) -> list[str]:
        """Name the columns of CSV."""
        pairs = [f"{what}_{place + 1}" for place in range(self.top) for what in ("class", "probability")]
        return ["path", "label", "answer", *pairs]

    def cells(self, path: str, label: str, ranked: Ranked) -> list[str]:
        """Return a row of CSV; `label` is that of the image's folder, where it has one."""
        pairs = [cell for name, probability in ranked for cell in (name, f"{probability:.4f}")]
        return [path, label, self.answer(ranked), *pairs]

    def line(self, path: str, path_width: int, ranked: Ranked) -> str:
        """Return a line for a terminal; the answer stands apart where it may be that none is."""
        words = [printable(path).ljust(path_width)]
        if self.unsure:
            words.append(self._padded(self.answer(ranked)))
        words += [f"{self._padded(name)} {probability:.4f}" for name, probability in ranked]
        return "  ".join(words)

    def answer(self, ranked: Ranked) -> str:
        """Return the most probable class, or `UNSURE`."""
        name, probability = ranked[0]
        return name if probability >= self.unsure else UNSURE

    def _padded(self, name: str) -> str:
        return on_a_terminal(name).ljust(self._name_width)

    @functools.cached_property
    def _name_width(self) -> int:
        names = (*self.class_names, UNSURE) if self.unsure else self.class_names
        return max(len(on_a_terminal(name)) for name in names)


def build_wording(class_names: tuple[str, ...], top: int | None, unsure: float) -> Wording:
    """Settle how many classes are named: as many as asked, else `DEFAULT_TOP` or all.

    Raises:
        UserError: there are not as many as asked.
    """
    classes = len(class_names)
    if top is not None and top > classes:
        raise UserError(f"--top must be at most the {classes} classes; received {top}")
    return Wording(class_names, top or min(DEFAULT_TOP, classes), unsure)
