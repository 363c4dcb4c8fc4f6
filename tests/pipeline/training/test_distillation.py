"""The loss of distillation against formulas of the paper, and what of a network a teacher leaves alone."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.training.distillation import DistillationLoss, TaughtNetwork
from pipeline.training.optimization import SoftmaxCrossEntropy

GENERATOR = np.random.default_rng(0)
THEIRS, OWN = (GENERATOR.normal(0, 3, (6, 5)).astype(np.float32) for _ in range(2))


def softmax(logits: np.ndarray) -> np.ndarray:
    powers = np.exp(logits.astype(np.float64))
    return powers / powers.sum(axis=-1, keepdims=True)


def divergence(theirs: np.ndarray, own: np.ndarray, temperature: float) -> np.ndarray:
    """KL(p || q) of each row, in float64."""
    p, q = softmax(theirs / temperature), softmax(own / temperature)
    return np.sum(p * np.log(p / q), axis=-1)


@pytest.mark.parametrize("temperature", [0.5, 1.0, 4.0])
def test_the_loss_is_the_divergence_of_softened_answers_times_the_squared_temperature(temperature):
    expected = temperature**2 * divergence(THEIRS, OWN, temperature)
    loss = DistillationLoss(temperature)
    received = loss.call(keras.ops.convert_to_tensor(THEIRS), keras.ops.convert_to_tensor(OWN))
    # Logits of some 10 rounded at 6e-8, times up to 16.
    np.testing.assert_allclose(received, expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(float(loss(THEIRS, OWN)), expected.mean(), rtol=1e-4)
    assert float(loss(THEIRS, THEIRS + 7)) == pytest.approx(0, abs=1e-4)


def test_a_probability_that_vanishes_is_no_obstacle():
    one_hot = np.array([[1000.0, 0.0, -1000.0]], np.float32)
    assert float(DistillationLoss(1.0)(one_hot, one_hot[:, ::-1])) == pytest.approx(2000)


def test_the_gradient_keeps_its_size_at_high_temperatures():
    # Hinton et al. 2015, equation 4: of zero-mean logits, (z - v) / (N T^2) without the factor T^2.
    theirs, own = (logits - logits.mean(axis=1, keepdims=True) for logits in (THEIRS, OWN))
    z = tf.constant(own)
    with tf.GradientTape() as tape:
        tape.watch(z)
        loss = tf.reduce_sum(DistillationLoss(100.0).call(tf.constant(theirs), z))
    # The rest is of order (z / T)^2.
    np.testing.assert_allclose(tape.gradient(loss, z), (own - theirs) / 5, atol=0.03)


def small_network(seed: int) -> keras.Model:
    pixels = keras.Input((4,), name="pixels")
    x = keras.layers.Dense(8, "relu", kernel_initializer=keras.initializers.GlorotUniform(seed))(pixels)
    x = keras.layers.Dropout(0.5, seed=1)(x)
    return keras.Model(pixels, keras.layers.Dense(5, name="head")(x), name="small")


def test_a_step_learns_from_both_and_an_evaluation_is_of_labels_alone():
    images, labels = (
        GENERATOR.normal(0, 1, (6, 4)).astype(np.float32),
        np.eye(5, dtype=np.float32)[[*range(5), 0]],
    )
    network, teacher = small_network(2), small_network(3)
    taught = TaughtNetwork(network, teacher, share=0.75, temperature=2.0)
    assert [v.path for v in taught.variables] == [v.path for v in network.variables]
    taught.compile(keras.optimizers.SGD(0.0), SoftmaxCrossEntropy(0.1), jit_compile=False)

    theirs = teacher(images, training=False).numpy()
    answers = taught(images, training=True)
    smooth = 0.9 * labels + 0.1 / 5
    label_loss = -np.sum(smooth * np.log(softmax(answers.numpy())), axis=-1).mean()
    expected = 0.25 * label_loss + 0.75 * 4 * divergence(theirs, answers.numpy(), 2.0).mean()
    assert float(taught.compute_loss(images, labels, answers)) == pytest.approx(expected, rel=1e-5)

    own = network(images, training=False).numpy()
    label_loss = -np.sum(smooth * np.log(softmax(own)), axis=-1).mean()
    assert taught.evaluate(images, labels, verbose=0) == pytest.approx(label_loss, rel=1e-5)
    before = [weight.numpy() for weight in teacher.weights]
    taught.optimizer.learning_rate = 1.0
    taught.fit(images, labels, verbose=0)
    assert all((weight.numpy() == old).all() for weight, old in zip(teacher.weights, before, strict=True))


@pytest.mark.parametrize("precision", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_loss_is_scaled_where_that_of_the_network_alone_is(precision):
    keras.config.set_dtype_policy(precision)
    network, teacher = small_network(2), small_network(3)
    keras.config.set_dtype_policy("float32")
    taught = TaughtNetwork(network, teacher, share=0.75, temperature=2.0)
    for model in (network, taught):
        model.compile(keras.optimizers.SGD(0.0), SoftmaxCrossEntropy(), jit_compile=False)
    scaled = isinstance(taught.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == isinstance(network.optimizer, keras.optimizers.LossScaleOptimizer)
    assert scaled == (precision == "mixed_float16")
