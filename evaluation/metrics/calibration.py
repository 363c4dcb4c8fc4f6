"""Whether a network is right as often as it is confident, before and after temperature scaling."""

import math
from typing import Any

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax

from evaluation.metrics.answers import Answers
from evaluation.metrics.intervals import RESAMPLES, as_json, bootstrap, percentile, reflected

BINS = 15
"""As many as Guo et al. (2017) use."""

TEMPERATURES = (0.05, 20.0)
"""Least and greatest temperature that is tried."""


def measure_calibration(
    test: Answers, validation: Answers, seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Measure the calibration on `test`, as it is and at the temperature that suits `validation`.

    Args:
        test: at least one image.
        validation: images that the network did not train on and that are not in `test`.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        "temperature", whether it lies at an end of TEMPERATURES, "bins", "validation_images",
        and "before" and "after": "nll" in nats, "brier" in [0, 2], "ece_equal_width" and
        "ece_equal_mass" in [0, 1], each {"value", "interval_95"}, with "equal_width_bins" and
        "equal_mass_bins".
    """
    temperature = fit_temperature(validation)
    return {
        "temperature": temperature,
        "temperature_at_limit": any(math.isclose(temperature, end, rel_tol=1e-3) for end in TEMPERATURES),
        "bins": BINS,
        "validation_images": len(validation),
        "before": _measure(test, seed, resamples),
        "after": _measure(test.at_temperature(temperature), seed, resamples),
    }


def fit_temperature(validation: Answers) -> float:
    """Return the temperature at which the labels are most likely (Guo et al. 2017, section 4.2).

    The likelihood has one maximum, which is looked for between TEMPERATURES; where it lies beyond,
    the nearer end is returned. If no image is wrong there is none: ever more confidence is ever
    likelier, and nothing says how much is too much. Then the answer is 1, which changes nothing.
    """
    if validation.right.all():
        return 1.0

    def loss(log_temperature: float) -> float:
        answers = validation.at_temperature(math.exp(log_temperature))
        return negative_log_likelihoods(answers).mean()

    result = minimize_scalar(loss, bounds=np.log(TEMPERATURES), method="bounded")
    return math.exp(result.x)


def negative_log_likelihoods(answers: Answers) -> np.ndarray:
    """-log of the label's probability, in nats, float64 [images].

    From the logits: scikit-learn's log_loss takes probabilities, and clips them at 2e-16.
    """
    log_probabilities = log_softmax(answers.logits.astype(np.float64), axis=-1)
    return -np.take_along_axis(log_probabilities, answers.labels[:, np.newaxis], axis=-1)[:, 0]


def brier_scores(answers: Answers) -> np.ndarray:
    """Squared difference to the one-hot label, summed over classes (Brier 1950).

    Returns:
        float64 [images], in [0, 2].
    """
    difference = answers.probabilities.copy()
    difference[np.arange(len(answers)), answers.labels] -= 1
    return np.square(difference).sum(axis=-1)


def equal_width_edges() -> np.ndarray:
    """Edges of bins as wide as each other, float64 [BINS + 1] (Naeini et al. 2015)."""
    return np.linspace(0, 1, BINS + 1)


def equal_mass_edges(confidence: np.ndarray) -> np.ndarray:
    """Edges of bins that hold as many images as each other, up to one.

    Images of the same confidence stay together, so that their order does not matter; then some
    bins hold more, and some none (Nguyen and O'Connor 2015; Nixon et al. 2019).

    Args:
        confidence: float64 [images].

    Returns:
        float64 [BINS + 1], ascending, from the least confidence to the greatest.
    """
    return np.quantile(confidence, np.linspace(0, 1, BINS + 1))


def assign_bins(confidence: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Number the bin low < confidence <= high of each image, from 0, int64 [images].

    The first bin also holds its low edge.
    """
    return np.digitize(confidence, edges[1:-1], right=True)


def expected_calibration_error(gaps: np.ndarray, bins: np.ndarray) -> float:
    """How far confidence and accuracy are apart in a bin, averaged over the images.

        sum over bins of (images in bin / images) |accuracy - confidence|

    (Naeini et al. 2015; Guo et al. 2017, eq. 3). Of n images that are perfectly calibrated it is
    not 0 but of the order of sqrt(BINS / n), by chance.

    Args:
        gaps: float64 [images], confidence - 1 where right, confidence where wrong.
        bins: int64 [images], from 0.
    """
    return np.abs(np.bincount(bins, weights=gaps)).sum() / len(gaps)


def _measure(answers: Answers, seed: int, resamples: int) -> dict[str, Any]:
    losses, briers = negative_log_likelihoods(answers), brier_scores(answers)
    gaps = answers.confidence - answers.right
    edges = {"width": equal_width_edges(), "mass": equal_mass_edges(answers.confidence)}
    width, mass = (assign_bins(answers.confidence, each) for each in edges.values())

    def measure(rows: np.ndarray) -> list[float]:
        return [
            losses[rows].mean(),
            briers[rows].mean(),
            expected_calibration_error(gaps[rows], width[rows]),
            expected_calibration_error(gaps[rows], mass[rows]),
        ]

    nll, brier, *errors = measure(np.arange(len(answers)))
    resampled = bootstrap(measure, len(answers), seed, resamples).T
    return {
        **as_json(
            {
                "nll": percentile(nll, resampled[0]),
                "brier": percentile(brier, resampled[1]),
                "ece_equal_width": reflected(errors[0], resampled[2], minimum=0),
                "ece_equal_mass": reflected(errors[1], resampled[3], minimum=0),
            }
        ),
        "equal_width_bins": _describe(answers, width, edges["width"]),
        "equal_mass_bins": _describe(answers, mass, edges["mass"]),
    }


def _describe(answers: Answers, bins: np.ndarray, edges: np.ndarray) -> list[dict[str, Any]]:
    """State each bin: its edges, images, and their mean confidence and accuracy."""
    members = [bins == index for index in range(BINS)]
    return [
        {
            "low": float(low),
            "high": float(high),
            "images": int(inside.sum()),
            "confidence": float(answers.confidence[inside].mean()) if inside.any() else None,
            "accuracy": float(answers.right[inside].mean()) if inside.any() else None,
        }
        for inside, low, high in zip(members, edges[:-1], edges[1:], strict=True)
    ]
