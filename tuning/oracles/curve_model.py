"""What a learning curve will come to: a chain of Gaussian processes from rung to rung."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor

from tuning.oracles.surrogate import fit_process, raise_disasters

REDUCTION = 3
"""A rung has so many times the epochs of the one below (eta of Li et al. 2020, arXiv:1810.05934)."""

MIN_CURVES = 3
"""Curves that must have come to a rung before a process says what a configuration gains there."""

MAX_FACTOR = 1.5
"""Of the score below, at most; at least 0."""

DOUBT = 0.1
"""Weight of the belief that a score below counts once, against that of the curves."""


def rungs(epochs: int) -> list[int]:
    """Return the epochs after which trials are frozen and compared, in order; the last one is `epochs`.

    From the last one down each is a third of the one above: of 30 they are 1, 3, 10 and 30.
    """
    found, divisor = {epochs}, REDUCTION
    while epochs >= divisor:
        found.add(round(epochs / divisor))
        divisor *= REDUCTION
    return sorted(found | {1})


@dataclass(frozen=True)
class Link:
    """From the score at one rung to that at the next: y' = factor y + gain + f(x) + noise.

    Attributes:
        factor: of the score below; 0 at the first rung.
        process: of what is left, a function of the configuration; None where too little is known.
        gain: mean of what is left.
        scale: its deviation.
    """

    factor: float
    process: GaussianProcessRegressor | None
    gain: float
    scale: float

    def gained(self, features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return mean and variance of what is left, noise included, for each row of features."""
        if self.process is None:
            return np.full(len(features), self.gain), np.full(len(features), self.scale**2)
        mean, deviation = self.process.predict(features, return_std=True)
        return self.gain + self.scale * mean, (self.scale * deviation) ** 2


class CurveModel:
    """Autoregressive chain of Gaussian processes (Kennedy & O'Hagan 2000, "Predicting the output from a
    complex computer code when fast approximations are available", equation 1), fitted rung by rung as
    Le Gratiet & Garnier 2014 do, for whatever came to a rung came to those below.

    Args:
        features: [curves, features], of each configuration.
        curves: scores of each at the rungs that it has come to, one at least; higher is better.
        count: of rungs.

    Attributes:
        best: score of all curves.
    """

    def __init__(self, features: np.ndarray, curves: Sequence[Sequence[float]], count: int) -> None:
        self.best = max(max(curve) for curve in curves)
        first = raise_disasters([curve[0] for curve in curves])
        self._links = [_link(0.0, features, first)]
        for rung in range(1, count):
            came = [index for index, curve in enumerate(curves) if len(curve) > rung]
            if len(came) < MIN_CURVES:
                gains = [curves[index][rung] - curves[index][rung - 1] for index in came]
                gain = float(np.mean(gains)) if gains else 0.0
                self._links.append(Link(1.0, None, gain, float(first.std())))
                continue
            below, above = (raise_disasters([curves[index][n] for index in came]) for n in (rung - 1, rung))
            factor = _factor(below, above)
            self._links.append(_link(factor, features[came], above - factor * below))

    def predict(
        self, features: np.ndarray, scores: np.ndarray, rung: np.ndarray, horizon: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Predict scores at later rungs.

        Args:
            features: [n, features].
            scores: [n], at the rung that each has come to.
            rung: [n], its number; -1 where nothing is trained yet.
            horizon: [n], number of the rung to predict, above `rung`.

        Returns:
            Means and standard deviations, [n] each, of what would be measured.
        """
        mean, variance = np.where(rung >= 0, scores, 0.0), np.zeros(len(scores))
        for number, link in enumerate(self._links):
            passed = (rung < number) & (horizon >= number)
            if passed.any():
                gain, doubt = link.gained(features[passed])
                mean[passed] = link.factor * mean[passed] + gain
                variance[passed] = link.factor**2 * variance[passed] + doubt
        return mean, np.sqrt(variance)


def _factor(below: np.ndarray, above: np.ndarray) -> float:
    """Regress scores on those below, with a ridge towards 1."""
    centred = below - below.mean()
    ridge = DOUBT * max(float(centred.var()), 1e-9)
    factor = (centred @ (above - above.mean()) + ridge) / (centred @ centred + ridge)
    return float(np.clip(factor, 0, MAX_FACTOR))


def _link(factor: float, features: np.ndarray, left: np.ndarray) -> Link:
    gain, scale = float(left.mean()), max(float(left.std()), 1e-6)
    return Link(factor, fit_process(features, (left - gain) / scale), gain, scale)


def chance_of_improvement(
    model: CurveModel,
    features: np.ndarray,
    scores: np.ndarray,
    rung: np.ndarray,
    count: int,
    generator: np.random.Generator,
) -> np.ndarray:
    """Return how likely each curve is to pass a threshold at a horizon, both drawn at random.

    MFPI-random of Rakotoarison et al. 2024 (arXiv:2404.16795, section 4.2): the horizon is 1 to all
    rungs away, and the threshold lies above the best score by 10^u of what is left to 1, u uniform
    from -4 to -1. So it weighs near gains against far ones without a constant to be tuned.

    Args:
        model: of the curves.
        features: [n, features].
        scores: [n], as of `CurveModel.predict`.
        rung: [n], as there.
        count: of rungs.
        generator: of the two draws.

    Returns:
        [n], standard scores, which rank as the probabilities do.
    """
    horizon = np.minimum(rung + generator.integers(1, count + 1), count - 1)
    best = model.best
    threshold = best + (1 - best) * 10 ** generator.uniform(-4, -1)
    mean, deviation = model.predict(features, scores, rung, horizon)
    return (mean - threshold) / np.maximum(deviation, 1e-6)
