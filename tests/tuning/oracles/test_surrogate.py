"""What to try next: its features, its candidates, its merit."""

import math

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import norm, zscore
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel
from threadpoolctl import threadpool_info

from pipeline.config.presets import preset
from tuning.oracles import surrogate
from tuning.oracles.surrogate import encode, expected_improvement, propose, spread, standardised
from tuning.space.search_space import Dimension, search_space, values_at

SPACE = (
    Dimension("rate", "", 0.01, 1.0, log=True),
    Dimension("width", "", choices=(8, 16)),
    Dimension("kind", "", choices=("a", "b", "c")),
    Dimension("strength", "", 0.0, 1.0, when=("kind", ("b",))),
    Dimension("flavour", "", choices=("x", "y"), when=("kind", ("b",))),
)
FINITE = (
    Dimension("kind", "", choices=("a", "b")),
    Dimension("size", "", choices=(1, 2, 3), when=("kind", ("b",))),
)
LINE = (Dimension("x", "", 0.0, 1.0),)


def yes(values):
    return True


def some_trials(space, number):
    points = np.random.default_rng(0).random((number, len(space)))
    return [(values_at(space, point), float(point[0])) for point in points]


def test_features_of_each_kind_of_dimension():
    values = {"rate": 0.1, "width": 16, "kind": "b", "strength": 0.25, "flavour": "y"}
    root = 1 / math.sqrt(2)
    expected = [0.5, 0.75, 0, root, 0, 0.25, 0, root]
    np.testing.assert_allclose(encode(SPACE, values), expected, rtol=1e-12)  # float64


def test_two_choices_are_as_far_apart_as_two_ends():
    base = {"rate": 0.01, "width": 8, "kind": "a"}
    ends = encode(SPACE, base) - encode(SPACE, base | {"rate": 1.0})
    choices = encode(SPACE, base) - encode(SPACE, base | {"kind": "c"})
    assert np.linalg.norm(ends) == pytest.approx(1)
    assert np.linalg.norm(choices) == pytest.approx(1)


def test_what_does_not_matter_is_in_the_middle_of_what_it_could_be():
    root = 1 / math.sqrt(2)
    expected = [0.5, 0.25, root, 0, 0, 0.5, root / 2, root / 2]
    features = encode(SPACE, {"rate": 0.1, "width": 8, "kind": "a"})
    np.testing.assert_allclose(features, expected, rtol=1e-12)  # float64


def test_disasters_count_as_the_floor_and_failures_as_the_worst_score():
    scores = [0.90, 0.92, None, 0.88, 0.10, 0.94, math.inf, 0.91, math.nan]
    # With 0.10 for each failure the median is 0.88, and the floor 0.88 - 2 (0.94 - 0.88) = 0.76.
    raised = [0.90, 0.92, 0.76, 0.88, 0.76, 0.94, 0.76, 0.91, 0.76]
    np.testing.assert_allclose(standardised(scores), zscore(raised), rtol=1e-9)  # float64
    # No score is below the floor 0.5 - 2 (0.8 - 0.5) = -0.1, so that none is raised.
    scores = [0.8, 0.4, None, 0.5, 0.6]
    expected = zscore([0.8, 0.4, 0.4, 0.5, 0.6])
    np.testing.assert_allclose(standardised(scores), expected, rtol=1e-9)


def test_equal_scores_or_failures_alone_say_nothing():
    # Three times 0.1 has a mean that is not 0.1, in float64.
    assert np.all(standardised([0.1, 0.1, 0.1]) == 0)
    assert np.all(standardised([None, math.nan]) == 0)


def test_spread_is_one_sequence_that_fills_every_eighth():
    points = [spread(LINE, number, seed=3)["x"] for number in range(8)]
    # The first 2^k points of a scrambled Sobol sequence hold one in each 2^-k (Owen 1998).
    assert sorted(int(x * 8) for x in points) == list(range(8))
    assert spread(LINE, 5, seed=3)["x"] == points[5]
    assert spread(LINE, 5, seed=4)["x"] != points[5]


def latent(process, points):
    """Mean and deviation of the function itself, from the textbook's equations.

    Rasmussen and Williams 2006, equations 2.25 and 2.26.
    """
    signal, noise = process.kernel_.k1, process.kernel_.k2.noise_level
    trained = process.X_train_
    inverse = np.linalg.inv(signal(trained) + noise * np.eye(len(trained)))
    cross = signal(points, trained)
    mean = cross @ inverse @ process.y_train_
    variance = np.diag(signal(points) - cross @ inverse @ cross.T)
    return mean, np.sqrt(variance)


def integrated_improvement(mean, deviation, best):
    def improvement(f):
        return (f - best) * norm.pdf(f, mean, deviation)

    return quad(improvement, best, max(best, mean) + 10 * deviation, epsabs=1e-12)[0]


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("running", [np.empty((0, 1)), np.array([[0.55], [0.8]])])
def test_merit_is_the_integral_of_the_improvement(running):
    tried = np.linspace(0, 1, 9)[:, None]
    targets = zscore(np.sin(5 * tried[:, 0]) + np.tile([0.2, -0.2, 0.0], 3))
    candidates = np.linspace(0.03, 0.97, 7)[:, None]
    merit = expected_improvement(tried, running, candidates, targets)

    kernel = ConstantKernel(1.0, (0.05, 20.0)) * Matern(1.0, (0.1, 10.0), nu=2.5)
    process = GaussianProcessRegressor(kernel + WhiteKernel(0.1, (1e-4, 1.0))).fit(tried, targets)
    best, before = latent(process, tried)[0].max(), latent(process, candidates)[0]
    if len(running):
        # Believed at the mean, they leave the mean as it was.
        targets = np.concatenate([targets, latent(process, running)[0]])
        process = GaussianProcessRegressor(process.kernel_, optimizer=None)
        process.fit(np.concatenate([tried, running]), targets)
    mean, deviation = latent(process, candidates)
    expected = [integrated_improvement(m, d, best) for m, d in zip(mean, deviation, strict=True)]
    # Cancellation in the variance and the quadrature each leave about 1e-9.
    np.testing.assert_allclose(merit, expected, rtol=1e-5, atol=1e-8)
    np.testing.assert_allclose(mean, before, rtol=1e-6, atol=1e-8)


def test_a_running_trial_is_worth_less_to_repeat():
    tried, targets = np.array([[0.0], [0.2], [0.9], [1.0]]), standardised([0.0, 0.1, 0.3, 0.2])
    near = np.array([[0.6]])
    alone = expected_improvement(tried, np.empty((0, 1)), near, targets)
    beside = expected_improvement(tried, near + 0.01, near, targets)
    assert beside < alone


def test_the_optimum_of_a_smooth_function_is_found_and_approached():
    tried = [({"x": x}, -((x - 0.62) ** 2)) for x in (0.05, 0.35, 0.95)]
    for _ in range(12):
        values = propose(LINE, tried, [], 0, yes).values
        tried.append((values, -((values["x"] - 0.62) ** 2)))
    # Twelve evenly spread trials would be 0.08 apart.
    assert min(abs(values["x"] - 0.62) for values, _ in tried) < 0.01


def test_the_gain_is_that_of_the_scores_own_scale():
    tried = [({"x": x}, -((x - 0.62) ** 2)) for x in (0.05, 0.35, 0.95)]
    first = propose(LINE, tried, [], 0, yes)
    larger = propose(LINE, [(values, 10 * score + 7) for values, score in tried], [], 0, yes)
    assert larger.values == first.values
    assert larger.gain == pytest.approx(10 * first.gain)
    # Of three trials the best is 0.073 below the optimum.
    assert 0 < first.gain < 0.073
    assert propose(LINE, [], [], 0, yes).gain == math.inf


def test_failures_are_avoided():
    tried = [({"x": x}, x if x < 0.5 else None) for x in np.linspace(0.02, 0.98, 25)]
    assert propose(LINE, tried, [], 0, yes).values["x"] < 0.52


def test_nothing_is_tried_twice_until_a_finite_space_is_exhausted():
    every = [{"kind": "a"}, *({"kind": "b", "size": size} for size in (1, 2, 3))]
    running = [{"kind": "b", "size": 2}]
    tried = []
    for number in range(3):
        values = propose(FINITE, tried, running, 7, yes).values
        assert values in every
        assert values not in [*running, *(values for values, _ in tried)]
        tried.append((values, None if number == 1 else 0.5))
    assert propose(FINITE, tried, running, 7, yes) is None


def test_every_point_of_a_small_finite_space_is_looked_at():
    space = tuple(Dimension(name, "", choices=tuple(range(15))) for name in ("a", "b", "c"))
    asked = []
    propose(space, [], [], 0, lambda values: asked.append(tuple(values.items())) or False)
    assert len(set(asked)) == len(asked) == 15**3


def test_only_what_is_allowed_and_the_best_is_asked_first():
    tried = some_trials(SPACE, 8)
    asked = []

    def third(values):
        asked.append(values)
        return len(asked) == 3

    values = propose(SPACE, tried, [], 0, third).values
    assert len(asked) == 3
    assert values == asked[2]
    assert asked[0] == propose(SPACE, tried, [], 0, yes).values
    assert propose(FINITE, [], [], 0, lambda values: False) is None


def test_a_proposal_depends_on_its_arguments_alone():
    space = search_space(preset("digits"))
    tried = some_trials(space, 10)
    first = propose(space, tried, [], 5, yes)
    np.random.seed(99)
    assert propose(space, tried, [], 5, yes) == first
    assert propose(space, tried, [], 6, yes) != first
    assert propose(space, tried, [first.values], 5, yes) != first


def test_proposals_lie_in_the_space_and_hold_what_matters():
    space = search_space(preset("digits"))
    tried = some_trials(space, 6)
    asked = []
    propose(space, tried, [], 0, lambda values: asked.append(values) or len(asked) == 600)
    for values in asked:
        assert set(values) == {d.name for d in space if d.matters(values)}
        for dimension in space:
            if dimension.name in values:
                assert dimension.nearest(values[dimension.name]) == values[dimension.name]


def test_some_candidates_differ_from_a_good_trial_in_little():
    space = search_space(preset("digits"))
    parents = some_trials(space, 6)
    asked = []
    propose(space, parents, [], 0, lambda values: asked.append(values) or False)
    best = {tuple(values.items()) for values, _ in sorted(parents, key=lambda p: -p[1])[:5]}
    changed = [min(sum(values.get(k) != v for k, v in parent) for parent in best) for values in asked]
    # One or two are changed, and what hangs on either may go with them; of five or more values
    # no two random points have all but four in common.
    near = [count for count in changed if count <= 4]
    assert 400 < len(near) <= 512
    assert 1 in near
    assert 2 in near


def test_one_thread_is_used(monkeypatch):
    seen = []
    monkeypatch.setattr(
        surrogate,
        "expected_improvement",
        lambda *points: seen.extend(threadpool_info()) or np.zeros(len(points[2])),
    )
    propose(LINE, some_trials(LINE, 3), [], 0, yes)
    threads = [pool["num_threads"] for pool in seen if pool["user_api"] == "blas"]
    assert threads
    assert set(threads) == {1}
