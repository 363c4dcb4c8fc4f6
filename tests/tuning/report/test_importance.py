"""Importance of hyperparameters, against shares of variance that are known."""

import numpy as np
import pytest

from tuning.report.importance import importance
from tuning.space.search_space import Dimension, values_at
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult

LINEAR = Dimension("linear", "", 0.0, 4.0)
LOG = Dimension("log", "", 1e-4, 1.0, log=True)
NAMES = Dimension("names", "", choices=("x", "y", "z"))
IDLE = Dimension("idle", "", 0.0, 1.0)
CONDITIONAL = Dimension("conditional", "", 0.0, 1.0, when=("names", ("x",)))
SPACE = (LINEAR, LOG, NAMES, IDLE, CONDITIONAL)


def accuracy_of(values) -> float:
    peak = {"x": 0.0, "y": 0.1, "z": 0.0}[values["names"]]
    return 0.5 + 0.2 * values["linear"] / 4 + 0.15 * LOG.position_of(values["log"]) + peak


def searched(count: int, accuracy=accuracy_of, seed: int = 3) -> list[TrialResult]:
    random = np.random.default_rng(seed)
    results = []
    for number in range(count):
        values = values_at(SPACE, iter(random.uniform(size=len(SPACE))))
        results.append(
            TrialResult(
                f"{number:04d}",
                SEARCH,
                STOPPED if number % 5 == 0 else COMPLETED,
                values,
                0,
                accuracy(values),
                0.0,
                1000,
                1,
                1,
            )
        )
    return results


def test_shares_are_those_of_the_variance():
    # Permuting one term of a sum adds twice the variance of that term to the squared error, so
    # that shares of importance are shares of the variance: slope² / 12 of a uniform value, and
    # p (1 - p) height² of the choice y with p = 1/3.
    variances = {"linear": 0.2**2 / 12, "log": 0.15**2 / 12, "names": 2 / 9 * 0.1**2}
    shares = importance(SPACE, searched(150))
    assert list(shares) == [dimension.name for dimension in SPACE]
    assert sum(shares.values()) == pytest.approx(1, abs=1e-9)
    for name, variance in variances.items():
        # A forest sees 150 points of a five-dimensional space only roughly: with twelve other
        # seeds of the points every share lay within 0.10 of these.
        assert shares[name] == pytest.approx(variance / sum(variances.values()), abs=0.12)
    # What has no effect gets what chance leaves, 0.025 at most with those seeds.
    assert 0 <= shares["idle"] < 0.05
    assert 0 <= shares["conditional"] < 0.05


def test_absence_is_neutral():
    # The score depends on the choice alone, which the absence of the conditional one gives away.
    # With twelve seeds the choice got 0.78 to 0.84, and 0.56 to 0.62 where absence was put at a
    # place of its own, outside of [0, 1].
    shares = importance(SPACE, searched(100, lambda values: 0.5 + 0.2 * (values["names"] == "x")))
    assert shares["names"] > 0.7


FEW = 10
"""Trees, where the same must come out twice, whatever it is."""


def test_the_order_of_trials_is_of_no_effect():
    results = searched(12)
    assert importance(SPACE, results, FEW) == importance(SPACE, results[::-1], FEW)


def test_only_search_trials_with_a_score_count():
    results = searched(10)
    others = [
        TrialResult("9998", SEARCH, FAILED, results[0].values, 0),
        TrialResult("9999", CONFIRMATION, COMPLETED, results[0].values, 0, 0.1, 0.0, 1000, 1, 1),
    ]
    assert importance(SPACE, results + others, FEW) == importance(SPACE, results, FEW)
    assert importance(SPACE, results[:7] + others, FEW) == {}


@pytest.mark.parametrize("count", [0, 1, 7])
def test_fewer_than_eight_trials_say_nothing(count):
    assert importance(SPACE, searched(count)) == {}


def test_equal_scores_say_nothing():
    assert importance(SPACE, searched(12, lambda values: 0.5), FEW) == {}
