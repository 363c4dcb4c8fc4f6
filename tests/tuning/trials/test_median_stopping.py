"""Stopping weak trials: the median rule by hand, and the callback that obeys it."""

from types import SimpleNamespace

import pytest

from pipeline.training.checkpoint import Progression
from tuning.trials.median_stopping import StopWeak, believed_gain, is_weak


def flat(accuracy: float, epochs: int = 12) -> list[float]:
    return [accuracy] * epochs


GOOD = [flat(0.9)] * 3


@pytest.mark.parametrize(
    ("accuracies", "peers", "epochs", "weak"),
    [
        # A quarter of 12 epochs is 3, of 10 is 2.5, of 4 is 1, where at least 2 are granted.
        (flat(0.1, 2), GOOD, 12, False),
        (flat(0.1, 3), GOOD, 12, True),
        (flat(0.1, 2), GOOD, 10, False),
        (flat(0.1, 3), GOOD, 10, True),
        (flat(0.1, 1), GOOD, 4, False),
        (flat(0.1, 2), GOOD, 4, True),
        (flat(0.1, 1), GOOD, 1, False),
        ([], GOOD, 12, False),
        # After the last epoch there is nothing to save.
        (flat(0.1, 11), GOOD, 12, True),
        (flat(0.1, 12), GOOD, 12, False),
        # Three others must have come as far.
        (flat(0.1, 3), [], 12, False),
        (flat(0.1, 3), GOOD[:2], 12, False),
        (flat(0.1, 3), [*GOOD[:2], flat(0.9, 2)], 12, False),
        (flat(0.1, 3), [*GOOD[:2], flat(0.9, 3)], 12, True),
        (flat(0.1, 3), [*GOOD, [], flat(0.05, 2)], 12, True),
        # Strictly below the median: of 0.4, 0.5, 0.9 it is 0.5; of 0.2, 0.4, 0.6, 0.9 as well.
        (flat(0.5, 3), [flat(0.4), flat(0.5), flat(0.9)], 12, False),
        (flat(0.49, 3), [flat(0.4), flat(0.5), flat(0.9)], 12, True),
        (flat(0.5, 3), [flat(0.2), flat(0.4), flat(0.6), flat(0.9)], 12, False),
        (flat(0.49, 3), [flat(0.2), flat(0.4), flat(0.6), flat(0.9)], 12, True),
        # Those who did not come as far are not in the median either.
        (flat(0.3, 4), [flat(0.2), flat(0.2), flat(0.2), *[flat(0.9, 3)] * 9], 12, False),
        # The best so far counts, of the others the mean, 0.5, and nothing that came later.
        ([0.6, 0.1, 0.1], [flat(0.5)] * 3, 12, False),
        (flat(0.5, 3), [[0.9, 0.5, 0.1, *flat(0.9, 9)]] * 3, 12, False),
        (flat(0.49, 3), [[0.9, 0.5, 0.1, *flat(0.0, 9)]] * 3, 12, True),
        (flat(0.2, 3), [[*flat(0.1, 3), *flat(0.9, 9)]] * 3, 12, False),
    ],
)
def test_is_weak(accuracies, peers, epochs, weak):
    assert is_weak(accuracies, peers, epochs) is weak


@pytest.mark.parametrize(
    ("epoch", "completed", "gain"),
    [
        (2, [], 0.0),
        # From the best of the first two epochs to the best of all: 0.25, 0.5 and 0.
        (2, [[0.25, 0.5, 0.75], [0.25, 0.25, 0.75], [0.5, 0.75, 0.25]], 0.25),
        (1, [[0.25, 0.5, 0.75], [0.25, 0.25, 0.75], [0.5, 0.75, 0.25]], 0.5),
        # Nobody tells what comes after its own end.
        (2, [[0.25, 0.5, 0.75], [0.1, 0.2], [0.9]], 0.25),
        (3, [[0.25, 0.5, 0.75]], 0.0),
    ],
)
def test_what_was_stopped_would_have_gained_what_others_did(epoch, completed, gain):
    assert believed_gain(epoch, completed) == gain


def test_a_weak_trial_is_stopped_at_the_end_of_an_epoch():
    progression, known = Progression(), []
    callback = StopWeak(progression, lambda: known, 12)
    callback.set_model(SimpleNamespace(stop_training=False))
    stopped = []
    for epoch in range(5):
        if epoch == 3:
            known.extend(GOOD)  # others may end while this one trains
        progression.history.append({"val_accuracy": 0.5, "accuracy": 0.99})
        callback.on_epoch_end(epoch, {"val_accuracy": 0.99})
        stopped.append((progression.stopped_early, callback.model.stop_training))
    assert stopped == [(False, False)] * 3 + [(True, True)] * 2
