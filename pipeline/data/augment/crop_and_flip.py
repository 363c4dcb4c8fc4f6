"""Random crop and flip: only whole pixels move, in as large blocks as can be."""

from collections.abc import Callable

import tensorflow as tf

from pipeline.data.augment.keys import Keys, draw


def crop_and_flip(
    images: tf.Tensor, seed: tf.Tensor, *, keys: Keys, padding: int, mode: str, flip: str
) -> tf.Tensor:
    """Pad, crop to the original size at a uniform place and flip. Keeps the dtype.

    Args:
        images: [batch, height, width, 3].
        seed: int32 [2].
        keys: for the alternating flip.
        padding: pixels on each side, fewer than the image's own.
        mode: what the padding holds, reflect or zero.
        flip: none, horizontal, vertical, both or alternating.
    """
    # One draw for all of it, because a draw costs as much as moving every row.
    shape = [4, tf.shape(images)[0]]
    bits = draw(tf.random.stateless_uniform, shape, seed, None, None, tf.uint32, axis=1)
    if padding > 0:
        offsets = tf.cast(bits % (2 * padding + 1), tf.int32) - padding
        images = _shift_rows(images, offsets[0], mode)
        images = _shift_columns(images, offsets[1], padding, mode)
    coins = bits >= 2**31
    if flip in ("horizontal", "both"):
        images = _mirror(images, coins[2])
    if flip in ("vertical", "both"):
        images = _turn_over(images, coins[3])
    if flip == "alternating":
        images = _mirror(images, alternating_coins(keys))
    return images


def alternating_coins(keys: Keys) -> tf.Tensor:
    """Decide who is mirrored: in the first epoch a fair coin, then every example in turns.

    Any two epochs in a row show both mirror images of every example, where independent coins
    would show half of them twice. Source: Jordan 2024, "94% on CIFAR-10 in 3.29 Seconds on a
    Single GPU", section 3.6, which hashes the example's number as we do here.

    Returns:
        bool [batch].
    """
    # splitmix64 (Steele et al. 2014): TensorFlow's stateless draws depend on the place in the
    # batch, and the bits of its index_shuffle are correlated between seeds.
    golden = tf.constant(0x9E3779B97F4A7C15, tf.uint64)
    run = _splitmix(tf.bitcast(keys.run, tf.uint64))
    hashes = _splitmix(run + golden * tf.cast(keys.examples, tf.uint64))
    return (hashes + tf.cast(keys.epoch, tf.uint64)) % 2 == 1


def _splitmix(bits: tf.Tensor) -> tf.Tensor:
    """Mix the bits of uint64 values, the finaliser of splitmix64."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB), (31, 1)):
        shifted = tf.bitwise.right_shift(bits, tf.constant(shift, tf.uint64))
        bits = tf.bitwise.bitwise_xor(bits, shifted) * tf.constant(factor, tf.uint64)
    return bits


def _shift_rows(images: tf.Tensor, offsets: tf.Tensor, mode: str) -> tf.Tensor:
    """Let row y of image b be what row y + offsets[b] was. Every row moves as one block."""
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    rows = tf.reshape(images, [-1, width, 3])
    places = tf.range(height) + offsets[:, None]
    first = tf.range(batch)[:, None] * height
    if mode == "reflect":
        return tf.ensure_shape(tf.gather(rows, first + _reflect(places, height)), images.shape)
    inside = (places >= 0) & (places < height)
    places = tf.where(inside, first + places, batch * height)
    return tf.ensure_shape(tf.gather(tf.pad(rows, [[0, 1], [0, 0], [0, 0]]), places), images.shape)


def _shift_columns(images: tf.Tensor, offsets: tf.Tensor, padding: int, mode: str) -> tf.Tensor:
    """Let column x of image b be what column x + offsets[b] was.

    Images of one offset are cut out together, because a slice copies whole rows where a gather
    copies pixel by pixel: for 32 pixels that takes a third of the time.
    """
    width = tf.shape(images)[2]
    if mode == "reflect":
        left = _reversed_columns(images[:, :, 1 : 1 + padding])
        right = _reversed_columns(images[:, :, width - 1 - padding : width - 1])
        wide = tf.concat([left, images, right], axis=2)
    else:
        wide = tf.pad(images, [[0, 0], [0, 0], [padding, padding], [0, 0]])
    starts = offsets + padding
    groups = tf.dynamic_partition(wide, starts, 2 * padding + 1)
    members = tf.dynamic_partition(tf.range(tf.shape(images)[0]), starts, 2 * padding + 1)
    cut = [group[:, :, start : start + width] for start, group in enumerate(groups)]
    return tf.ensure_shape(tf.dynamic_stitch(members, cut), images.shape)


def _mirror(images: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Mirror the `chosen` images (bool [batch]) left to right."""
    return _apply_to(chosen, images, _reversed_columns)


def _turn_over(images: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Mirror the `chosen` images (bool [batch]) top to bottom."""
    return _apply_to(chosen, images, lambda some: tf.reverse(some, [1]))


def _apply_to(chosen: tf.Tensor, images: tf.Tensor, function: Callable[[tf.Tensor], tf.Tensor]) -> tf.Tensor:
    """Replace the `chosen` images by what `function` makes of them."""
    # Not `tf.where`, which takes many times as long to broadcast the choice over the pixels.
    side = tf.cast(chosen, tf.int32)
    kept, changed = tf.dynamic_partition(images, side, 2)
    places = tf.dynamic_partition(tf.range(tf.shape(images)[0]), side, 2)
    return tf.ensure_shape(tf.dynamic_stitch(places, [kept, function(changed)]), images.shape)


def _reversed_columns(images: tf.Tensor) -> tf.Tensor:
    """Mirror all images left to right."""
    # TensorFlow reverses the middle of three axes four times as fast as one of four.
    shape = tf.shape(images)
    rows = tf.reshape(images, [shape[0] * shape[1], shape[2], 3])
    return tf.reshape(tf.reverse(rows, [1]), shape)


def _reflect(places: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Fold whole numbers into [0, size), mirrored at the first and the last."""
    last = size - 1
    return last - tf.abs(last - places % tf.maximum(2 * last, 1))
