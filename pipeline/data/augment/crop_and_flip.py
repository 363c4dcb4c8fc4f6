"""Random crop and flip: only whole pixels move, all of them in one gather."""

import tensorflow as tf

from pipeline.data.augment.keys import Keys, fair_coins, fold_in


def crop_and_flip(
    images: tf.Tensor, seed: tf.Tensor, *, keys: Keys, padding: int, mode: str, flip: str
) -> tf.Tensor:
    """Pad, crop to the original size at a uniform place and flip. Keeps the dtype.

    Args:
        images: [batch, height, width, 3].
        seed: int32 [2].
        keys: for the alternating flip.
        padding: pixels on each side.
        mode: what the padding holds, reflect or zero.
        flip: none, horizontal, vertical, both or alternating.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    # Row y of result b is row rows[b, y] of picture b, and so are columns. They lead from the
    # result back to the original, so what is written first happens last.
    rows = tf.broadcast_to(tf.range(height), [batch, height])
    columns = tf.broadcast_to(tf.range(width), [batch, width])
    if flip in ("horizontal", "both"):
        columns = _mirror(columns, fair_coins(fold_in(seed, 0), batch))
    if flip in ("vertical", "both"):
        rows = _mirror(rows, fair_coins(fold_in(seed, 1), batch))
    if flip == "alternating":
        columns = _mirror(columns, alternating_coins(keys))
    if padding > 0:
        offsets = tf.random.stateless_uniform(
            [2, batch, 1], fold_in(seed, 2), -padding, padding + 1, tf.int32
        )
        rows, columns = rows + offsets[0], columns + offsets[1]
    return _read(images, rows, columns, mode)


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


def _mirror(places: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Reverse the rows or columns (int32 [batch, size]) of the `chosen` pictures (bool [batch])."""
    return tf.where(chosen[:, None], tf.shape(places)[1] - 1 - places, places)


def _read(images: tf.Tensor, rows: tf.Tensor, columns: tf.Tensor, mode: str) -> tf.Tensor:
    """Read pixel (y, x) of result b at (rows[b, y], columns[b, x]) of picture b.

    Beyond the border lie zeros or (reflect) the mirror image without the border's own pixels, as
    in `np.pad`.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    pixels = tf.reshape(images, [-1, 3])
    if mode == "reflect":
        rows, columns = _reflect(rows, height), _reflect(columns, width)
    first = tf.range(batch)[:, None] * height
    # One gather of three-byte pixels from the flat batch: two gathers (rows, then columns) took
    # 1.4 times as long, gather_nd 2.4 times, gathers of int32 pixels or of single bytes 3 times.
    places = ((first + rows) * width)[:, :, None] + columns[:, None, :]
    if mode == "zero":
        row_inside = (rows >= 0) & (rows < height)
        column_inside = (columns >= 0) & (columns < width)
        inside = row_inside[:, :, None] & column_inside[:, None, :]
        places = tf.where(inside, places, batch * height * width)
        pixels = tf.pad(pixels, [[0, 1], [0, 0]])
    return tf.ensure_shape(tf.gather(pixels, places), images.shape)


def _reflect(places: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Fold whole numbers into [0, size), mirrored at the first and the last."""
    last = size - 1
    return last - tf.abs(last - places % tf.maximum(2 * last, 1))
