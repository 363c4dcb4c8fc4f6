"""Stopping weak trials early: the median rule."""

import math
from collections.abc import Callable, Sequence
from statistics import median
from typing import Any

import keras

from pipeline.checkpoint import Progression

GRACE_SHARE = 0.25
"""Share of the epochs in which nothing is stopped: a high learning rate starts badly."""

GRACE_EPOCHS = 2
"""Epochs in which nothing is stopped, however short the trials."""

MIN_PEERS = 3
"""Trials that must have come as far before one can be called weak."""


def is_weak(accuracies: Sequence[float], peers: Sequence[Sequence[float]], epochs: int) -> bool:
    """Whether a trial's best so far is below the median of the others' best by the same epoch.

    The median stopping rule of Golovin et al. 2017, "Google Vizier", section 3.2, which takes the
    others' running averages; their best stops more, since learning curves rise.

    Args:
        accuracies: of the trial, one an epoch.
        peers: of other trials, whole or as far as they came.
        epochs: of a whole trial.
    """
    epoch = len(accuracies)
    if epoch < max(math.ceil(GRACE_SHARE * epochs), GRACE_EPOCHS) or epoch >= epochs:
        return False
    best = [max(peer[:epoch]) for peer in peers if len(peer) >= epoch]
    return len(best) >= MIN_PEERS and max(accuracies) < median(best)


class StopWeak(keras.callbacks.Callback):
    """End the run at an epoch where `is_weak` says so.

    Args:
        progression: the run's; its history has this epoch's row already.
        peers: returns the other trials' accuracies, as known by now.
        epochs: of a whole trial.
    """

    def __init__(
        self,
        progression: Progression,
        peers: Callable[[], Sequence[Sequence[float]]],
        epochs: int,
    ) -> None:
        super().__init__()
        self.progression, self.peers, self.epochs = progression, peers, epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare with the others."""
        accuracies = [row["val_accuracy"] for row in self.progression.history]
        if is_weak(accuracies, self.peers(), self.epochs):
            self.progression.stopped_early = True
            self.model.stop_training = True
