"""Made-up tasks of the tuning benchmark: test functions of optimization, their optimum known."""

import json
import zlib
from collections.abc import Callable

import numpy as np

from benchmarks.tuning_contenders import Curve, Task, share_within
from pipeline.config.presets import preset
from tuning.space.narrowing import keep_only
from tuning.space.search_space import Values, search_space, values_at

EPOCHS = 12
CHANCE, BEST = 0.1, 0.95
"""Accuracy after the first epoch, and after the last one at the optimum."""

NOISE = 0.001
"""Standard deviation of an accuracy."""

SAMPLE = 20_000
"""Random configurations among which those as good as the best are counted."""


def branin(point: np.ndarray) -> float:
    """Branin's function on the unit square (Dixon & Szegoe 1978): least 0.397887, three times."""
    x, y = 15 * point[0] - 5, 15 * point[1]
    valley = y - 5.1 / (4 * np.pi**2) * x**2 + 5 / np.pi * x - 6
    return float(valley**2 + 10 * (1 - 1 / (8 * np.pi)) * np.cos(x) + 10)


HARTMANN_WEIGHTS = np.array([1.0, 1.2, 3.0, 3.2])
HARTMANN_SCALES = np.array(
    [
        [10, 3, 17, 3.5, 1.7, 8],
        [0.05, 10, 17, 0.1, 8, 14],
        [3, 3.5, 1.7, 10, 17, 8],
        [17, 8, 0.05, 10, 0.1, 14],
    ]
)
HARTMANN_CENTRES = 1e-4 * np.array(
    [
        [1312, 1696, 5569, 124, 8283, 5886],
        [2329, 4135, 8307, 3736, 1004, 9991],
        [2348, 1451, 3522, 2883, 3047, 6650],
        [4047, 8828, 8732, 5743, 1091, 381],
    ]
)


def hartmann6(point: np.ndarray) -> float:
    """Hartmann's function on the unit cube (Dixon & Szegoe 1978): least -3.32237."""
    distances = (HARTMANN_SCALES * (point - HARTMANN_CENTRES) ** 2).sum(axis=1)
    return float(-HARTMANN_WEIGHTS @ np.exp(-distances))


AXES = (
    "peak_learning_rate",
    "weight_decay",
    "label_smoothing",
    "dropout",
    "augment_strength",
    "mixing_alpha",
)
"""Hyperparameters whose ranges, from 0 to 1, stand for the functions' own."""

# A standard deviation of Branin's over its square, 51.95 (Picheny et al. 2013, "A benchmark of
# kriging-based infill criteria for noisy optimization", appendix), is 5 points. Of Hartmann's two
# deepest valleys, 0.12 apart, either is within the half point that counts as equal.
SURFACES: dict[str, tuple[Callable[[np.ndarray], float], int, float, float]] = {
    "branin": (branin, 2, 0.397887, 0.05 / 51.95),
    "hartmann6": (hartmann6, 6, -3.32237, 0.02),
}
"""Name -> function, dimensions, least value, accuracy lost by a unit above it."""


def surface_task(name: str) -> Task:
    """Return a task whose accuracies are a test function's.

    Each axis is mirrored or not by the seed, so that nobody is lucky with the place to begin at.
    """
    function, dimensions, least, loss = SURFACES[name]
    config = preset("cifar10").with_values({"epochs": EPOCHS, "mixup": 0.2})
    space = keep_only(search_space(config), config, AXES[:dimensions])

    def curve(values: Values, seed: int) -> Curve:
        mirrored = np.random.default_rng(seed).random(dimensions) < 0.5
        point = np.array([dimension.position_of(values[dimension.name]) for dimension in space])
        accuracy = BEST - loss * (function(np.where(mirrored, 1 - point, point)) - least)
        noise = np.random.default_rng([seed, zlib.crc32(json.dumps(values).encode())])
        accuracies = tuple((learning_curve(accuracy, 1 + point[0]) + noise.normal(0, NOISE, EPOCHS)).tolist())
        return Curve(accuracies, (0.0,) * EPOCHS, images=1)

    points = np.random.default_rng(0).random((SAMPLE, dimensions))
    share = share_within([curve(values_at(space, point), 0) for point in points], BEST)
    return Task(name, config, space, curve, lambda seed: BEST, share)


def learning_curve(accuracy: float, power: float) -> np.ndarray:
    """Rise from chance to `accuracy` by a power law (pow3 of Domhan et al. 2015, table 1):

        a(e) = a_inf - b e^(-power), with a(1) = chance and a(EPOCHS) = accuracy

    Args:
        accuracy: of the last epoch.
        power: how fast it rises, above 0. It differs between configurations, so that curves cross.

    Returns:
        [EPOCHS], float64.
    """
    falling = np.arange(1, EPOCHS + 1) ** -power
    left = (falling - falling[-1]) / (1 - falling[-1])
    return accuracy - (accuracy - CHANCE) * left
