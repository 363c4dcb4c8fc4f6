"""Resampling between pixels: resized crop and rotation, each one projective transform."""

import math
from collections.abc import Sequence

import tensorflow as tf

from pipeline.data.augment.boxes import resized_crop_boxes
from pipeline.data.augment.keys import draw


def random_resized_crop(images: tf.Tensor, seed: tf.Tensor, *, min_area: float) -> tf.Tensor:
    """Enlarge a box of each image (`resized_crop_boxes`) to the full size, bilinearly. uint8."""
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    top, left, bottom, right = tf.unstack(resized_crop_boxes(seed, height, width, min_area, batch), axis=1)
    # Edges map to edges, so that centres, half a pixel in, keep their distance from them.
    y, x = bottom - top, right - left
    down = top * tf.cast(height, tf.float32) + (y - 1) / 2
    along = left * tf.cast(width, tf.float32) + (x - 1) / 2
    none = tf.zeros_like(x)
    matrices = tf.stack([x, none, along, none, y, down], axis=1)
    return project(images, matrices, interpolation="BILINEAR", fill_mode="NEAREST")


def random_rotation(images: tf.Tensor, seed: tf.Tensor, *, degrees: float, mode: str) -> tf.Tensor:
    """Turn about the centre by an angle uniform in +- `degrees`, bilinearly. Keeps uint8.

    Corners hold zeros or the mirror image (here the border's pixels are repeated).
    """
    shape = tf.shape(images)

    def turns(count: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tf.Tensor:
        return rotations(tf.random.stateless_uniform(count, seed, -degrees, degrees), shape)

    fill_mode = {"zero": "CONSTANT", "reflect": "REFLECT"}[mode]
    return project(images, draw(turns, [shape[0]], seed), interpolation="BILINEAR", fill_mode=fill_mode)


def project(
    images: tf.Tensor, matrices: tf.Tensor, *, interpolation: str, fill_mode: str, fill_value: float = 0.0
) -> tf.Tensor:
    """Read pixel (x, y) of the result at (a x + b y + c, d x + e y + f) of its image.

    Args:
        images: uint8 [batch, height, width, 3], as is the result.
        matrices: float32 [batch, 6], rows (a, b, c, d, e, f); a pixel's centre is a whole number.
        interpolation: NEAREST or BILINEAR.
        fill_mode: what lies beyond the border: CONSTANT, NEAREST (its last pixel) or REFLECT
            (the mirror image, last pixel repeated).
        fill_value: of CONSTANT.
    """
    # In float32, because in uint8 the kernel truncates: every image would darken by half a level.
    read = tf.raw_ops.ImageProjectiveTransformV3(
        images=tf.cast(images, tf.float32),
        transforms=tf.pad(matrices, [[0, 0], [0, 2]]),
        output_shape=tf.shape(images)[1:3],
        fill_value=fill_value,
        interpolation=interpolation,
        fill_mode=fill_mode,
    )
    return tf.ensure_shape(tf.cast(tf.round(read), tf.uint8), images.shape)


def rotations(degrees: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Build `project`'s matrices, float32 [batch, 6], that turn counter-clockwise by `degrees`."""
    cos, sin = tf.cos(degrees * (math.pi / 180)), tf.sin(degrees * (math.pi / 180))
    middle = tf.cast(shape - 1, tf.float32) / 2
    y, x = middle[1], middle[2]
    return tf.stack([cos, -sin, x - x * cos + y * sin, sin, cos, y - x * sin - y * cos], axis=1)
