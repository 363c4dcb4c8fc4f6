"""The fused batch norm against Keras' plain layer."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.settings import ModelConfig
from pipeline.models import build_model
from pipeline.models.fused_norm import FusedBatchNormalization

SHAPE = (4, 3, 3, 5)  # 36 values a channel: Bessel's correction would be 3 %
# float32: both sum 36 values in orders of their own. bfloat16: outputs and gradients are rounded
# to 8 bits (2**-8 relative) once each, and values near 4 differ by one such step.
TOLERANCE = {"float32": 1e-5, "mixed_bfloat16": 2**-7, "mixed_float16": 2**-10}


def pair(policy="float32"):
    """The plain layer and the fused one with equal random weights."""
    rng = np.random.default_rng(0)
    weights = [rng.uniform(0.5, 1.5, 5), rng.normal(size=5), rng.normal(size=5), rng.uniform(0.5, 1.5, 5)]
    norms = keras.layers.BatchNormalization, FusedBatchNormalization
    layers = [norm(momentum=0.9, epsilon=1e-5, dtype=policy) for norm in norms]
    for layer in layers:
        layer.build(SHAPE)
        layer.set_weights(weights)
    return layers


def batch(policy="float32", seed=0):
    values = np.random.default_rng(seed).normal(1.0, 2.0, SHAPE)
    return tf.cast(values, keras.DTypePolicy(policy).compute_dtype)


def run(layer, x, training):
    """Outputs and the gradients of a weighted sum of them by input, gamma and beta."""
    weights = tf.cast(np.random.default_rng(9).normal(size=SHAPE), x.dtype)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, training=training)
        loss = tf.reduce_sum(tf.cast(y * weights, tf.float32))
    gradients = tape.gradient(loss, [x, layer.gamma.value, layer.beta.value])
    return [y, *gradients]


def assert_close(plain, fused, tolerance):
    for expected, received in zip(plain, fused, strict=True):
        assert received.dtype == expected.dtype
        expected, received = (np.asarray(value, np.float64) for value in (expected, received))
        # Relative to the tensor's largest value: small values are differences of large ones.
        atol = tolerance * np.abs(expected).max()
        np.testing.assert_allclose(received, expected, rtol=tolerance, atol=atol)


@pytest.mark.parametrize("policy", TOLERANCE)
@pytest.mark.parametrize("training", [True, False])
def test_outputs_and_gradients_equal_the_plain_layers(policy, training):
    plain, fused = (run(layer, batch(policy), training) for layer in pair(policy))
    assert plain[0].dtype == keras.DTypePolicy(policy).compute_dtype
    assert_close(plain, fused, TOLERANCE[policy])


@pytest.mark.parametrize("policy", TOLERANCE)
def test_moving_statistics_after_several_steps_equal_the_plain_layers(policy):
    plain, fused = pair(policy)
    for step in range(5):
        for layer in (plain, fused):
            layer(batch(policy, seed=step), training=True)
    # Statistics are float32 under every policy, from the same rounded inputs.
    assert_close(plain.get_weights(), fused.get_weights(), 1e-5)


def test_moving_variance_is_the_biased_one():
    _, fused = pair()
    before = fused.moving_variance.numpy()
    x = batch()
    fused(x, training=True)
    expected = 0.9 * before + 0.1 * np.var(x.numpy(), axis=(0, 1, 2))  # divides by n
    np.testing.assert_allclose(fused.moving_variance, expected, rtol=1e-5)  # float32 sums


def test_one_value_a_channel_has_no_variance():
    plain, fused = (
        norm(dtype="float32") for norm in (keras.layers.BatchNormalization, FusedBatchNormalization)
    )
    for layer in (plain, fused):
        layer(np.full((1, 1, 1, 5), 3.0, np.float32), training=True)
    assert_close(plain.get_weights(), fused.get_weights(), 1e-6)  # exact up to one rounding


@pytest.mark.parametrize("trainable", [True, False])
@pytest.mark.parametrize("training", [True, False, None])
def test_only_a_trainable_layer_in_training_uses_the_batch(trainable, training):
    layers = pair()
    before = layers[0].get_weights()
    outputs = []
    for layer in layers:
        layer.trainable = trainable
        outputs.append(layer(batch(), training=training))
    assert_close(outputs[:1], outputs[1:], TOLERANCE["float32"])
    changed = not np.array_equal(layers[1].get_weights()[-1], before[-1])
    assert changed == bool(trainable and training)


def test_weights_names_and_configuration_interchange():
    plain, fused = pair()
    assert [w.name for w in fused.weights] == [w.name for w in plain.weights]
    assert [w.shape for w in fused.weights] == [w.shape for w in plain.weights]
    rebuilt = keras.layers.BatchNormalization.from_config(fused.get_config())
    assert rebuilt.get_config() == fused.get_config()


def small_resnet(**settings: Any):
    return build_model(
        ModelConfig(width=4, stem="cifar"),
        input_shape=(16, 16, 3),
        classes=3,
        seed=0,
        pixel_mean=(120.0, 120.0, 120.0),
        pixel_std=(60.0, 60.0, 60.0),
        **settings,
    )


def test_a_trained_model_is_rebuilt_with_plain_layers():
    rng = np.random.default_rng(0)
    pixels, labels = rng.integers(0, 256, (16, 16, 16, 3)).astype("float32"), np.arange(16) % 3
    fused = small_resnet(batch_normalization=FusedBatchNormalization)
    fused.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    fused.fit(pixels, labels, batch_size=8, epochs=2, verbose=0)
    plain = small_resnet()
    plain.set_weights(fused.get_weights())
    # Float32 rounding through 20 layers; logits are of order 1.
    np.testing.assert_allclose(plain(pixels), fused(pixels), rtol=1e-4, atol=1e-4)


def test_a_saved_model_loads(tmp_path):
    model = small_resnet(batch_normalization=FusedBatchNormalization)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert isinstance(loaded.get_layer("stem_norm"), FusedBatchNormalization)


@pytest.mark.parametrize(
    ("settings", "shape"),
    [
        ({"axis": 1}, SHAPE),
        ({"scale": False}, SHAPE),
        ({"center": False}, SHAPE),
        ({"synchronized": True}, SHAPE),
        ({"renorm": True}, SHAPE),
        ({}, (4, 5)),
    ],
)
def test_what_the_op_cannot_do_is_refused(settings, shape):
    with pytest.raises(ValueError, match="FusedBatchNormalization takes"):
        FusedBatchNormalization(**settings).build(shape)
