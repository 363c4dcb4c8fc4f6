"""Intervals against closed formulas, and against how often they hold the truth."""

import math

import numpy as np
import pytest
from scipy.stats import norm, rankdata

from evaluation.metrics.intervals import (
    RESAMPLES,
    Estimate,
    area,
    as_json,
    bootstrap,
    f1_share,
    percentile,
    reflected,
    share,
)

Z = 1.959963984540054  # 97.5 % quantile of the normal distribution


def wilson(k, n):
    middle = (k + Z**2 / 2) / (n + Z**2)
    half = Z / (n + Z**2) * math.sqrt(k * (n - k) / n + Z**2 / 4)
    return middle - half, middle + half


@pytest.mark.parametrize(("count", "total"), [(0, 10), (1, 1), (7, 10), (81, 263), (9012, 10000)])
def test_a_share_has_wilsons_interval(count, total):
    estimate = share(count, total)
    assert estimate.value == count / total
    # Two ways to write the same formula in float64.
    np.testing.assert_allclose((estimate.low, estimate.high), wilson(count, total), atol=1e-12)


def test_a_published_wilson_interval():
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3; printed to four decimals.
    estimate = share(81, 263)
    assert (round(estimate.low, 4), round(estimate.high, 4)) == (0.2553, 0.3662)


def test_shares_of_nothing_are_undefined():
    assert share(0, 0) is None
    assert f1_share(0, 0) is None
    assert as_json({"recall": None}) == {"recall": None}


def test_json_form():
    written = as_json({"top1": Estimate(0.5, 0.4, 0.7)})
    assert written == {"top1": {"value": 0.5, "interval_95": [0.4, 0.7]}}


@pytest.mark.parametrize("estimate", [share(0, 7), share(7, 7), f1_share(0, 5), f1_share(5, 0)])
def test_the_ends_of_the_scale_have_a_width_and_stay_on_it(estimate):
    assert 0 <= estimate.low <= estimate.value <= estimate.high <= 1
    assert estimate.high - estimate.low > 0.25


def test_f1_from_its_definition():
    # 6 hits, 1 missed, 2 false alarms: precision 6/8, recall 6/7, F1 = 2 * 6 / (2 * 6 + 3).
    estimate = f1_share(6, 3)
    low, high = wilson(6, 9)
    assert estimate.value == pytest.approx(12 / 15)
    assert estimate.low == pytest.approx(2 * low / (1 + low))
    assert estimate.high == pytest.approx(2 * high / (1 + high))


def test_wilson_and_f1_hold_the_truth_in_95_of_100():
    # Each image is a hit, a miss, a false alarm or none of them.
    chances = np.array([0.30, 0.04, 0.06, 0.60])
    samples = np.random.default_rng(0).multinomial(100, chances, size=1000)
    recall, f1 = 0.30 / 0.34, 0.60 / 0.70
    held = np.zeros(2)
    for hits, misses, alarms, _ in samples:
        a, b = share(hits, hits + misses), f1_share(hits, misses + alarms)
        held += [a.low <= recall <= a.high, b.low <= f1 <= b.high]
    # A thousand trials are 0.7 points off by chance; three times that, and a point for the
    # steps of small counts.
    np.testing.assert_allclose(held / len(samples), 0.95, atol=0.03)


def test_area_solves_newcombes_equation():
    value, positives, negatives = 0.93, 40, 200
    estimate = area(value, positives, negatives)
    for end in (estimate.low, estimate.high):
        # Hanley and McNeil 1982, eq. 1, with both group sizes replaced by their mean.
        q1, q2, half = end / (2 - end), 2 * end**2 / (1 + end), (positives + negatives) / 2 - 1
        variance = end * (1 - end) + half * (q1 - end**2) + half * (q2 - end**2)
        deviations = (value - end) / math.sqrt(variance / (positives * negatives))
        assert abs(deviations) == pytest.approx(Z, rel=1e-6)  # the root finder stops at 2e-12
    assert estimate.low < value < estimate.high


@pytest.mark.parametrize(("positives", "negatives"), [(1, 9999), (36, 324), (1000, 9000)])
def test_a_perfect_area_is_not_certain(positives, negatives):
    best, worst = area(1.0, positives, negatives), area(0.0, positives, negatives)
    assert best.value == best.high == 1
    assert 0 < best.low < 1 - 1e-4
    assert (worst.low, worst.high) == pytest.approx((0, 1 - best.low))


def test_the_area_of_one_pair_is_a_share_of_one():
    # One positive and one negative are one comparison, won or lost.
    estimate, expected = area(1.0, 1, 1), share(1, 1)
    # The root finder stops at 2e-12.
    assert (estimate.low, estimate.high) == pytest.approx((expected.low, 1), abs=1e-10)


def test_the_area_interval_holds_the_truth_where_there_are_few_images():
    generator, held = np.random.default_rng(0), 0
    truth = norm.cdf(2 / math.sqrt(2))  # two normal distributions, two deviations apart
    for _ in range(400):
        ranks = rankdata(np.r_[generator.normal(2, 1, 12), generator.normal(0, 1, 100)])
        estimate = area((ranks[:12].sum() - 78) / 1200, 12, 100)  # 78 = 1 + ... + 12
        held += estimate.low <= truth <= estimate.high
    # 1.1 points by chance, three times; the bootstrap and DeLong's interval reach 0.83.
    assert held / 400 > 0.95 - 0.033


def test_the_bootstrap_of_a_mean_is_the_normal_interval():
    values = np.random.default_rng(1).gamma(4, size=500)
    estimate = percentile(values.mean(), bootstrap(lambda r: values[r].mean(), 500, seed=0))
    half = Z * values.std() / math.sqrt(500)
    # An end is the 25th of 1000 sorted values: its own deviation is 8 % of half the width.
    assert estimate.low == pytest.approx(values.mean() - half, abs=0.24 * half)
    assert estimate.high == pytest.approx(values.mean() + half, abs=0.24 * half)


def test_a_sample_is_drawn_with_replacement_and_is_as_large():
    counts = bootstrap(lambda rows: np.bincount(rows, minlength=20), 20, seed=3)
    assert counts.shape == (RESAMPLES, 20)
    assert (counts.sum(axis=1) == 20).all()
    # Each count is binomial with mean 1 and variance 0.95; 20,000 of them are 0.01 off by chance.
    assert counts.var() == pytest.approx(0.95, abs=0.05)


def test_the_seed_decides():
    first, again, other = (bootstrap(lambda r: r, 50, seed) for seed in (7, 7, 8))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_percentiles_of_known_values():
    resampled = np.random.default_rng(0).permutation(1001) / 1000
    estimate = percentile(0.5, resampled)
    assert (estimate.low, estimate.high) == pytest.approx((0.025, 0.975))


def test_reflection_turns_the_interval_around_the_value():
    resampled = np.arange(1001) / 1000
    estimate = reflected(0.6, resampled, minimum=0)
    assert (estimate.low, estimate.high) == pytest.approx((1.2 - 0.975, 1.2 - 0.025))
    assert reflected(0.45, resampled, minimum=0).low == 0  # 0.9 - 0.975 is below


def test_an_interval_holds_its_value():
    above = np.full(1000, 0.3)
    assert percentile(0.2, above) == Estimate(0.2, 0.2, 0.3)
    assert reflected(0.2, above, minimum=0).high == 0.2
