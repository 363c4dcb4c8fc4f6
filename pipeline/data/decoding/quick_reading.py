"""Images read for training: no more of a JPEG is decoded than is seen, and resizing is matrix products.

The pixels are those of `fit_image` and `crop_and_resize_image` up to rounding, but where a JPEG is so
large that it is decoded at a part of its size.
"""

from collections.abc import Callable

import tensorflow as tf

from pipeline.data.decoding.decode import decode_image, decode_jpeg_window, is_jpeg, jpeg_orientation
from pipeline.data.decoding.orientation import turn_upright

Window = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""Height and width of an upright image -> what of it is seen: int32 [4], top, left, height, width."""

BAND = 8
"""Rows of the result that one product makes. With more there are more zeros, with fewer more products."""

LEAST_SURPLUS = 2
"""What is decoded at a part of its size is at least so many times as large as what is made of it: the
decoder's own filter is coarse."""


def read_quickly(content: tf.Tensor, window: Window, size: int, *, upright: bool) -> tf.Tensor:
    """Decode an image and make a square of what is seen of it.

    Where that is `LEAST_SURPLUS` times the square in both directions even then, a JPEG is decoded at a
    half, a quarter or an eighth of its size, of which the decoder needs fewer coefficients.

    Args:
        content: string scalar, the encoded file.
        window: what is seen.
        size: side of the square in pixels.
        upright: turn the image as its EXIF orientation says.

    Returns:
        uint8 [size, size, 3].
    """

    def of_jpeg() -> tf.Tensor:
        orientation = jpeg_orientation(content) if upright else tf.constant(1)
        height, width = tf.unstack(tf.io.extract_jpeg_shape(content)[:2])
        is_turned = orientation >= 5
        height, width = tf.where(is_turned, width, height), tf.where(is_turned, height, width)
        stored = _as_stored(window(height, width), height, width, orientation)
        square = resize_by_products(_decode_window(content, stored, size), size)
        return tf.cond(orientation == 1, lambda: square, lambda: _turn(square, orientation))

    def of_another() -> tf.Tensor:
        image = decode_image(content, upright=upright)
        top, left, height, width = tf.unstack(window(tf.shape(image)[0], tf.shape(image)[1]))
        return resize_by_products(image[top : top + height, left : left + width], size)

    return tf.cond(is_jpeg(content), of_jpeg, of_another)


def _as_stored(window: tf.Tensor, height: tf.Tensor, width: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Find a window of an upright image where its file has it; the inverse of `turn_upright`."""
    top, left, rows, columns = tf.unstack(window)
    below = tf.reduce_any(orientation == [3, 4, 7, 8])
    right = tf.reduce_any(orientation == [2, 3, 6, 7])
    top = tf.where(below, height - top - rows, top)
    left = tf.where(right, width - left - columns, left)
    return tf.where(orientation >= 5, [left, top, columns, rows], [top, left, rows, columns])


def _decode_window(content: tf.Tensor, window: tf.Tensor, size: int) -> tf.Tensor:
    """Decode a part of a JPEG, reduced where it is large: uint8 [height, width, 3]."""
    surplus = tf.reduce_min(window[2:]) // (LEAST_SURPLUS * size)
    reductions = (1, 2, 4, 8)
    branches = [lambda by=by: decode_jpeg_window(content, window // by, by) for by in reductions]
    return tf.switch_case(tf.reduce_sum(tf.cast(surplus >= reductions[1:], tf.int32)), branches)


def _turn(square: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    # Declared stateless: deterministic tf.data runs a map that holds a stateful op on one thread.
    turned = tf.numpy_function(turn_upright, [square, orientation], tf.uint8, stateful=False)
    return tf.ensure_shape(turned, square.shape)


def resize_by_products(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resize as `resize_image` does, but for the order of its sums: at most one level apart.

    Rows first, then columns. The matrix of a pass is all zeros but for a band along its diagonal: of
    every `BAND` rows of the result it is multiplied only where it is not.

    Args:
        image: uint8 [height, width, 3].
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3], rounded to the nearest level.
    """
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    rows = _multiply_bands(tf.reshape(image, [height, width * 3]), height, size)
    # [size, width, 3] becomes [width, 3, size], so that a column is a row of memory.
    columns = tf.reshape(tf.transpose(rows), [width, 3 * size])
    resized = tf.reshape(_multiply_bands(columns, width, size), [size * 3, size])
    square = tf.transpose(tf.cast(tf.round(resized), tf.uint8))
    return tf.reshape(square, [size, size, 3])


def _multiply_bands(image: tf.Tensor, extent: tf.Tensor, size: int) -> tf.Tensor:
    """Resize the first axis, of `extent`: [extent, n] of any type -> float32 [size, n].

    Entry (y, x) of the matrix is max(0, 1 - |x + 1/2 - (y + 1/2) s| / max(s, 1)), s = extent / size, its
    rows divided by their sums: the triangle kernel, widened where it shrinks.
    """
    bands = -(-size // BAND)
    scale = tf.cast(extent, tf.float32) / size
    radius = tf.maximum(scale, 1.0)
    centres = tf.reshape((tf.range(bands * BAND, dtype=tf.float32) + 0.5) * scale, [bands, BAND, 1])
    first = tf.cast(tf.math.ceil(centres[:, 0] - radius - 0.5), tf.int32)
    reach = tf.cast(tf.math.ceil((BAND - 1) * scale + 2 * radius), tf.int32) + 1
    places = first + tf.range(reach)
    distances = tf.abs(tf.cast(places, tf.float32)[:, tf.newaxis] + 0.5 - centres)
    is_inside = (places >= 0) & (places < extent)
    weights = tf.where(is_inside[:, tf.newaxis], tf.maximum(1.0 - distances / radius, 0.0), 0.0)
    # Rows beyond `size`, of the last band, may have no weight at all.
    weights = tf.math.divide_no_nan(weights, tf.reduce_sum(weights, axis=2, keepdims=True))
    taken = tf.gather(image, tf.clip_by_value(places, 0, extent - 1))
    product = tf.matmul(weights, tf.cast(taken, tf.float32))
    return tf.reshape(product, [bands * BAND, -1])[:size]
