"""How sure an estimate is: 95 % confidence intervals for a finite test split."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

CONFIDENCE = 0.95

RESAMPLES = 1000
"""Bootstrap samples; percentiles want about a thousand (Efron and Tibshirani 1993, chapter 19)."""


@dataclass(frozen=True)
class Estimate:
    """A measured value and its 95 % confidence interval, low <= value <= high."""

    value: float
    low: float
    high: float


def as_json(estimates: Mapping[str, Estimate | None]) -> dict[str, dict[str, Any] | None]:
    """Return {"value", "interval_95"} for each name; None where there is no estimate."""
    return {
        name: {"value": estimate.value, "interval_95": [estimate.low, estimate.high]} if estimate else None
        for name, estimate in estimates.items()
    }


def share(count: int, total: int) -> Estimate | None:
    """Estimate a share with Wilson's score interval.

    It keeps its promise near 0 and 1 and for small totals, where the normal interval does not
    (Wilson 1927; Brown, Cai and DasGupta 2001, "Interval estimation for a binomial proportion").

    Args:
        count: images that have the property, 0 to `total`.
        total: all images; the share of none is None.
    """
    if total == 0:
        return None
    interval = binomtest(int(count), int(total)).proportion_ci(CONFIDENCE, method="wilson")
    return _holding(count / total, interval.low, interval.high)


def f1_share(hits: int, misses_and_false_alarms: int) -> Estimate | None:
    """Estimate an F1 score from a share by the function that ties the two.

        J = hits / (hits + misses + false alarms),  F1 = 2 J / (1 + J)

    F1 itself is no share, but J is one, and F1 grows with it: so do the ends of the interval
    (Lam, Gopal and Qian 2023, arXiv:2309.14621, "Wilson indirect").

    Args:
        hits: images of the class that were called so.
        misses_and_false_alarms: images of the class or called so, but not both.
    """
    jaccard = share(hits, hits + misses_and_false_alarms)
    if jaccard is None:
        return None
    return Estimate(*(2 * j / (1 + j) for j in (jaccard.value, jaccard.low, jaccard.high)))


def area(value: float, positives: int, negatives: int) -> Estimate:
    """Estimate an area under the ROC curve with Newcombe's score interval.

    The ends are the areas t that are z standard deviations from the value, with

        V(t) = t (1 - t) (1 + (N / 2 - 1) ((1 - t) / (2 - t) + t / (1 + t))) / (positives negatives)

    and N images (Newcombe 2006, "Confidence intervals for an effect size measure based on the
    Mann-Whitney statistic. Part 2", method 5). DeLong's interval and the bootstrap are far too
    narrow for a class of a few dozen images, and have no width at all at an area of 1.

    Args:
        value: the area, in [0, 1].
        positives: images of the class, at least 1.
        negatives: all other images, at least 1.
    """
    z = norm.ppf((1 + CONFIDENCE) / 2)
    others = (positives + negatives) / 2 - 1

    def beyond(t: float, measured: float) -> float:
        spread = 1 + others * ((1 - t) / (2 - t) + t / (1 + t))
        return (measured - t) ** 2 - z**2 * t * (1 - t) * spread / (positives * negatives)

    def low(measured: float) -> float:
        just_below = measured - 1e-12  # An area of 1 is itself a root, and not the one we want.
        return brentq(beyond, 0, just_below, args=(measured,)) if just_below > 0 else 0.0

    return _holding(value, low(value), 1 - low(1 - value))


def bootstrap(
    statistic: Callable[[np.ndarray], np.ndarray | Sequence[float]],
    images: int,
    seed: int,
    resamples: int = RESAMPLES,
) -> np.ndarray:
    """Measure samples that are drawn from the images, with replacement and as many.

    Args:
        statistic: [images] rows -> what is measured of them, [...].
        images: of the split.
        seed: the same seed draws the same rows, whatever is measured.
        resamples: how many samples.

    Returns:
        [resamples, ...], float64.
    """
    generator = np.random.default_rng(seed)
    return np.array([statistic(generator.integers(images, size=images)) for _ in range(resamples)])


def percentile(value: float, resampled: np.ndarray) -> Estimate:
    """The middle 95 % of the resampled values (Efron and Tibshirani 1993, chapter 13).

    Args:
        value: of all images.
        resampled: [resamples].
    """
    return _holding(value, *_middle(resampled))


def reflected(value: float, resampled: np.ndarray, minimum: float) -> Estimate:
    """The middle 95 % reflected at the value: 2 value - high to 2 value - low.

    For what is biased in a finite sample, as calibration errors are: resampling adds the bias a
    second time, and the percentiles would leave out the truth, and often the value itself
    (the basic bootstrap; Davison and Hinkley 1997, section 5.2).

    Args:
        value: of all images.
        resampled: [resamples].
        minimum: the least that can be true.
    """
    low, high = _middle(resampled)
    return _holding(value, max(2 * value - high, minimum), 2 * value - low)


def _middle(resampled: np.ndarray) -> np.ndarray:
    return np.quantile(resampled, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])


def _holding(value: float, low: float, high: float) -> Estimate:
    # Rounding, and the bootstrap of few images, can leave the value just outside.
    return Estimate(float(value), float(min(low, value)), float(max(high, value)))
