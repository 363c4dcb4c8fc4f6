"""What a network answers for the pictures of a split, beside what is true."""

import functools
from dataclasses import dataclass

import numpy as np
from scipy.special import softmax


@dataclass(frozen=True)
class Answers:
    """The answers of one network, picture by picture.

    Attributes:
        labels: int64 [pictures].
        logits: float32 [pictures, classes].
    """

    labels: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    @functools.cached_property
    def probabilities(self) -> np.ndarray:
        """Softmax of the logits, float64 [pictures, classes]."""
        return softmax(self.logits.astype(np.float64), axis=-1)

    @functools.cached_property
    def predicted(self) -> np.ndarray:
        """The most probable class, int64 [pictures]."""
        return self.logits.argmax(axis=-1)

    @functools.cached_property
    def confidence(self) -> np.ndarray:
        """Probability of the predicted class, float64 [pictures]."""
        return self.probabilities.max(axis=-1)

    @functools.cached_property
    def right(self) -> np.ndarray:
        """Whether the predicted class is the label, bool [pictures]."""
        return self.predicted == self.labels

    def take(self, places: np.ndarray) -> "Answers":
        """Return the answers for the pictures at `places`, int64 [fewer pictures]."""
        return Answers(self.labels[places], self.logits[places])

    def at_temperature(self, temperature: float) -> "Answers":
        """Return the answers with logits divided by `temperature` (Guo et al. 2017, eq. 9)."""
        return Answers(self.labels, self.logits / np.float32(temperature))
