"""Whether a converted network does what the float network did, image by image."""

import math
from dataclasses import dataclass

import numpy as np

Z95 = 1.959964
"""Of the normal distribution: 95 % of it lie within so many standard deviations."""


@dataclass(frozen=True)
class Comparison:
    """A converted network beside the float network, on the same images.

    Attributes:
        images: how many.
        float_accuracy: of the float network, in [0, 1].
        accuracy: of the converted one.
        lost: images that only the float network got right.
        won: images that only the converted one got right.
        agreement: share of images on which both answer alike.
        per_class_float: accuracy of the float network for each class; NaN for one without images.
        per_class: of the converted one.
    """

    images: int
    float_accuracy: float
    accuracy: float
    lost: int
    won: int
    agreement: float
    per_class_float: tuple[float, ...]
    per_class: tuple[float, ...]

    @property
    def drop(self) -> float:
        """Accuracy lost, in percentage points."""
        return 100 * (self.lost - self.won) / self.images

    @property
    def interval(self) -> tuple[float, float]:
        """95 % confidence interval of the drop, in percentage points.

        For paired proportions, with half an image added to each of the four cells of the table
        (Agresti and Min 2005, "Simple improved confidence intervals for comparing matched
        proportions", Statistics in Medicine 24, section 3): where nothing changed, the width is
        not zero. Of a few images the normal distribution goes beyond what can be, and is cut there.
        """
        images, lost, won = self.images + 2, self.lost + 0.5, self.won + 0.5
        centre = (lost - won) / images
        spread = Z95 * math.sqrt(lost + won - (lost - won) ** 2 / images) / images
        return 100 * max(centre - spread, -1.0), 100 * min(centre + spread, 1.0)

    def passes(self, max_drop: float) -> bool:
        """Whether the drop is at most `max_drop` percentage points."""
        return self.drop <= max_drop


def paired_comparison(labels: np.ndarray, float_scores: np.ndarray, scores: np.ndarray) -> Comparison:
    """Compare the answers of two networks to the same images.

    Args:
        labels: int [images].
        float_scores: [images, classes], of the float network.
        scores: [images, classes], of the converted one.
    """
    expected, answers = float_scores.argmax(axis=-1), scores.argmax(axis=-1)
    was_right, is_right = expected == labels, answers == labels
    classes = range(scores.shape[-1])
    with np.errstate(invalid="ignore"):
        counts = np.array([np.sum(labels == label) for label in classes], float)
        before = np.array([np.sum(was_right[labels == label]) for label in classes]) / counts
        after = np.array([np.sum(is_right[labels == label]) for label in classes]) / counts
    return Comparison(
        images=len(labels),
        float_accuracy=float(was_right.mean()),
        accuracy=float(is_right.mean()),
        lost=int(np.sum(was_right & ~is_right)),
        won=int(np.sum(~was_right & is_right)),
        agreement=float(np.mean(expected == answers)),
        per_class_float=tuple(before.tolist()),
        per_class=tuple(after.tolist()),
    )
