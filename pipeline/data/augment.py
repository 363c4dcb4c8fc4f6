"""Random variation of training pictures, vectorised over the batch.

Batch number s is a pure function of (run seed, s): nothing here holds state. Pictures stay uint8
until an operation changes single values, so that the common path (crop, flip, cutout) only moves
bytes.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import tensorflow as tf

from pipeline.config import AugmentConfig
from pipeline.data.policies import (
    MID_GREY,
    fold_in,
    project,
    rand_augment,
    rotations,
    trivial_augment,
)


class Keys(NamedTuple):
    """What a batch's randomness may depend on.

    Attributes:
        batch: int32 [2], stateless seed of this batch, a function of run seed and step.
        run: int32 [2], stateless seed of the run.
        examples: int64 [batch], which example each picture is.
        epoch: int64 scalar.
    """

    batch: tf.Tensor
    run: tf.Tensor
    examples: tf.Tensor
    epoch: tf.Tensor


Augmentation = Callable[[tf.Tensor, tf.Tensor, Keys], tuple[tf.Tensor, tf.Tensor]]
"""(images, labels, keys) -> (images, labels), see `build_augmentation`."""


class Grid(NamedTuple):
    """Pixel (y, x) of picture b is read from (rows[b, y], columns[b, x]) of the original.

    Crops and flips move whole rows and columns; on a grid they are sums of small vectors, and one
    gather reads all of them at once.

    Attributes:
        rows: int32 [batch, height]; what lies outside [0, height) is padding.
        columns: int32 [batch, width].
    """

    rows: tf.Tensor
    columns: tf.Tensor


def build_augmentation(config: AugmentConfig) -> Augmentation:
    """Compose the operations that `config` switches on.

    Returns:
        A function from images (uint8 [batch, height, width, 3]), labels (float32 [batch,
        classes]) and keys to images (uint8, or float32 in [0, 255] where photometric operations
        or mixup are on) and labels of the same shapes.
    """

    def augment(images: tf.Tensor, labels: tf.Tensor, keys: Keys) -> tuple[tf.Tensor, tf.Tensor]:
        steps = _picture_steps(config, keys)
        # An operation's seed is its place in the list, not its rank among those that are on:
        # switching one off leaves the draws of the others as they were.
        for number, (is_on, step) in enumerate(steps):
            if is_on:
                images = step(images, fold_in(keys.batch, number))
        return _mix(images, labels, fold_in(keys.batch, len(steps)), config)

    return augment


def _picture_steps(
    config: AugmentConfig, keys: Keys
) -> list[tuple[bool, Callable[[tf.Tensor, tf.Tensor], tf.Tensor]]]:
    """List (is it on, operation) in the order in which the operations apply.

    The order is semantics. What resamples comes first, on the original pixels; then crop and
    flip; then the policy, which wants uint8; then the photometric operations, the first to need
    float32. Cutout and erasing follow, because a patch must stay mid grey or noise. Mixing (see
    `build_augmentation`) comes last: it mixes finished pictures.
    """
    trivial, randomized = (config.policy == name for name in ("trivialaugment", "randaugment"))
    layers, magnitude = config.randaugment_layers, config.randaugment_magnitude
    padding, mode = config.crop_padding, config.crop_mode
    return [
        (
            config.resized_crop_area > 0,
            partial(random_resized_crop, min_area=config.resized_crop_area),
        ),
        (config.rotation > 0, partial(random_rotation, degrees=config.rotation, mode=mode)),
        (
            padding > 0 or config.flip != "none",
            partial(crop_and_flip, keys=keys, padding=padding, mode=mode, flip=config.flip),
        ),
        (trivial, trivial_augment),
        (randomized, partial(rand_augment, layers=layers, magnitude=magnitude)),
        (config.brightness > 0, partial(random_brightness, strength=config.brightness)),
        (config.contrast > 0, partial(random_contrast, strength=config.contrast)),
        (config.saturation > 0, partial(random_saturation, strength=config.saturation)),
        (config.hue > 0, partial(random_hue, strength=config.hue)),
        (config.cutout > 0, partial(cutout, side=config.cutout)),
        (config.erasing > 0, partial(random_erasing, probability=config.erasing)),
    ]


def crop_and_flip(
    images: tf.Tensor, seed: tf.Tensor, *, keys: Keys, padding: int, mode: str, flip: str
) -> tf.Tensor:
    """Pad, crop to the original size and flip, all in one gather.

    Args:
        images: [batch, height, width, 3].
        seed: int32 [2].
        keys: for the alternating flip.
        padding: pixels on each side.
        mode: reflect or zero.
        flip: none, horizontal, vertical, both or alternating.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    grid = Grid(
        tf.broadcast_to(tf.range(height), [batch, height]),
        tf.broadcast_to(tf.range(width), [batch, width]),
    )
    # A grid leads from the result back to the original, so what is written first happens last.
    if flip in ("horizontal", "both"):
        grid = grid._replace(columns=_mirror(grid.columns, _coins(fold_in(seed, 0), batch)))
    if flip in ("vertical", "both"):
        grid = grid._replace(rows=_mirror(grid.rows, _coins(fold_in(seed, 1), batch)))
    if flip == "alternating":
        grid = grid._replace(columns=_mirror(grid.columns, alternating_coins(keys)))
    if padding > 0:
        grid = random_crop(grid, fold_in(seed, 2), padding=padding)
    return read(images, grid, mode=mode)


def random_crop(grid: Grid, seed: tf.Tensor, *, padding: int) -> Grid:
    """Shift by up to `padding` pixels, uniformly along each axis: a crop of the padded picture."""
    batch = tf.shape(grid.rows)[0]
    offsets = tf.random.stateless_uniform([2, batch, 1], seed, -padding, padding + 1, tf.int32)
    return Grid(grid.rows + offsets[0], grid.columns + offsets[1])


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


def _coins(seed: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    return tf.random.stateless_uniform([count], seed) < 0.5


def _mirror(places: tf.Tensor, chosen: tf.Tensor) -> tf.Tensor:
    """Reverse the direction of the `chosen` pictures (bool [batch]) along one axis of a grid."""
    return tf.where(chosen[:, None], tf.shape(places)[1] - 1 - places, places)


def read(images: tf.Tensor, grid: Grid, *, mode: str) -> tf.Tensor:
    """Read `images` at `grid`; beyond the border lie zeros or (reflect) the mirror image.

    Reflect leaves out the border's own pixels, as `np.pad` does. Keeps the dtype.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    pixels = tf.reshape(images, [-1, 3])
    rows, columns = grid
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


def resized_crop_boxes(
    seed: tf.Tensor, height: tf.Tensor, width: tf.Tensor, min_area: float, count: int | tf.Tensor
) -> tf.Tensor:
    """Draw boxes of whole pixels: area uniform in [min_area, 1], aspect in [3/4, 4/3].

    Source: Szegedy et al. 2014, "Going Deeper with Convolutions", section 6; log-uniform aspect
    and ten attempts as in torchvision's RandomResizedCrop. Where none fits, the whole picture.

    Args:
        seed: int32 [2].
        height: scalar, in pixels.
        width: scalar, in pixels.
        min_area: share of the picture's area.
        count: number of boxes.

    Returns:
        float32 [count, 4], (y1, x1, y2, x2) as shares of height and width.
    """
    size = tf.stack([tf.cast(height, tf.float32), tf.cast(width, tf.float32)])
    boxes = _random_boxes(seed, size, area=(min_area, 1.0), aspect=(3 / 4, 4 / 3), count=count)
    return boxes / tf.tile(size, [2])


def _random_boxes(
    seed: tf.Tensor,
    size: tf.Tensor,
    *,
    area: tuple[float, float],
    aspect: tuple[float, float],
    count: int | tf.Tensor,
) -> tf.Tensor:
    """Draw boxes of whole pixels, uniform in place, that lie inside a picture of `size`.

    Area (a share) is uniform, aspect (width by height) log-uniform; the first of ten attempts
    that fits counts, else the whole picture. Returns float32 [count, 4], (y1, x1, y2, x2).
    """
    attempts = 10
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


def random_resized_crop(images: tf.Tensor, seed: tf.Tensor, *, min_area: float) -> tf.Tensor:
    """Enlarge a box of each picture (`resized_crop_boxes`) to the full size, bilinearly. uint8."""
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    top, left, bottom, right = tf.unstack(
        resized_crop_boxes(seed, height, width, min_area, batch), axis=1
    )
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
    angles = tf.random.stateless_uniform([shape[0]], seed, -degrees, degrees)
    fill_mode = {"zero": "CONSTANT", "reflect": "REFLECT"}[mode]
    matrices = rotations(angles, shape)
    return project(images, matrices, interpolation="BILINEAR", fill_mode=fill_mode)


def random_brightness(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Blend with black, as torchvision's ColorJitter: float32 in [0, 255]."""
    return _blend(0.0, images, seed, strength)


def random_contrast(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Blend with the picture's mean grey, as torchvision's ColorJitter: float32 in [0, 255]."""
    mean = tf.reduce_mean(_grey(images), axis=(1, 2), keepdims=True)
    return _blend(mean, images, seed, strength)


def random_saturation(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Blend with the grey picture, as torchvision's ColorJitter: float32 in [0, 255]."""
    return _blend(_grey(images), images, seed, strength)


def random_hue(images: tf.Tensor, seed: tf.Tensor, *, strength: float) -> tf.Tensor:
    """Turn the hue by a share of the circle, uniform in +- `strength`: float32 in [0, 255]."""
    shifts = tf.random.stateless_uniform([tf.shape(images)[0], 1, 1], seed, -strength, strength)
    hue, saturation, value = tf.unstack(
        tf.image.rgb_to_hsv(tf.cast(images, tf.float32) / 255.0), axis=-1
    )
    turned = tf.stack([(hue + shifts) % 1.0, saturation, value], axis=-1)
    return tf.clip_by_value(tf.image.hsv_to_rgb(turned) * 255.0, 0.0, 255.0)


def _blend(
    start: tf.Tensor | float, images: tf.Tensor, seed: tf.Tensor, strength: float
) -> tf.Tensor:
    """Compute start + factor (images - start), clipped, factor uniform in 1 +- `strength`."""
    shape = [tf.shape(images)[0], 1, 1, 1]
    factor = tf.random.stateless_uniform(shape, seed, 1 - strength, 1 + strength)
    return tf.clip_by_value(start + factor * (tf.cast(images, tf.float32) - start), 0.0, 255.0)


def _grey(images: tf.Tensor) -> tf.Tensor:
    """Luma of ITU-R 601: float32 [batch, height, width, 1]."""
    weights = tf.constant([0.299, 0.587, 0.114])
    return tf.reduce_sum(tf.cast(images, tf.float32) * weights, axis=-1, keepdims=True)


def cutout(images: tf.Tensor, seed: tf.Tensor, *, side: int) -> tf.Tensor:
    """Fill with mid grey a square centred anywhere, clipped at the border. Keeps the dtype.

    Source: DeVries & Taylor 2017, "Improved Regularization of Convolutional Neural Networks with
    Cutout", section 3. They fill normalised pictures with 0, which is the mean: so mid grey here.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    size = tf.stack([height, width])[:, None, None]
    centre = tf.random.stateless_uniform([2, batch, 1], seed, maxval=2**31 - 1, dtype=tf.int32)
    # Clamping pixels that lie outside puts them on the square's own edge: they are clipped. A
    # scatter of these few pixels takes a quarter of the time of a mask over the batch.
    rows, columns = tf.unstack(
        tf.clip_by_value(centre % size - side // 2 + tf.range(side), 0, size - 1)
    )
    first = tf.range(batch)[:, None] * height
    places = ((first + rows) * width)[:, :, None] + columns[:, None, :]
    grey = tf.fill([batch * side * side, 3], tf.cast(MID_GREY, images.dtype))
    filled = tf.tensor_scatter_nd_update(
        tf.reshape(images, [-1, 3]), tf.reshape(places, [-1, 1]), grey
    )
    return tf.ensure_shape(tf.reshape(filled, tf.shape(images)), images.shape)


def random_erasing(images: tf.Tensor, seed: tf.Tensor, *, probability: float) -> tf.Tensor:
    """Fill with noise, uniform in [0, 255], a rectangle of 2-33 % area. Keeps the dtype.

    Source: Zhong et al. 2017, "Random Erasing Data Augmentation", section 3 and table 2: aspect
    in [0.3, 1 / 0.3] (log-uniform, as in torchvision), random values, the best of their fills.
    """
    shape = tf.shape(images)
    boxes = _random_boxes(
        fold_in(seed, 0), tf.cast(shape[1:3], tf.float32),
        area=(0.02, 0.33), aspect=(0.3, 1 / 0.3), count=shape[0],
    )  # fmt: skip
    chosen = tf.random.stateless_uniform([shape[0]], fold_in(seed, 1)) < probability
    bits = tf.random.stateless_uniform(shape[:3], fold_in(seed, 2), None, None, tf.uint32)
    noise = tf.cast(tf.bitcast(bits, tf.uint8)[..., :3], images.dtype)
    return tf.where(chosen[:, None, None, None] & _inside(boxes, shape), noise, images)


def _inside(boxes: tf.Tensor, shape: tf.Tensor) -> tf.Tensor:
    """Mark the pixels of `boxes` (y1, x1, y2, x2, whole numbers): bool [batch, h, w, 1]."""
    top, left, bottom, right = tf.unstack(boxes[:, :, None], axis=1)
    y, x = (tf.cast(tf.range(shape[axis]), boxes.dtype) for axis in (1, 2))
    rows, columns = (y >= top) & (y < bottom), (x >= left) & (x < right)
    return rows[:, :, None, None] & columns[:, None, :, None]


def mixup(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each picture and label with the one before: share x_i + (1 - share) x_(i-1).

    Shares follow Beta(alpha, alpha), one an example, which varies more within a batch than the
    one a batch of the authors' code. A shuffled batch makes its neighbour a random partner.
    Source: Zhang et al. 2018, "mixup: Beyond Empirical Risk Minimization", equation 1.

    Returns:
        Images as float32 in [0, 255], and labels.
    """
    share = _beta(seed, alpha, tf.shape(images)[0])
    pixels, wide = tf.cast(images, tf.float32), share[:, None, None, None]
    return wide * pixels + (1 - wide) * tf.roll(pixels, 1, axis=0), _mix_labels(labels, share)


def cutmix(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Paste into each picture a box of the one before; mix labels by the exact area.

    The box has a share 1 - Beta(alpha, alpha) of the area (one an example), the picture's own
    aspect and a uniform centre; the border clips it. Only whole pixels move, so the dtype stays.
    Source: Yun et al. 2019, "CutMix", section 3.1, equation 2.
    """
    shape = tf.shape(images)
    size = tf.cast(shape[1:3], tf.float32)
    sides = tf.round(size * tf.sqrt(1 - _beta(fold_in(seed, 0), alpha, shape[0]))[:, None])
    centre = size * tf.random.stateless_uniform([shape[0], 2], fold_in(seed, 1))
    corner = tf.floor(centre) - tf.floor(sides / 2)
    start, end = tf.maximum(corner, 0.0), tf.minimum(corner + sides, size)
    pasted = tf.reduce_prod(end - start, axis=1) / tf.reduce_prod(size)
    inside = _inside(tf.concat([start, end], axis=1), shape)
    return tf.where(inside, tf.roll(images, 1, axis=0), images), _mix_labels(labels, 1 - pasted)


def _mix_labels(labels: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return share[:, None] * labels + (1 - share)[:, None] * tf.roll(labels, 1, axis=0)


def _beta(seed: tf.Tensor, alpha: float, count: tf.Tensor) -> tf.Tensor:
    """Draw from Beta(alpha, alpha): float32 [count].

    G1 / (G1 + G2) of two Gamma(alpha), in logarithms, because Gamma of a small alpha underflows
    to 0 / 0; log Gamma(alpha) = log Gamma(alpha + 1) + log(uniform) / alpha (Marsaglia & Tsang
    2000, section 6).
    """
    gamma = tf.random.stateless_gamma([2, count], fold_in(seed, 0), alpha + 1)
    uniform = 1 - tf.random.stateless_uniform([2, count], fold_in(seed, 1))
    logarithm = tf.math.log(gamma) + tf.math.log(uniform) / alpha
    return tf.sigmoid(logarithm[0] - logarithm[1])


def _mix(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, config: AugmentConfig
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply mixup or CutMix; where both are on, a fair coin an example chooses."""
    if not config.cutmix and not config.mixup:
        return images, labels
    if not config.cutmix:
        return mixup(images, labels, seed, alpha=config.mixup)
    cut = cutmix(images, labels, seed, alpha=config.cutmix)
    if not config.mixup:
        return cut
    blended = mixup(images, labels, fold_in(seed, 0), alpha=config.mixup)
    chosen = _coins(fold_in(seed, 1), tf.shape(images)[0])
    pixels = tf.where(chosen[:, None, None, None], blended[0], tf.cast(cut[0], tf.float32))
    return pixels, tf.where(chosen[:, None], blended[1], cut[1])
