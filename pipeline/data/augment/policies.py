"""Automatic augmentation policies, TrivialAugment and RandAugment, on whole batches of images.

Every image draws its own operation, and the batch is computed at once: shears, translations and
rotations are one projective transform with a matrix an image; operations on single values are
one lookup with a table an image; colour and sharpness are blends. Results equal Pillow's.
"""

from collections.abc import Callable, Mapping, Sequence

import tensorflow as tf

from pipeline.data.augment.keys import draw, fold_in
from pipeline.data.augment.patches import MID_GREY
from pipeline.data.augment.resampling import project, rotations

WARPS = ("shear_x", "shear_y", "translate_x", "translate_y", "rotate")
LOOKUPS = ("identity", "brightness", "contrast", "posterize", "solarize", "autocontrast", "equalize")
BLENDS = ("color", "sharpness")
OPERATIONS = (*WARPS, *LOOKUPS, *BLENDS)
"""The 14 operations of both papers; an operation's number is its place in this tuple."""

# Amounts at which an operation changes nothing, where that is not 0.
NEUTRAL = {"brightness": 1, "contrast": 1, "color": 1, "sharpness": 1, "posterize": 8, "solarize": 256}
ONE_SIDED = ("posterize", "solarize")

Strength = Callable[[Sequence[int | tf.Tensor]], tf.Tensor | float]
"""[batch] -> float32 [batch], or one for all."""


def trivial_augment(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Apply to each image one operation at one of 31 strengths, both drawn uniformly.

    Source: Müller & Hutter 2021, "TrivialAugment", section 3 and the wide space of table 1.

    Args:
        images: uint8 [batch, height, width, 3], as is the result.
        seed: int32 [2].
    """
    bin_seed = fold_in(seed, 0)

    def strength(shape: Sequence[int | tf.Tensor]) -> tf.Tensor:
        bins = tf.random.stateless_uniform(shape, bin_seed, 0, 31, tf.int32)
        return tf.cast(bins, tf.float32) / 30

    spans = {
        "shear_x": 0.99,
        "shear_y": 0.99,
        "translate_x": 32,
        "translate_y": 32,
        "rotate": 135,
        "brightness": 0.99,
        "contrast": 0.99,
        "color": 0.99,
        "sharpness": 0.99,
        "posterize": -6,
        "solarize": -256,
    }
    return _random_operation(images, fold_in(seed, 1), strength, spans)


def rand_augment(images: tf.Tensor, seed: tf.Tensor, *, layers: int, magnitude: int) -> tf.Tensor:
    """Apply to each image `layers` random operations in turn, each at strength `magnitude`.

    Source: Cubuk et al. 2019, "RandAugment", section 3; the ranges are AutoAugment's (Cubuk et
    al. 2018, table 6), whose translations reach 150 of 331 pixels.

    Args:
        images: uint8 [batch, height, width, 3], as is the result.
        seed: int32 [2].
        layers: N of the paper.
        magnitude: M of the paper, in [0, 30]; 0 leaves only autocontrast and equalize.
    """
    size = tf.cast(tf.shape(images), tf.float32)
    spans = {
        "shear_x": 0.3,
        "shear_y": 0.3,
        "rotate": 30,
        "translate_x": size[2] * 150 / 331,
        "translate_y": size[1] * 150 / 331,
        "brightness": 0.9,
        "contrast": 0.9,
        "color": 0.9,
        "sharpness": 0.9,
        "posterize": -4,
        "solarize": -256,
    }
    for layer in range(layers):
        images = _random_operation(images, fold_in(seed, layer), lambda _: magnitude / 30, spans)
    return images


def apply_operations(
    images: tf.Tensor, kinds: tf.Tensor, amounts: tf.Tensor, matrices: tf.Tensor | None = None
) -> tf.Tensor:
    """Apply operation `kinds[i]` to image i.

    Args:
        images: uint8 [batch, height, width, 3], as is the result.
        kinds: int32 [batch], places in `OPERATIONS`.
        amounts: float32 [batch], in the operation's own unit: shear in pixels a pixel,
            translation in pixels, rotation in degrees counter-clockwise, posterize in bits kept,
            solarize as the first value inverted; brightness, contrast, color and sharpness as
            the factor of PIL.ImageEnhance. The others take none.
        matrices: of the warps, as of `warp_matrices`; None: from kinds and amounts.
    """
    if matrices is None:
        matrices = warp_matrices(kinds, amounts, tf.shape(images))
    first_lookup, first_blend = len(WARPS), len(WARPS) + len(LOOKUPS)
    families = (((kinds >= first_lookup) & (kinds < first_blend), _look_up), (kinds >= first_blend, _enhance))
    rows = tf.where(kinds < first_lookup)
    changed = _warp(tf.gather_nd(images, rows), tf.gather_nd(matrices, rows))
    images = tf.tensor_scatter_nd_update(images, rows, changed)
    for chosen, operation in families:
        rows = tf.where(chosen)
        changed = operation(*(tf.gather_nd(each, rows) for each in (images, kinds, amounts)))
        images = tf.tensor_scatter_nd_update(images, rows, changed)
    return images


def _random_operation(
    images: tf.Tensor, seed: tf.Tensor, strength: Strength, spans: Mapping[str, float]
) -> tf.Tensor:
    """Apply a uniformly drawn operation to each image; `strength` of a shape is a share of its span."""
    size = tf.shape(images)

    def choose(shape: Sequence[int | tf.Tensor], seed: tf.Tensor) -> tuple[tf.Tensor, ...]:
        kinds, coins = tf.unstack(
            tf.random.stateless_uniform([2, *shape], seed, 0, len(OPERATIONS), tf.int32), num=2
        )
        sides = tf.cast(coins % 2 * 2 - 1, tf.float32)
        one_sided = tf.constant([name in ONE_SIDED for name in OPERATIONS])
        neutral = tf.constant([float(NEUTRAL.get(name, 0)) for name in OPERATIONS])
        span = tf.stack([tf.cast(spans.get(name, 0.0), tf.float32) for name in OPERATIONS])
        sides = tf.where(tf.gather(one_sided, kinds), 1.0, sides)
        amounts = tf.gather(neutral, kinds) + sides * strength(shape) * tf.gather(span, kinds)
        return kinds, amounts, warp_matrices(kinds, amounts, size)

    return apply_operations(images, *draw(choose, [size[0]], seed))


def warp_matrices(kinds: tf.Tensor, amounts: tf.Tensor, size: tf.Tensor) -> tf.Tensor:
    """Build `project`'s matrices of those images that are warped, zeros of the others: float32 [batch, 6].

    Shear about the upper left corner, translate, or rotate about the centre, as Pillow does.

    Args:
        kinds: int32 [batch], places in `OPERATIONS`.
        amounts: float32 [batch], as of `apply_operations`.
        size: of the images, int32 [4].
    """
    warped = tf.where(kinds < len(WARPS))
    chosen, amount = tf.gather_nd(kinds, warped), tf.gather_nd(amounts, warped)
    shear_x, shear_y, x, y, degrees = tf.unstack(
        tf.one_hot(chosen, len(WARPS), axis=0) * amount, num=len(WARPS)
    )
    none = tf.zeros_like(amount)
    # Half a shear more: the corner lies half a pixel before the first pixel's centre.
    slides = tf.stack([none, shear_x, shear_x / 2 + x, shear_y, none, shear_y / 2 + y], axis=1)
    matrices = rotations(degrees, size) + slides
    return tf.scatter_nd(warped, matrices, [tf.size(kinds, tf.int64), 6])


def _warp(images: tf.Tensor, matrices: tf.Tensor) -> tf.Tensor:
    """Read each image through its matrix."""
    # AutoAugment's own code leaves the same grey in the corners.
    return project(images, matrices, interpolation="NEAREST", fill_mode="CONSTANT", fill_value=MID_GREY)


def _look_up(images: tf.Tensor, kinds: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Replace each value by its image's table: 256 entries a channel."""
    batch = tf.shape(images)[0]
    values = tf.range(256)[None, :, None]
    amount = amounts[:, None, None]
    mean = tf.floor(tf.reduce_mean(tf.cast(_grey(images), tf.float64), axis=(1, 2)) + 0.5)
    mean = tf.cast(mean, tf.float32)[..., None]
    lost_bits = 8 - tf.cast(tf.round(amount), tf.int32)
    counts = _histograms(images)
    tables = (  # in the order of LOOKUPS
        values,
        _blend(tf.zeros_like(amount), values, amount),
        _blend(mean, values, amount),
        tf.bitwise.left_shift(tf.bitwise.right_shift(values, lost_bits), lost_bits),
        tf.where(tf.cast(values, tf.float32) < amount, values, 255 - values),
        _stretching(counts),
        _equalizing(counts),
    )
    shape = tf.stack([batch, 256, 3])
    tables = tf.stack([tf.cast(tf.broadcast_to(table, shape), tf.uint8) for table in tables], 1)
    table = tf.gather(tables, kinds - len(WARPS), batch_dims=1)
    first = 768 * tf.range(batch)[:, None, None, None] + tf.range(3)
    return tf.gather(tf.reshape(table, [-1]), first + 3 * tf.cast(images, tf.int32))


def _histograms(images: tf.Tensor) -> tf.Tensor:
    """Count each value: int32 [batch, 256, 3]."""
    shape = tf.shape(images)
    channels = tf.reshape(tf.transpose(images, [0, 3, 1, 2]), [shape[0] * 3, -1])
    counts = tf.math.bincount(tf.cast(channels, tf.int32), minlength=256, maxlength=256, axis=-1)
    return tf.transpose(tf.reshape(counts, [shape[0], 3, 256]), [0, 2, 1])


def _stretching(counts: tf.Tensor) -> tf.Tensor:
    """Tables that stretch each channel to [0, 255], as PIL.ImageOps.autocontrast does."""
    values = tf.range(256)[None, :, None]
    low = tf.reduce_min(tf.where(counts > 0, values, 255), axis=1, keepdims=True)
    high = tf.reduce_max(tf.where(counts > 0, values, 0), axis=1, keepdims=True)
    # Pillow's order of arithmetic, in its precision: another order truncates to another level.
    scale = 255.0 / tf.cast(tf.maximum(high - low, 1), tf.float64)
    stretched = tf.cast(values, tf.float64) * scale - tf.cast(low, tf.float64) * scale
    stretched = tf.cast(tf.clip_by_value(stretched, 0.0, 255.0), tf.int32)
    return tf.where(high > low, stretched, values)


def _equalizing(counts: tf.Tensor) -> tf.Tensor:
    """Tables that flatten each channel's histogram, as PIL.ImageOps.equalize does."""
    values = tf.range(256)[None, :, None]
    last = tf.reduce_max(tf.where(counts > 0, values, 0), axis=1, keepdims=True)
    beyond = tf.where(values == last, 0, counts)
    step = tf.reduce_sum(beyond, axis=1, keepdims=True) // 255
    below = tf.cumsum(counts, axis=1, exclusive=True)
    flat = tf.minimum((step // 2 + below) // tf.maximum(step, 1), 255)
    return tf.where(step > 0, flat, values)


def _enhance(images: tf.Tensor, kinds: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Move away from the grey image (color) or from the smoothed one (sharpness)."""
    is_color = (kinds == OPERATIONS.index("color"))[:, None, None, None]
    start = tf.where(is_color, _grey(images), _smooth(images))
    return tf.cast(_blend(start, images, amounts[:, None, None, None]), tf.uint8)


def _blend(start: tf.Tensor, end: tf.Tensor, factor: tf.Tensor) -> tf.Tensor:
    """Go from `start` (0) to `end` (1) and beyond, cut to whole numbers as Pillow cuts them."""
    start, end = tf.cast(start, tf.float32), tf.cast(end, tf.float32)
    return tf.floor(tf.clip_by_value(start + factor * (end - start), 0.0, 255.0))


def _grey(images: tf.Tensor) -> tf.Tensor:
    """Luma of ITU-R 601 in Pillow's 16-bit fractions: int32 [batch, height, width, 1]."""
    weighted = tf.cast(images, tf.int32) * tf.constant([19595, 38470, 7471])
    return tf.bitwise.right_shift(tf.reduce_sum(weighted, axis=-1, keepdims=True) + 2**15, 16)


def _smooth(images: tf.Tensor) -> tf.Tensor:
    """Filter with PIL.ImageFilter.SMOOTH, border left as it is: int32 like `images`."""
    pixels = tf.cast(images, tf.int32)
    columns = pixels[:, :-2] + pixels[:, 1:-1] + pixels[:, 2:]
    weighted = columns[:, :, :-2] + columns[:, :, 1:-1] + columns[:, :, 2:]
    weighted += 4 * pixels[:, 1:-1, 1:-1]
    border = [[0, 0], [1, 1], [1, 1], [0, 0]]
    inside = tf.pad(tf.ones_like(weighted, tf.bool), border)
    return tf.where(inside, tf.pad((2 * weighted + 13) // 26, border), pixels)
