"""Random boxes of whole pixels: drawing them and marking what lies inside."""

import math
from collections.abc import Sequence
from functools import partial

import tensorflow as tf

from pipeline.data.augment.keys import draw, fold_in


def resized_crop_boxes(
    seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor, min_area: float, count: int | tf.Tensor
) -> tf.Tensor:
    """Draw boxes of whole pixels: area uniform in [min_area, 1], aspect in [3/4, 4/3].

    Source: Szegedy et al. 2014, "Going Deeper with Convolutions", section 6; log-uniform aspect
    and ten attempts as in torchvision's RandomResizedCrop. Where none fits, the whole image.

    Args:
        seed: int32 [2].
        height: scalar, in pixels.
        width: scalar, in pixels.
        min_area: share of the image's area.
        count: number of boxes.

    Returns:
        float32 [count, 4], (y1, x1, y2, x2) as shares of height and width.
    """
    size = tf.stack([tf.cast(height, tf.float32), tf.cast(width, tf.float32)])
    boxes = random_boxes(seed, size, area=(min_area, 1.0), aspect=(3 / 4, 4 / 3), count=count)
    return boxes / tf.tile(size, [2])


def random_boxes(
    seed: tf.Tensor,
    size: tf.Tensor,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    count: int | tf.Tensor,
) -> tf.Tensor:
    """Draw boxes of whole pixels, uniform in place, that lie inside an image.

    The first of ten attempts that fits counts, else the whole image.

    Args:
        seed: int32 [2].
        size: float32 [2], the image's height and width in pixels.
        area: least and greatest, as shares of the image's; uniform.
        aspect: least and greatest width by height; log-uniform.
        count: number of boxes.

    Returns:
        float32 [count, 4], (y1, x1, y2, x2) in pixels.
    """
    return draw(partial(_sample_boxes, size=size, area=area, aspect=aspect), [count], seed)


def _sample_boxes(
    shape: Sequence[int | tf.Tensor],
    seed: tf.Tensor,
    *,
    size: tf.Tensor,
    area: tuple[float, float],
    aspect: tuple[float, float],
) -> tf.Tensor:
    (count,), attempts = shape, 10
    draws = tf.random.stateless_uniform([2, count, attempts], fold_in(seed, 0))
    areas = (area[0] + (area[1] - area[0]) * draws[0]) * tf.reduce_prod(size)
    low, high = (math.log(bound) for bound in aspect)
    stretch = tf.exp((low + (high - low) * draws[1]) / 2)
    sides = tf.round(tf.sqrt(areas)[..., None] * tf.stack([1 / stretch, stretch], axis=-1))
    fits = tf.reduce_all((sides >= 1) & (sides <= size), axis=-1)
    first = tf.reduce_min(tf.where(fits, tf.range(attempts), attempts), axis=1)
    whole = tf.broadcast_to(size, [count, 1, 2])
    sides = tf.gather(tf.concat([sides, whole], axis=1), first, batch_dims=1)
    place = tf.random.stateless_uniform([count, 2], fold_in(seed, 1))
    corner = tf.floor(place * (size - sides + 1))
    return tf.concat([corner, corner + sides], axis=1)


def inside(boxes: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Mark the pixels of `boxes` ([batch, 4], whole pixels) in a batch of `shape`.

    Returns:
        bool [batch, height, width, 1].
    """
    top, left, bottom, right = tf.unstack(boxes[:, :, None], axis=1)
    y, x = (tf.cast(tf.range(shape[axis]), boxes.dtype) for axis in (1, 2))
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return rows[:, :, None, None] & columns[:, None, :, None]
