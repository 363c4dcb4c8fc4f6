"""Clipped ranges against NumPy's percentiles and a real quantiser."""

import numpy as np
import pytest

from export.convert.converter import Range
from export.quantize.ranges import BINS, clip_by_percentile, clip_by_squared_error


def histogram(values):
    full = Range(float(values.min()), float(values.max()))
    return np.histogram(values, BINS, (full.low, full.high))[0], full


def skewed(count):
    """Draw values whose two tails differ, around a middle that is not zero."""
    values = np.random.default_rng(0).standard_normal(count)
    return np.where(values > 0, 3 * values, values) + 0.5


def test_percentile_range_is_that_of_the_raw_values():
    # So many that neighbours in the tail lie closer together than bins are wide.
    values = skewed(2_000_000)
    counts, full = histogram(values)

    clipped = clip_by_percentile(counts, full)

    # The percentile falls into a bin, and the range takes the whole of it; one bin more for the
    # interpolation between two values.
    two_bins = 2 * (full.high - full.low) / BINS
    low, high = np.percentile(values, [0.01, 99.99])
    assert clipped.low == pytest.approx(low, abs=two_bins)
    assert clipped.high == pytest.approx(high, abs=two_bins)
    assert clipped.low <= low
    assert clipped.high >= high


def squared_error(values, low, high):
    """Quantise to int8 and back (Jacob et al. 2018, eq. 1), and sum what that costs."""
    scale = (high - low) / 255
    zero_point = np.rint(-128 - low / scale)
    levels = np.clip(np.rint(values / scale) + zero_point, -128, 127)
    return np.sum(((levels - zero_point) * scale - values) ** 2)


def outlier():
    return np.append(np.random.default_rng(0).standard_normal(100_000), [8.0, 9.0, -8.0])


def rectified():
    return np.maximum(outlier() - 1.5, 0)


def far_from_zero():
    return 8 + np.random.default_rng(0).standard_normal(5_000)


@pytest.mark.parametrize("draw", [outlier, rectified, far_from_zero, lambda: skewed(50_000)])
def test_squared_error_range_costs_no_more_than_any_other_when_really_quantised(draw):
    values = draw()
    counts, full = histogram(values)
    shares = np.linspace(0.02, 1, 99)

    clipped = clip_by_squared_error(counts, full)

    low, high = min(full.low, 0), max(full.high, 0)
    least = min(squared_error(values, low * share, high * share) for share in shares)
    # The least lies in a flat valley; bins of an eighth of a level, the average cost of rounding
    # and shares in steps of a hundredth find it this closely.
    assert squared_error(values, clipped.low, clipped.high) <= 1.02 * least


@pytest.mark.parametrize("clip", [clip_by_percentile, clip_by_squared_error])
@pytest.mark.parametrize(
    ("sign", "offset"), [(1, 20), (-1, 20), (1, 0)], ids=["positive", "negative", "both signs"]
)
def test_zero_lies_inside_a_clipped_range_and_that_in_the_full_one(clip, sign, offset):
    values = sign * (offset + np.random.default_rng(0).standard_normal(10_000))
    counts, full = histogram(values)

    clipped = clip(counts, full)

    assert clipped.low <= 0 <= clipped.high
    assert clipped.low >= min(full.low, 0)
    assert clipped.high <= max(full.high, 0)
    # Where zero had to be taken in, it is the end.
    assert not offset or 0 in (clipped.low, clipped.high)
