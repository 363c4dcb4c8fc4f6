"""Photometric jitter: brightness, contrast, saturation and hue, one draw an image."""

import tensorflow as tf

from pipeline.data.augment.keys import draw


def random_brightness(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Blend with black, as torchvision's ColorJitter: float32 in [0, 255]."""
    return _blend(0.0, images, seed, strength)


def random_contrast(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Blend with the image's mean grey, as torchvision's ColorJitter: float32 in [0, 255]."""
    mean = tf.reduce_mean(_grey(images), axis=(1, 2), keepdims=True)
    return _blend(mean, images, seed, strength)


def random_saturation(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Blend with the grey image, as torchvision's ColorJitter: float32 in [0, 255]."""
    return _blend(_grey(images), images, seed, strength)


def random_hue(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Turn the hue by a share of the circle, uniform in +- `strength`: float32 in [0, 255]."""
    shifts = draw(tf.random.stateless_uniform, [tf.shape(images)[0], 1, 1], seed, -strength, strength)
    hue, saturation, value = tf.unstack(tf.image.rgb_to_hsv(tf.cast(images, tf.float32) / 255.0), axis=-1)
    turned = tf.stack([(hue + shifts) % 1.0, saturation, value], axis=-1)
    return tf.clip_by_value(tf.image.hsv_to_rgb(turned) * 255.0, 0.0, 255.0)


def _blend(start: tf.Tensor | float, images: tf.Tensor, seed: tf.Tensor, strength: float) -> tf.Tensor:
    """Compute start + factor (images - start), clipped, factor uniform in 1 +- `strength`."""
    shape = [tf.shape(images)[0], 1, 1, 1]
    factor = draw(tf.random.stateless_uniform, shape, seed, 1 - strength, 1 + strength)
    return tf.clip_by_value(start + factor * (tf.cast(images, tf.float32) - start), 0.0, 255.0)


def _grey(images: tf.Tensor) -> tf.Tensor:
    """Luma of ITU-R 601: float32 [batch, height, width, 1]."""
    weights = tf.constant([0.299, 0.587, 0.114])
    return tf.reduce_sum(tf.cast(images, tf.float32) * weights, axis=-1, keepdims=True)
