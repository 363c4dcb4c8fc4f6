"""The confirmation: who takes part, means and deviations, and what is said in the end."""

import dataclasses
import statistics
from typing import Any

import numpy as np
import pytest

from pipeline.config.config import Config
from tests.tuning.samples import START, make_plan, make_result
from tuning.trials.confirmation import best_config, choose_finalists, confirm, describe_confirmed, verdict
from tuning.trials.results import CONFIRMATION, FAILED, STOPPED, TrialResult

FIRST, SECOND, THIRD = ({"width": 32, "dropout": share} for share in (0.1, 0.2, 0.3))
PLAN = make_plan()
SEARCHED = [
    make_result(0, 0.5),
    make_result(1, 0.7, values=THIRD),
    make_result(2, 0.9, values=FIRST),
    make_result(3, 0.8, values=SECOND),
    make_result(4, 0.9, values=FIRST),
]


def failed(number: int, **changes: Any) -> TrialResult:
    return make_result(number, None, status=FAILED, cross_entropy=None, images=None, **changes)


def again(number: int, values: dict, *accuracies: float | None, **changes: Any) -> list[TrialResult]:
    """Trials of the confirmation from `number` on, with its seeds in turn; None failed."""
    return [
        (failed if accuracy is None else make_result)(
            number + place,
            **({} if accuracy is None else {"accuracy": accuracy}),
            purpose=CONFIRMATION,
            values=values,
            seed=seed,
            **changes,
        )
        for place, (accuracy, seed) in enumerate(zip(accuracies, PLAN.confirmation_seeds, strict=False))
    ]


@pytest.mark.parametrize(
    ("results", "finalists", "expected"),
    [
        (SEARCHED, 2, [FIRST, SECOND, START]),
        (SEARCHED, 1, [FIRST, START]),
        (SEARCHED, 9, [FIRST, SECOND, THIRD, START]),
        (SEARCHED[1:], 1, [FIRST]),  # the start did not fit and was never tried
        ([make_result(0, 0.95), *SEARCHED[1:]], 2, [START, FIRST]),
        ([make_result(0, 0.1, status=STOPPED), *SEARCHED[1:]], 1, [FIRST, START]),
        ([failed(0), *SEARCHED[1:]], 1, [FIRST]),
        ([*SEARCHED, make_result(5, 0.99, status=STOPPED, values={"width": 8})], 1, [FIRST, START]),
        # Where none came to the end, those that came furthest.
        (
            [
                make_result(0, 0.9, status=STOPPED, accuracies=(0.9,)),
                make_result(1, 0.5, status=STOPPED, accuracies=(0.4, 0.5), values=FIRST),
                make_result(2, 0.6, status=STOPPED, accuracies=(0.4, 0.6), values=SECOND),
                failed(3, values=THIRD),
            ],
            1,
            [SECOND, START],
        ),
        # What the confirmation measures does not choose who takes part in it.
        ([*SEARCHED, *again(5, THIRD, 0.99)], 1, [FIRST, START]),
        ([], 2, []),
    ],
)
def test_the_start_is_always_beside_the_finalists(results, finalists, expected):
    assert choose_finalists(make_plan(finalists=finalists), results) == expected


def test_confirmation_seeds_are_not_the_seed_of_the_search():
    assert list(PLAN.confirmation_seeds) == [1, 2, 3]
    other = make_plan(config=PLAN.config.with_values({"seed": 41}), seeds=2)
    assert list(other.confirmation_seeds) == [42, 43]


def test_mean_and_sample_deviation():
    accuracies = {"FIRST": (0.91, 0.87, 0.92), "SECOND": (0.93, 0.94, 0.92), "START": (0.5,) * 3}
    results = [
        *SEARCHED,
        *again(5, FIRST, *accuracies["FIRST"]),
        *again(8, SECOND, *accuracies["SECOND"]),
        *again(11, START, *accuracies["START"]),
    ]
    confirmed = confirm(PLAN, results)
    assert [(one.trial, one.is_start) for one in confirmed] == [
        ("0003", False),
        ("0002", False),
        ("0000", True),
    ]
    for one, name in zip(confirmed, ("SECOND", "FIRST", "START"), strict=True):
        assert one.values == {"FIRST": FIRST, "SECOND": SECOND, "START": START}[name]
        assert one.accuracies == accuracies[name]
        assert one.mean == statistics.mean(accuracies[name])
        assert one.deviation == statistics.stdev(accuracies[name])
        # Each seed is measured on 100 images, with a cross-entropy of 1.
        assert (one.correct, one.cross_entropy) == (round(100 * sum(accuracies[name])), 1)
    assert describe_confirmed(confirmed)[1] == "  trial 0002          90.00 ± 2.65 %   of 91.00 87.00 92.00"
    assert "trial 0000 (start)" in describe_confirmed(confirmed)[2]


def test_one_seed_has_no_deviation():
    (one,) = confirm(make_plan(seeds=1), [SEARCHED[2], *again(5, FIRST, 0.9)])
    assert (one.mean, one.deviation) == (0.9, 0.0)


def test_configurations_are_compared_over_the_same_seeds():
    # The start was trained with three seeds, when there was room for them.
    results = [*SEARCHED, *again(5, START, 0.8, 0.9, 0.9), *again(8, FIRST, 0.95)]
    confirmed = confirm(make_plan(seeds=1, finalists=1), results)
    assert [(one.trial, one.accuracies) for one in confirmed] == [("0002", (0.95,)), ("0000", (0.8,))]


def test_a_failed_or_missing_seed_disqualifies():
    results = [
        *SEARCHED,
        *again(5, FIRST, 0.99, 0.99, None),
        *again(8, SECOND, 0.6, 0.6, 0.6),
        *again(11, START, 0.98, 0.98),
    ]
    assert [one.values for one in confirm(PLAN, results)] == [SECOND]
    assert confirm(PLAN, SEARCHED) == []


def test_the_start_keeps_its_trial_though_that_was_stopped():
    results = [make_result(0, 0.1, status=STOPPED), *again(5, START, 0.5, 0.5, 0.5)]
    (start,) = confirm(PLAN, results)
    assert (start.name, start.accuracies) == ("trial 0000 (start)", (0.5, 0.5, 0.5))


def test_equal_means_are_ranked_by_cross_entropy_and_then_by_trial():
    results = [*SEARCHED, *again(5, FIRST, 0.8, 0.8, 0.8), *again(8, START, 0.8, 0.8, 0.8)]
    assert [one.trial for one in confirm(PLAN, results)] == ["0000", "0002"]
    results[5:8] = again(5, FIRST, 0.8, 0.8, 0.8, cross_entropy=0.5)
    assert [one.trial for one in confirm(PLAN, results)] == ["0002", "0000"]


def test_one_image_more_over_all_seeds_beats_any_cross_entropy():
    results = [
        *SEARCHED,
        *again(5, FIRST, 0.9, 0.9, 0.9, cross_entropy=0.0),
        *again(8, START, 0.9, 0.9, 0.91, cross_entropy=1e9),
    ]
    assert [one.trial for one in confirm(PLAN, results)] == ["0000", "0002"]


def as_measured(*accuracies: float) -> list[float]:
    """Keras' metrics are float32."""
    return [float(np.float32(accuracy)) for accuracy in accuracies]


@pytest.mark.parametrize(
    ("first", "start", "expected"),
    [
        (
            (0.93, 0.91, 0.92),
            (0.9, 0.9, 0.9),
            "best: trial 0002 beats the start by 2.00 points, 92.00% against 90.00% over 3 seeds",
        ),
        (
            (0.9, 0.9, 0.9),
            (0.9, 0.9, 0.9),
            "best: trial 0002 ties with the start, 90.00% against 90.00% over 3 seeds",
        ),
        # Equally many images in sum, though not in each seed.
        (
            as_measured(0.91, 0.91, 0.9),
            as_measured(0.9, 0.92, 0.9),
            "best: trial 0002 ties with the start, 90.67% against 90.67% over 3 seeds",
        ),
        (
            as_measured(0.9, 0.92, 0.9),
            as_measured(0.91, 0.91, 0.9),
            "best: trial 0002 ties with the start, 90.67% against 90.67% over 3 seeds",
        ),
        ((0.8, 0.8, 0.8), (0.9, 0.9, 0.9), "best: the settings the search began with, 90.00% over 3 seeds"),
        ((0.9, 0.9, 0.9), (0.9, None, 0.9), "best: trial 0002, 90.00% over 3 seeds"),
    ],
)
def test_verdict(first, start, expected):
    # The better cross-entropy puts a tie's new configuration first.
    results = [*SEARCHED, *again(5, FIRST, *first, cross_entropy=0.5), *again(8, START, *start)]
    assert verdict(confirm(PLAN, results)) == expected


def test_verdict_of_one_seed():
    plan = make_plan(seeds=1, finalists=1)
    results = [*SEARCHED, *again(5, FIRST, 0.9), *again(8, START, 0.8)]
    assert verdict(confirm(plan, results)).endswith("90.00% against 80.00% over 1 seed")


@pytest.mark.parametrize(("split_seed", "expected"), [(-1, 7), (0, 0), (5, 5)])
def test_the_best_settings_keep_the_splits_of_the_search(split_seed, expected):
    config = PLAN.config.with_values({"seed": 7, "split_seed": split_seed})
    best = best_config(dataclasses.replace(PLAN, config=config), {"width": 32, "dropout": 0.25})
    wanted = {"width": 32, "dropout": 0.25, "split_seed": expected}
    assert best == config.with_values(wanted)
    assert isinstance(best, Config)
