"""The convolution with the fast weight gradient against the plain Keras layer."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.models.fast_gradient import MIN_CHANNELS, FastGradientConv2D


def gradients(layer: keras.Layer, images: np.ndarray, upstream: np.ndarray) -> list[np.ndarray]:
    """Output, gradient of the input and gradient of the kernel, as float32."""
    inputs = tf.constant(images)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        outputs = layer(inputs)
        loss = tf.reduce_sum(tf.cast(outputs, tf.float32) * upstream)
    results = [outputs, *tape.gradient(loss, [inputs, layer.kernel])]
    return [tf.cast(result, tf.float32).numpy() for result in results]


@pytest.mark.parametrize("channels", [MIN_CHANNELS, 8])
@pytest.mark.parametrize(
    ("kernel_size", "strides", "padding", "size"),
    [(3, 1, "same", 5), (3, 2, "valid", 8), (3, 2, "valid", 7), (1, 2, "valid", 6), (3, 1, "valid", 5)],
)
def test_it_is_the_plain_layer(channels, kernel_size, strides, padding, size):
    generator = np.random.default_rng(0)
    images = generator.normal(size=(4, size, size, channels)).astype(np.float32)
    arguments = (6, kernel_size, strides, padding)
    plain = keras.layers.Conv2D(*arguments, use_bias=False)
    fast = FastGradientConv2D(*arguments, use_bias=False)
    upstream = generator.normal(size=plain(images).shape).astype(np.float32)
    fast.build(images.shape)
    fast.set_weights(plain.get_weights())
    for ours, theirs in zip(
        gradients(fast, images, upstream), gradients(plain, images, upstream), strict=True
    ):
        # float32 sums of some thousand products of size 1, in another order.
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4)


def test_in_bfloat16_it_is_the_plain_layer_up_to_rounding():
    generator = np.random.default_rng(0)
    images = generator.normal(size=(8, 6, 6, MIN_CHANNELS)).astype(np.float32)
    plain, fast = (
        kind(16, 3, padding="same", use_bias=False, dtype="mixed_bfloat16")
        for kind in (keras.layers.Conv2D, FastGradientConv2D)
    )
    upstream = generator.normal(size=plain(images).shape).astype(np.float32)
    fast.build(images.shape)
    fast.set_weights(plain.get_weights())
    for ours, theirs in zip(
        gradients(fast, images, upstream), gradients(plain, images, upstream), strict=True
    ):
        # bfloat16 keeps 8 bits: two roundings of the largest values.
        np.testing.assert_allclose(ours, theirs, atol=2 * 2**-8 * np.abs(theirs).max())
