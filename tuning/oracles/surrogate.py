"""What to try next: expected improvement under a Gaussian process over what was tried."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm, qmc
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_limits

from tuning.space.search_space import Dimension, Space, Value, Values, settle, values_at

SPREAD = 1024
"""Candidates spread evenly over the space; a power of two, for Sobol."""

NEARBY = 512
"""Candidates that differ from one of the best trials in one or two hyperparameters."""

BEST = 5
"""Trials around which those are."""

STEP = 0.1
"""Standard deviation of their difference, in positions."""

ENUMERABLE = 4096
"""Most points of a finite space that are all looked at."""


def encode(space: Space, values: Values) -> np.ndarray:
    """Return the features of one configuration.

    A continuous or ordered dimension is its position in [0, 1]; any other is one-hot divided by
    sqrt(2), so that two different choices are 1 apart, as two ends are. What does not matter
    beside the others is in the middle of what it could be: the same for all such points.

    Returns:
        [features], float64.
    """
    return np.concatenate([_encode_one(dimension, values) for dimension in space])


def _encode_one(dimension: Dimension, values: Values) -> np.ndarray:
    absent = dimension.name not in values
    if dimension.is_ordered:
        return np.array([0.5 if absent else dimension.position_of(values[dimension.name])])
    if absent:
        share = np.full(len(dimension.choices), 1 / len(dimension.choices))
    else:
        share = np.array([choice == values[dimension.name] for choice in dimension.choices])
    return share / math.sqrt(2)


def spread(space: Space, number: int, seed: int) -> Values:
    """Return point `number`, from 0, of a scrambled Sobol sequence over the space (Owen 1998)."""
    sequence = qmc.Sobol(len(space), rng=seed)
    if number:  # SciPy's fast_forward(0) overflows.
        sequence.fast_forward(number)
    return values_at(space, sequence.random(1)[0])


@dataclass(frozen=True)
class Proposal:
    """What to try next.

    Attributes:
        values: the configuration.
        gain: by how much it is expected to improve the best score; infinity where fewer than two trials
            have one.
    """

    values: Values
    gain: float


def propose(
    space: Space,
    tried: Sequence[tuple[Values, float | None]],
    running: Sequence[Values],
    seed: int,
    allowed: Callable[[Values], bool],
) -> Proposal | None:
    """Return the configuration to try next: greatest expected improvement of all candidates.

    The same arguments give the same answer, so that a search can be killed and go on.

    Args:
        space: what is searched.
        tried: trials and their scores, higher is better; None where the trial failed.
        running: trials in progress, whose scores are not known yet.
        seed: of the search, at least 0.
        allowed: whether a configuration may be tried; asked of the best candidates in order,
            until it agrees.

    Returns:
        What is neither in `tried` nor in `running`; None if nothing else is allowed.
    """
    generator = np.random.default_rng((seed, len(tried)))
    scores = [score for _, score in tried]
    targets = standardised(scores)
    best = [tried[index][0] for index in np.argsort(-targets, kind="stable")[:BEST]]
    known = {_key(values) for values in (*(values for values, _ in tried), *running)}
    candidates = {_key(values): values for values in list_candidates(space, best, generator)}
    fresh = [values for key, values in candidates.items() if key not in known]
    merit, scale = np.ones(len(fresh)), math.inf
    if tried and fresh:
        earlier, waiting, new = (
            np.array([encode(space, values) for values in group])
            for group in ([values for values, _ in tried], running, fresh)
        )
        # Beside TensorFlow's threads, several of BLAS' make so small a fit ten times slower.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            # The kernel's bounds are there to be reached: a dozen trials tell little.
            warnings.simplefilter("ignore", ConvergenceWarning)
            merit = expected_improvement(earlier, waiting, new, targets)
        # Beside one score alone those that failed have the same, which says nothing of how scores differ.
        if len(finite_scores(scores)) > 1:
            scale = comparable(scores).std()
    order = np.argsort(-merit, kind="stable")
    chosen = next((n for n in order if allowed(fresh[n])), None)
    if chosen is None:
        return None
    return Proposal(fresh[chosen], math.inf if scale == math.inf else float(merit[chosen] * scale))


def _key(values: Values) -> frozenset[tuple[str, Value]]:
    return frozenset(values.items())


def standardised(scores: Sequence[float | None]) -> np.ndarray:
    """Scale scores to mean 0 and deviation 1, after what `comparable` does.

    Returns:
        [trials], float64; zeros where all are equal.
    """
    if not scores:
        return np.empty(0)
    raised = comparable(scores)
    if np.ptp(raised) == 0:
        return np.zeros(len(raised))
    return (raised - raised.mean()) / raised.std()


def comparable(scores: Sequence[float | None]) -> np.ndarray:
    """Put the worst score that is finite in place of those that are not, and raise disasters.

    Args:
        scores: at least one.

    Returns:
        [trials], float64.
    """
    finite = finite_scores(scores)
    worst = min(finite, default=0.0)
    return raise_disasters([score if score in finite else worst for score in scores])


def finite_scores(scores: Sequence[float | None]) -> list[float]:
    """Return the scores of those that did not fail."""
    return [score for score in scores if score is not None and math.isfinite(score)]


def raise_disasters(scores: Sequence[float] | np.ndarray) -> np.ndarray:
    """Raise scores to a floor, so that disasters do not flatten the differences between the others:

    floor = median - 2 (maximum - median)
    """
    median = np.median(scores)
    return np.maximum(scores, median - 2 * (np.max(scores) - median))


def fit_process(features: np.ndarray, targets: np.ndarray) -> GaussianProcessRegressor:
    """Fit a Gaussian process with one Matern 5/2 length for all features, and noise.

    Args:
        features: [n, features].
        targets: [n], of mean 0 and deviation 1.
    """
    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(1.0, (0.1, 10.0), nu=2.5)
    return GaussianProcessRegressor(kernel + WhiteKernel(0.1, (1e-4, 1.0))).fit(features, targets)


def expected_improvement(
    tried: np.ndarray, running: np.ndarray, candidates: np.ndarray, targets: np.ndarray
) -> np.ndarray:
    """E[max(f - best, 0)] of each candidate (Snoek et al. 2012, arXiv:1206.2944, eq. 2).

    f is the process of `fit_process`, with noise, for a trial repeated with another seed scores
    otherwise; so best is the greatest mean of f where something
    was tried. Running trials are believed at the mean (kriging believer, Ginsbourger et al. 2010,
    section 3): that leaves the mean as it is, and takes away the doubt around them.

    Args:
        tried: [trials, features].
        running: [running, features], or empty.
        candidates: [candidates, features].
        targets: [trials], of mean 0.

    Returns:
        [candidates], at least 0.
    """
    process = fit_process(tried, targets)
    best = process.predict(tried).max()
    if len(running):
        believed = np.concatenate([targets, process.predict(running)])
        process = GaussianProcessRegressor(process.kernel_, optimizer=None)
        process.fit(np.concatenate([tried, running]), believed)
    mean, deviation = process.predict(candidates, return_std=True)
    # scikit-learn's deviation is that of a noisy trial; f itself is without the noise.
    deviation = np.sqrt(np.maximum(deviation**2 - process.kernel_.k2.noise_level, 1e-12))
    z = (mean - best) / deviation
    return deviation * (z * norm.cdf(z) + norm.pdf(z))


def list_candidates(space: Space, best: list[Values], generator: np.random.Generator) -> list[Values]:
    """List candidates: every point of a small finite space; else spread some, and some near the best."""
    if math.prod(len(dimension.choices) or math.inf for dimension in space) <= ENUMERABLE:
        names = [dimension.name for dimension in space]
        combinations = itertools.product(*(dimension.choices for dimension in space))
        return [settle(space, dict(zip(names, c, strict=True))) for c in combinations]
    points = qmc.Sobol(len(space), rng=generator).random(SPREAD)
    near = [_vary(space, best[n % len(best)], generator) for n in range(NEARBY if best else 0)]
    return [values_at(space, point) for point in points] + near


def _vary(space: Space, values: Values, generator: np.random.Generator) -> Values:
    """Change one or two of the values; what matters only then is drawn at random."""
    anything = {d.name: d.value_at(generator.random()) for d in space}
    present = [dimension for dimension in space if dimension.name in values]
    count = min(int(generator.integers(1, 3)), len(present))
    changed = {
        present[index].name: _other(present[index], values, generator)
        for index in generator.choice(len(present), count, replace=False)
    }
    return settle(space, anything | values | changed)


def _other(dimension: Dimension, values: Values, generator: np.random.Generator) -> Value:
    """Draw another value of a dimension: any other choice, or one nearby."""
    own = values[dimension.name]
    if dimension.choices:
        others = [choice for choice in dimension.choices if choice != own] or [own]
        return others[generator.integers(len(others))]
    position = dimension.position_of(own) + generator.normal(0, STEP)
    return dimension.value_at(min(max(position, 0.0), 1.0))
