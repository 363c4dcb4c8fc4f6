"""The paired comparison: tables worked by hand, and an interval that covers as often as it says."""

import math

import numpy as np
import pytest
from scipy.stats import norm

from export.verify.comparison import Comparison, paired_comparison


def scores_of(answers, classes=3):
    """Scores of which `answers` are the greatest."""
    return np.eye(classes, dtype=np.float32)[answers]


def compare_table(both, lost, won, neither):
    """Compare two networks that are right on so many images together, alone or not at all."""
    labels = np.zeros(both + lost + won + neither, int)
    float_answers = np.repeat([0, 0, 1, 1], [both, lost, won, neither])
    answers = np.repeat([0, 1, 0, 1], [both, lost, won, neither])
    return paired_comparison(labels, scores_of(float_answers), scores_of(answers))


def test_eight_images_worked_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 1, 1, 0])
    before = np.array([0, 0, 1, 1, 1, 1, 0, 2])
    after = np.array([0, 1, 0, 1, 1, 0, 1, 1])

    comparison = paired_comparison(labels, scores_of(before), scores_of(after))

    assert comparison.images == 8
    assert comparison.float_accuracy == 5 / 8
    assert comparison.accuracy == 5 / 8
    assert (comparison.lost, comparison.won) == (2, 2)
    assert comparison.agreement == 3 / 8
    assert comparison.per_class_float[:2] == (2 / 4, 3 / 4)
    assert comparison.per_class[:2] == (2 / 4, 3 / 4)
    assert comparison.drop == 0


def test_drop_counts_lost_less_won_in_percentage_points():
    comparison = compare_table(both=80, lost=9, won=4, neither=7)

    assert (comparison.float_accuracy, comparison.accuracy) == (0.89, 0.84)
    assert (comparison.lost, comparison.won) == (9, 4)
    assert comparison.drop == 5.0
    assert compare_table(both=80, lost=4, won=9, neither=7).drop == -5.0


def test_agreement_counts_common_mistakes_and_not_two_different_ones():
    labels = np.array([0, 0, 0, 0])
    float_answers, answers = np.array([0, 1, 1, 0]), np.array([0, 1, 2, 1])

    comparison = paired_comparison(labels, scores_of(float_answers), scores_of(answers))

    assert comparison.agreement == 2 / 4
    assert (comparison.lost, comparison.won) == (1, 0)


def test_each_class_has_its_own_accuracy_and_one_without_images_has_none():
    labels = np.array([0, 0, 0, 0, 2, 2])
    float_answers, answers = np.array([0, 0, 0, 1, 2, 1]), np.array([0, 2, 1, 1, 2, 2])

    comparison = paired_comparison(labels, scores_of(float_answers), scores_of(answers))

    np.testing.assert_equal(comparison.per_class_float, (3 / 4, math.nan, 1 / 2))
    np.testing.assert_equal(comparison.per_class, (1 / 4, math.nan, 2 / 2))


@pytest.mark.parametrize(
    "table", [(80, 9, 4, 7), (300, 0, 0, 0), (0, 12, 0, 0), (150, 3, 40, 107), (1, 0, 0, 0)]
)
def test_interval_is_that_of_a_mean_of_paired_differences(table):
    """An image's difference is 1 if lost, -1 if won, else 0; half a one joins each of four cells.

    The variance of the drop is then the variance of a mean, written out over the images.
    """
    both, lost, won, neither = table
    # Each image stands here twice, so that the half ones are whole.
    differences = np.repeat([0, 1, -1, 0], [2 * cell + 1 for cell in (both, lost, won, neither)])
    error = math.sqrt(differences.var() / (sum(table) + 2))
    # No more can be lost, or won, than all.
    expected = np.clip(norm.interval(0.95, differences.mean(), error), -1, 1)

    # Z95 is written with seven digits.
    assert compare_table(*table).interval == pytest.approx((100 * expected[0], 100 * expected[1]), rel=1e-6)


@pytest.mark.parametrize(("lost", "won"), [(0.05, 0.02), (0.02, 0.02), (0.10, 0.15), (0.02, 0.005)])
def test_interval_covers_the_true_drop_nineteen_times_in_twenty(lost, won):
    tables = np.random.default_rng(0).multinomial(300, [0.7 - lost, lost, won, 0.3 - won], 2000)

    intervals = np.array([compare_table(*table).interval for table in tables])

    true_drop = 100 * (lost - won)
    covered = np.mean((intervals[:, 0] <= true_drop) & (true_drop <= intervals[:, 1]))
    # 2000 draws are worth a standard error of 0.005. The rest of the allowance is the method's:
    # it has only whole images to count, and errs towards covering too often (section 4).
    assert 0.93 <= covered <= 0.98


def test_a_drop_of_exactly_the_limit_passes():
    for lost in range(1, 100):
        comparison = compare_table(both=1000 - lost, lost=lost, won=0, neither=0)
        limit = float(f"{lost / 10:.1f}")  # As one types it: 0.7, which is no sum of powers of 2.

        assert comparison.passes(limit)
        assert not comparison.passes(np.nextafter(limit, 0))


def test_a_gain_passes_where_no_drop_is_allowed():
    assert compare_table(both=90, lost=0, won=1, neither=9).passes(0)
    assert compare_table(both=90, lost=1, won=1, neither=8).passes(0)
    assert not compare_table(both=90, lost=1, won=0, neither=9).passes(0)


def test_the_gate_judges_the_drop_itself_and_not_its_interval():
    comparison = Comparison(100, 0.9, 0.89, 1, 0, 0.99, (0.9,), (0.89,))

    assert comparison.interval[1] > 1
    assert comparison.passes(1)
