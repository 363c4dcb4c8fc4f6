"""Muon against its formula over NumPy's singular value decomposition, and Nesterov's for all else."""

import keras
import numpy as np
import pytest

from pipeline.config.settings import FitConfig
from pipeline.training.muon import orthogonalise
from pipeline.training.optimization import WarmupSchedule, build_optimizer

RATE = WarmupSchedule("triangular", 0.1, 10, warmup_steps=2)  # 0.05, 0.1, 0.1
RATES = [0.05, 0.1, 0.1]
KERNEL_RATE = 0.24
SHAPES = {"tall": (3, 3, 4, 8), "wide": (1, 1, 4, 8), "square": (1, 2, 3, 6)}


def matrix(shape: tuple[int, ...], seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(0, 1, shape)


def three_quintics(values: np.ndarray) -> np.ndarray:
    """Jordan's coefficients, three times over."""
    for _ in range(3):
        values = 3.4445 * values - 4.7750 * values**3 + 2.0315 * values**5
    return values


def orthogonalised(g: np.ndarray) -> np.ndarray:
    u, s, v = np.linalg.svd(g, full_matrices=False)
    return u * three_quintics(s / np.linalg.norm(g)) @ v


@pytest.mark.parametrize("shape", [(27, 16), (16, 32), (12, 12)])
def test_singular_values_go_through_the_quintic_and_vectors_stay(shape):
    g = matrix(shape, 0) * 1e-3
    received = keras.ops.convert_to_numpy(orthogonalise(g.astype(np.float32)))
    # Fifteen products of float32, each magnified by at most 3.4.
    np.testing.assert_allclose(received, orthogonalised(g), rtol=0, atol=2e-5)


def test_singular_values_of_a_fiftieth_of_the_norm_and_more_come_near_one():
    u, _, v = np.linalg.svd(matrix((40, 20), 1), full_matrices=False)
    s = np.geomspace(0.021, 1, 20)
    g = u * (s / np.linalg.norm(s)) @ v
    s = s[s > 0.021 * np.linalg.norm(s)]
    received = np.linalg.svd(keras.ops.convert_to_numpy(orthogonalise(g.astype(np.float32))))[1]
    assert len(s) > 8
    # Three quintics bring 0.02 to 1 within this band; its ends are those of the curve there.
    assert received[: len(s)].min() > 0.68
    assert received.max() < 1.21


def kernel_steps(start: np.ndarray, gradients: list[np.ndarray]):
    """The docstring of `Muon`, on matrices."""
    w, m, length = start, 0.0, np.linalg.norm(start)
    for rate, g in zip(RATES, gradients, strict=True):
        m = 0.6 * m + g
        r = KERNEL_RATE * rate / 0.1
        d = w - r * length * orthogonalised(g + 0.6 * m) / np.sqrt(min(w.shape))
        w = length * d / np.linalg.norm(d)
        yield w


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_kernels_follow_the_formula_whatever_the_decay(shape):
    start, gradients = matrix(shape, 2), [matrix(shape, seed) for seed in (3, 4, 5)]
    kernel = keras.Variable(start.astype(np.float32), name="kernel")
    config = FitConfig(
        optimizer="muon", peak_learning_rate=0.1, muon_rate=KERNEL_RATE, weight_decay=0.5, momentum=0.0
    )
    optimizer = build_optimizer(config, RATE)
    flat = [values.reshape(-1, shape[-1]) for values in (start, *gradients)]
    for gradient, expected in zip(gradients, kernel_steps(flat[0], flat[1:]), strict=True):
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [kernel])
        # As the orthogonal matrices, times rates below 0.24 and a norm of up to 17.
        np.testing.assert_allclose(kernel.numpy().reshape(expected.shape), expected, rtol=0, atol=1e-4)


def test_all_else_follows_nesterovs_momentum():
    depthwise = keras.layers.DepthwiseConv2D(3)
    depthwise.build((None, 8, 8, 4))
    shapes = {
        "head/kernel": (6, 5),
        "depthwise/kernel": tuple(depthwise.kernel.shape),
        "groups of one/kernel": (3, 3, 1, 4),
        "norm/gamma": (4,),
        "norm/beta": (4,),
    }
    ends = []
    for name in ("muon", "nesterov"):
        variables = [
            keras.Variable(matrix(shape, 6).astype(np.float32), name=path.partition("/")[2])
            for path, shape in shapes.items()
        ]
        optimizer = build_optimizer(FitConfig(optimizer=name, weight_decay=0.02), RATE)
        for seed in (7, 8, 9):
            optimizer.apply(
                [keras.ops.convert_to_tensor(matrix(s, seed), "float32") for s in shapes.values()], variables
            )
        ends.append([variable.numpy() for variable in variables])
    for mine, theirs in zip(*ends, strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_kernel_without_gradient_stays():
    kernel = keras.Variable(matrix((3, 3, 4, 8), 2).astype(np.float32), name="kernel")
    before = kernel.numpy()
    build_optimizer(FitConfig(optimizer="muon"), RATE).apply([keras.ops.zeros(kernel.shape)], [kernel])
    # The norm is taken twice.
    np.testing.assert_allclose(kernel.numpy(), before, rtol=1e-6)
