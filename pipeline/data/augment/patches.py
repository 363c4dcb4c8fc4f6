"""Patches that hide a part of the image: cutout and random erasing."""

import tensorflow as tf

from pipeline.data.augment.boxes import inside, random_boxes
from pipeline.data.augment.keys import draw, fold_in

MID_GREY = 128
"""Near the mean of natural images, so that after normalisation it excites a network least."""


def cutout(images: tf.Tensor, seed: tf.Tensor, *, side: int) -> tf.Tensor:
    """Fill with mid grey a square centred anywhere, clipped at the border. Keeps the dtype.

    Source: DeVries & Taylor 2017, "Improved Regularization of Convolutional Neural Networks with
    Cutout", section 3. They fill normalised images with 0, which is the mean: so mid grey here.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    size = tf.stack([height, width])[:, None, None]
    centre = draw(tf.random.stateless_uniform, [2, batch, 1], seed, 0, 2**31 - 1, tf.int32, axis=1)
    # Clamping pixels that lie outside puts them on the square's own edge: they are clipped. A
    # scatter of these few pixels takes a quarter of the time of a mask over the batch.
    rows, columns = tf.unstack(tf.clip_by_value(centre % size - side // 2 + tf.range(side), 0, size - 1))
    first = tf.range(batch)[:, None] * height
    places = ((first + rows) * width)[:, :, None] + columns[:, None, :]
    grey = tf.fill([batch * side * side, 3], tf.cast(MID_GREY, images.dtype))
    filled = tf.tensor_scatter_nd_update(tf.reshape(images, [-1, 3]), tf.reshape(places, [-1, 1]), grey)
    return tf.ensure_shape(tf.reshape(filled, tf.shape(images)), images.shape)


def random_erasing(images: tf.Tensor, seed: tf.Tensor, *, probability: float) -> tf.Tensor:
    """Fill with noise, uniform in [0, 255], a rectangle of 2-33 % area. Keeps the dtype.

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation", section 3 and table 2: aspect
    in [0.3, 1 / 0.3] (log-uniform, as in torchvision), random values, the best of their fills.
    """
    shape = tf.shape(images)
    boxes = random_boxes(
        fold_in(seed, 0),
        tf.cast(shape[1:3], tf.float32),
        area=(0.02, 0.33),
        aspect=(0.3, 1 / 0.3),
        count=shape[0],
    )
    chosen = draw(tf.random.stateless_uniform, [shape[0]], fold_in(seed, 1)) < probability
    bits = draw(tf.random.stateless_uniform, tf.unstack(shape[:3]), fold_in(seed, 2), None, None, tf.uint32)
    noise = tf.cast(tf.bitcast(bits, tf.uint8)[..., :3], images.dtype)
    return tf.where(chosen[:, None, None, None] & inside(boxes, shape), noise, images)
