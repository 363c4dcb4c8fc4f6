"""Schedules and optimizers against their formulas, the loss against PyTorch's."""

import math

import keras
import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from pipeline.config.settings import OPTIMIZERS, FitConfig, TransferConfig
from pipeline.training.optimization import (
    SoftmaxCrossEntropy,
    WarmupSchedule,
    balanced_class_weights,
    build_optimizer,
    build_schedule,
)

# float32 rounds at 6e-8; a schedule or loss is some ten operations.
CLOSE = {"rtol": 1e-6, "atol": 1e-7}


def cosine(t: float) -> float:
    return 0.4 * (1 + math.cos(math.pi * t)) / 2


# Peak 0.4, 100 steps, of them 20 of warm-up; a drop to a tenth every 30 steps.
@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        ("constant", {20: 0.4, 60: 0.4, 99: 0.4}),
        ("step", {20: 0.4, 29: 0.4, 30: 0.04, 59: 0.04, 60: 0.004, 99: 0.0004}),
        ("cosine", {20: 0.4, 40: cosine(1 / 4), 60: 0.2, 99: cosine(79 / 80)}),
        ("triangular", {20: 0.4, 40: 0.3, 60: 0.2, 99: 0.4 / 80}),
    ],
)
def test_schedule(shape, expected):
    schedule = WarmupSchedule(shape, 0.4, 100, warmup_steps=20, drop_steps=30, drop_factor=0.1)
    expected = {0: 0.4 / 20, 1: 0.04, 9: 0.2, 18: 0.38, 19: 0.4, **expected}
    received = [float(schedule(step)) for step in expected]
    np.testing.assert_allclose(received, list(expected.values()), **CLOSE)
    assert keras.ops.dtype(schedule(keras.ops.convert_to_tensor(3, "int64"))) == "float32"


@pytest.mark.parametrize("shape", ["constant", "step", "cosine", "triangular"])
def test_schedule_without_warmup_begins_at_the_peak(shape):
    schedule = WarmupSchedule(shape, 0.4, 10, drop_steps=3, drop_factor=0.5)
    assert float(schedule(0)) == pytest.approx(0.4, rel=1e-6)


def test_schedule_can_be_saved():
    schedule = WarmupSchedule("step", 0.4, 100, warmup_steps=5, drop_steps=30, drop_factor=0.1)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert [float(again(step)) for step in (0, 40)] == [float(schedule(step)) for step in (0, 40)]


def test_epochs_and_shares_become_steps():
    config = FitConfig(
        epochs=10, schedule="step", peak_learning_rate=0.3, warmup_share=0.2, step_epochs=4, step_factor=0.5
    )
    assert build_schedule(config, TransferConfig(), 7).get_config() == {
        "shape": "step",
        "peak": 0.3,
        "total_steps": 70,
        "warmup_steps": 14,
        "drop_steps": 28,
        "drop_factor": 0.5,
    }


def random_targets(kind: str, rows: int, classes: int) -> np.ndarray:
    generator = np.random.default_rng(3)
    hard = np.eye(classes)[generator.integers(0, classes, rows)]
    share = generator.uniform(0.2, 0.8, (rows, 1)) if kind == "mixed" else 1.0
    return (share * hard + (1 - share) * np.roll(hard, 1, axis=0)).astype(np.float32)


@pytest.mark.parametrize("targets", ["hard", "mixed"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
@pytest.mark.parametrize("weights", [None, [0.5, 2.0, 1.0, 0.1, 3.0]])
def test_loss_equals_pytorchs(targets, smoothing, weights):
    torch = pytest.importorskip("torch", reason="the loss is compared with PyTorch's")
    q = random_targets(targets, 16, 5)
    z = np.random.default_rng(4).normal(0, 5, (16, 5)).astype(np.float32)
    expected = torch.nn.functional.cross_entropy(
        torch.tensor(z),
        torch.tensor(q),
        weight=None if weights is None else torch.tensor(weights),
        label_smoothing=smoothing,
        reduction="none",
    ).numpy()
    loss = SoftmaxCrossEntropy(smoothing, weights)
    received = keras.ops.convert_to_numpy(loss.call(q, z))
    assert received.dtype == np.float32
    # Logits of some 10 rounded at 6e-8, added up over five classes.
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(float(loss(q, z)), expected.mean(), rtol=1e-5)


def test_loss_is_computed_in_float32_and_stays_finite():
    z = keras.ops.convert_to_tensor([[1000.0, 0.0, -1000.0]], "bfloat16")
    received = SoftmaxCrossEntropy().call(np.array([[0.0, 0.0, 1.0]]), z)
    assert keras.ops.dtype(received) == "float32"
    assert float(received[0]) == pytest.approx(2000, rel=2**-7)  # bfloat16 holds 8 bits


RATE = WarmupSchedule("triangular", 0.1, 10, warmup_steps=2)  # 0.05, 0.1, 0.1, 0.0875, 0.075
RATES = [0.05, 0.1, 0.1, 0.0875, 0.075]
START = np.array([1.0, -2.0, 0.5])
GRADIENTS = np.random.default_rng(5).normal(0, 1, (5, 3))
DECAY = 0.02


def steps_of(config: FitConfig, name: str = "kernel", gradients: np.ndarray = GRADIENTS):
    """Values of one variable after each step."""
    variable = keras.Variable(START.astype(np.float32), name=name)
    optimizer = build_optimizer(config, RATE)
    values = []
    for gradient in gradients:
        optimizer.apply([keras.ops.convert_to_tensor(gradient, "float32")], [variable])
        values.append(variable.numpy())
    return np.array(values)


def momentum(gradients, nesterov):
    """Sutskever et al. 2013, equations 1-4, in the form of Keras: v = mu v - rate g."""
    w, v, mu = START, 0.0, 0.8
    for rate, g in zip(RATES, gradients, strict=True):
        w = w - rate * DECAY * w
        v = mu * v - rate * g
        w = w + (mu * v - rate * g if nesterov else v)
        yield w


def sgd(gradients):
    w = START
    for rate, g in zip(RATES, gradients, strict=True):
        w = w - rate * DECAY * w - rate * g
        yield w


def rmsprop(gradients):
    """Hinton's lecture 6e, slide 29, with rho 0.9 and momentum on the scaled gradient."""
    w, square, v = START, 0.0, 0.0
    for rate, g in zip(RATES, gradients, strict=True):
        w = w - rate * DECAY * w
        square = 0.9 * square + 0.1 * g**2
        v = 0.8 * v + rate * g / np.sqrt(square)
        w = w - v
        yield w


def adamw(gradients):
    """Loshchilov & Hutter 2019, algorithm 2."""
    w, m, v = START, 0.0, 0.0
    for t, (rate, g) in enumerate(zip(RATES, gradients, strict=True), 1):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        m_hat, v_hat = m / (1 - 0.9**t), v / (1 - 0.999**t)
        w = w - rate * m_hat / np.sqrt(v_hat) - rate * DECAY * w
        yield w


@pytest.mark.parametrize(
    ("name", "formula"),
    [
        ("sgd", sgd),
        ("momentum", lambda g: momentum(g, nesterov=False)),
        ("nesterov", lambda g: momentum(g, nesterov=True)),
        ("rmsprop", rmsprop),
        ("adam", adamw),
        ("adamw", adamw),
    ],
)
def test_optimizer_steps_follow_the_formula(name, formula):
    config = FitConfig(optimizer=name, momentum=0.8, weight_decay=DECAY)
    # 1e-5: Keras adds an epsilon of 1e-7 to roots of 0.01 or more; float32 five times over.
    np.testing.assert_allclose(steps_of(config), list(formula(GRADIENTS)), rtol=1e-5, atol=1e-6)


def test_adamw_equals_pytorchs():
    torch = pytest.importorskip("torch", reason="AdamW is compared with PyTorch's")
    weight = torch.nn.Parameter(torch.tensor(START))
    optimizer = torch.optim.AdamW([weight], lr=1.0, weight_decay=DECAY, eps=1e-7)
    expected = []
    for rate, gradient in zip(RATES, GRADIENTS, strict=True):
        optimizer.param_groups[0]["lr"] = rate
        weight.grad = torch.tensor(gradient)
        optimizer.step()
        expected.append(weight.detach().numpy().copy())
    received = steps_of(FitConfig(optimizer="adamw", weight_decay=DECAY))
    # Keras' epsilon stands before the bias correction: 1e-7 of roots of 0.01 or more.
    np.testing.assert_allclose(received, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("limit", "scale"),
    [(0.0, 1), (6.0, 1), (1.0, 1 / 5)],  # the two gradients' global norm is 5
)
def test_clipping_is_by_the_global_norm(limit, scale):
    config = FitConfig(optimizer="sgd", clip_norm=limit, weight_decay=0.0)
    pair = [keras.Variable(np.zeros(1, np.float32), name="kernel") for _ in range(2)]
    build_optimizer(config, WarmupSchedule("constant", 0.1, 10)).apply(
        [keras.ops.convert_to_tensor([3.0]), keras.ops.convert_to_tensor([4.0])], pair
    )
    received = [float(variable[0]) for variable in pair]
    np.testing.assert_allclose(received, [-0.3 * scale, -0.4 * scale], **CLOSE)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_lowers_a_quadratic_loss(name):
    target = np.random.default_rng(6).normal(0, 1, (4, 3)).astype(np.float32)
    kernel = keras.Variable(np.zeros((4, 3), np.float32), name="kernel")
    bias = keras.Variable(np.ones(3, np.float32), name="bias")
    config = FitConfig(optimizer=name, weight_decay=1e-6, clip_norm=10.0)
    optimizer = build_optimizer(config, WarmupSchedule("constant", 0.02, 20))

    def loss() -> float:
        return float(np.sum((kernel.numpy() - target) ** 2) + np.sum(bias.numpy() ** 2))

    before = loss()
    for _ in range(20):
        optimizer.apply([2 * (kernel - target), 2 * bias], [kernel, bias])
    assert loss() < before


# FTRL writes a weight anew from its accumulated gradients (McMahan et al. 2013, algorithm 1):
# without any it is zero, whatever the decay. Muon's kernels keep their norm, see test_muon.py.
WITH_PLAIN_DECAY = [name for name in OPTIMIZERS if name not in ("ftrl", "muon")]


def after_a_zero_gradient(name: str, weight_decay: float) -> dict[str, np.ndarray]:
    """All weights, which begin at ones, after one step at rate 0.5 without a gradient."""
    model = keras.Sequential(
        [
            keras.layers.Input((4, 4, 2)),
            keras.layers.Conv2D(3, 2),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(2),
        ]
    )
    variables = model.trainable_variables
    for variable in variables:
        variable.assign(keras.ops.ones(variable.shape))
    config = FitConfig(optimizer=name, weight_decay=weight_decay)
    optimizer = build_optimizer(config, WarmupSchedule("constant", 0.5, 10))
    optimizer.apply([keras.ops.zeros(variable.shape) for variable in variables], variables)
    places = [layer for layer in ("conv", "norm", "dense") for _ in range(2)]
    return {
        f"{place} {variable.name}": variable.numpy()
        for place, variable in zip(places, variables, strict=True)
    }


@pytest.mark.parametrize("name", WITH_PLAIN_DECAY)
def test_decay_is_decoupled_and_spares_norms_and_biases(name):
    for place, values in after_a_zero_gradient(name, 0.1).items():
        expected = 1 - 0.5 * 0.1 if place.endswith("kernel") else 1.0
        np.testing.assert_allclose(values, expected, err_msg=place, **CLOSE)


@pytest.mark.parametrize("name", WITH_PLAIN_DECAY)
def test_no_decay_where_none_is_asked(name):
    for place, values in after_a_zero_gradient(name, 0.0).items():
        np.testing.assert_array_equal(values, np.ones_like(values), err_msg=place)


@pytest.mark.parametrize("per_class", [[10, 10], [1, 2, 97], [300, 20, 5, 75]])
def test_balanced_weights_are_scikit_learns(per_class):
    labels = np.repeat(np.arange(len(per_class)), per_class)
    expected = compute_class_weight("balanced", classes=np.unique(labels), y=labels)
    np.testing.assert_allclose(balanced_class_weights(per_class), expected, rtol=1e-12)
