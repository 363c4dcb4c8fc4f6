"""Pixels into squares of the model's size, the whole image or a part of it."""

from collections.abc import Sequence

import tensorflow as tf

from pipeline.config.reading import Reading
from pipeline.data.decoding.decode import decode_image


def read_image(content: tf.Tensor, size: int, reading: Reading) -> tf.Tensor:
    """Decode an image and make it a square, whatever it is for: uint8 [size, size, 3]."""
    return fit_image(decode_image(content, upright=reading.exif_orientation), size, reading)


def fit_image(image: tf.Tensor, size: int, reading: Reading) -> tf.Tensor:
    """Make an image the square that a network sees, as export/device/run.py does.

    `squash` resizes all of it, whatever its shape. `crop` cuts out the square in its middle whose side is
    `crop_share` of the shorter side, and resizes that (Tan & Le 2019, in their preprocessing.py with a
    share of 0.875). `pad` resizes the longer side to `size` and puts the image in the middle of a border.

    Args:
        image: uint8 [height, width, 3], or a batch of such.
        size: side of the square in pixels.
        reading: how.

    Returns:
        uint8 [size, size, 3], or a batch of such.
    """
    if reading.resize == "squash":
        return resize_image(image, size)
    height, width = tf.shape(image)[-3], tf.shape(image)[-2]
    if reading.resize == "crop":
        top, left, side, _ = tf.unstack(middle_square(height, width, reading.crop_share))
        return resize_image(image[..., top : top + side, left : left + side, :], size)
    longer = tf.maximum(height, width)
    # Rounded to the nearest, a half up.
    inner = [tf.maximum((2 * size * extent + longer) // (2 * longer), 1) for extent in (height, width)]
    before = [(size - side) // 2 for side in inner]
    around = [[first, size - side - first] for first, side in zip(before, inner, strict=True)]
    margins = [*[[0, 0]] * (image.shape.rank - 3), *around, [0, 0]]
    padded = tf.pad(_resize(image, inner), margins, constant_values=tf.constant(reading.border, tf.uint8))
    return tf.ensure_shape(padded, [*image.shape[:-3], size, size, 3])


def middle_square(height: tf.Tensor, width: tf.Tensor, share: float) -> tf.Tensor:
    """Place the square whose side is a share of the shorter side: int32 [4], top, left, height, width."""
    shorter = tf.cast(tf.minimum(height, width), tf.float64)
    side = tf.maximum(tf.cast(shorter * share + 0.5, tf.int32), 1)
    return tf.stack([(height - side) // 2, (width - side) // 2, side, side])


def resize_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resize the whole image to a square, whatever its shape.

    Bilinear; when shrinking, the triangle kernel is widened by the scale (antialiasing).

    Args:
        image: uint8 [height, width, 3], or a batch of such.
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3], or a batch of such, rounded to the nearest level.
    """
    return _resize(image, [size, size])


def shrink_to(image: tf.Tensor, side: int) -> tf.Tensor:
    """Resize a whole image in its own shape until its shorter side is `side`, where it is longer.

    Args:
        image: uint8 [height, width, 3].
        side: in pixels.

    Returns:
        uint8 [height, width, 3], the longer side rounded to the nearest, a half up.
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    shorter = tf.minimum(height, width)
    sides = [(2 * side * extent + shorter) // (2 * shorter) for extent in (height, width)]
    return tf.cond(shorter > side, lambda: _resize(image, sides), lambda: image)


def _resize(image: tf.Tensor, sides: Sequence[int | tf.Tensor]) -> tf.Tensor:
    resized = tf.image.resize(image, sides, method="bilinear", antialias=True)
    return tf.cast(tf.round(resized), tf.uint8)


def crop_and_resize_image(image: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """Cut out a box and resize it like `resize_image`.

    Args:
        image: uint8 [height, width, 3].
        box: float32 [4], (y1, x1, y2, x2) as shares of height and width in [0, 1]. Edges are
            rounded to whole pixels; the cut is at least one pixel high and wide.
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    top, left, height, width = tf.unstack(window_of(box, tf.shape(image)[0], tf.shape(image)[1]))
    return resize_image(image[top : top + height, left : left + width], size)


def window_of(box: tf.Tensor, height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
    """Round a box of `crop_and_resize_image` to whole pixels: int32 [4], top, left, height, width."""
    extent = tf.stack([height, width])
    corners = tf.reshape(box, [2, 2]) * tf.cast(extent, tf.float32)
    first, last = tf.unstack(tf.cast(tf.round(corners), tf.int32))
    first = tf.clip_by_value(first, 0, extent - 1)
    last = tf.clip_by_value(last, first + 1, extent)
    return tf.concat([first, last - first], axis=0)
