"""What a network answers for the images of a split, beside what is true."""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax


@dataclass(frozen=True)
class Answers:
    """The answers of one network, image by image.

    Attributes:
        labels: int64 [images].
        logits: float32 [images, classes].
    """

    labels: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 [images, classes]."""
        return softmax(self.logits.astype(np.float64), axis=-1)

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class, int64 [images]."""
        return self.logits.argmax(axis=-1)

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, float64 [images]."""
        return self.probabilities.max(axis=-1)

    @functools.cached_property
    def right(self) -> np.ndarray:
        """Whether the predicted class is the label, bool [images]."""
        return self.predicted == self.labels

    def take(self, places: np.ndarray) -> "Answers":
        """Return the answers for the images at `places`, int64 [fewer images]."""
        return Answers(self.labels[places], self.logits[places])

    def at_temperature(self, temperature: float) -> "Answers":
        """Return the answers with logits divided by `temperature` (Guo et al. 2017, eq. 9)."""
        return Answers(self.labels, self.logits / np.float32(temperature))
