"""Stopping weak trials early: the median rule."""

import math
from collections.abc import Callable, Sequence
from statistics import mean, median
from typing import Any

import keras

from pipeline.training.checkpoint import Progression

GRACE_SHARE = 0.25
"""Share of the epochs in which nothing is stopped: a high learning rate starts badly."""

GRACE_EPOCHS = 2
"""Epochs in which nothing is stopped, however short the trials."""

MIN_PEERS = 3
"""Trials that must have come as far before one can be called weak."""


def is_weak(accuracies: Sequence[float], peers: Sequence[Sequence[float]], epochs: int) -> bool:
    """Whether a trial's best so far is below the median of the others' means by the same epoch.

    The median stopping rule of Golovin et al. 2017, "Google Vizier", section 3.2.1. To compare
    with the others' best would stop half of the trials once all are good, and those that rise
    late with them.

    Args:
        accuracies: of the trial, one an epoch.
        peers: of other trials, whole or as far as they came.
        epochs: of a whole trial.
    """
    epoch = len(accuracies)
    if epoch < max(math.ceil(GRACE_SHARE * epochs), GRACE_EPOCHS) or epoch >= epochs:
        return False
    means = [mean(peer[:epoch]) for peer in peers if len(peer) >= epoch]
    return len(means) >= MIN_PEERS and max(accuracies) < median(means)


def believed_gain(epoch: int, completed: Sequence[Sequence[float]]) -> float:
    """What a trial stopped after `epoch` epochs would still have gained: as others in the median.

    Without it, whoever learns from scores takes what was stopped for far worse than it is.

    Args:
        epoch: at least 1.
        completed: accuracies of other trials, one an epoch; shorter ones do not count.
    """
    gains = [max(others) - max(others[:epoch]) for others in completed if len(others) > epoch]
    return median(gains) if gains else 0.0


class StopWeak(keras.callbacks.Callback):
    """End the run at an epoch where `is_weak` says so.

    Args:
        progression: the run's; its history has this epoch's row already.
        peers: returns the other trials' accuracies, as known by now.
        epochs: of a whole trial.
    """

    def __init__(
        self, progression: Progression, peers: Callable[[], Sequence[Sequence[float]]], epochs: int
    ) -> None:
        super().__init__()
        self.progression, self.peers, self.epochs = progression, peers, epochs

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare with the others."""
        accuracies = [row["val_accuracy"] for row in self.progression.history]
        if is_weak(accuracies, self.peers(), self.epochs):
            self.progression.stopped_early = True
            self.model.stop_training = True
