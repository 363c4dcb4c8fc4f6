"""Mixing images and their labels: mixup and CutMix."""

from collections.abc import Sequence

import tensorflow as tf

from pipeline.data.augment.boxes import inside
from pipeline.data.augment.keys import draw, fair_coins, fold_in


def mix(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, mixup_alpha: float, cutmix_alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Apply what is on, alpha above 0; where both are, a fair coin an example chooses one."""
    mixup_seed, cutmix_seed, coin_seed = (fold_in(seed, number) for number in range(3))
    blended, cut = (images, labels), (images, labels)
    if mixup_alpha > 0:
        blended = mixup(images, labels, mixup_seed, alpha=mixup_alpha)
    if cutmix_alpha > 0:
        cut = cutmix(images, labels, cutmix_seed, alpha=cutmix_alpha)
    if mixup_alpha > 0 and cutmix_alpha > 0:
        chosen = fair_coins(coin_seed, tf.shape(images)[0])
        pixels = tf.where(chosen[:, None, None, None], blended[0], tf.cast(cut[0], tf.float32))
        return pixels, tf.where(chosen[:, None], blended[1], cut[1])
    return blended if mixup_alpha > 0 else cut


def mixup(
    images: tf.Tensor, labels: tf.Tensor, seed: tf.Tensor, *, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Blend each image and label with the one before: share x_i + (1 - share) x_(i-1).

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
    """Paste into each image a box of the one before; mix labels by the exact area.

    The box has a share 1 - Beta(alpha, alpha) of the area (one an example), the image's own
    aspect and a uniform centre; the border clips it. Only whole pixels move, so the dtype stays.
    Source: Yun et al. 2019, "CutMix", section 3.1, equation 2.
    """
    shape = tf.shape(images)
    size = tf.cast(shape[1:3], tf.float32)
    sides = tf.round(size * tf.sqrt(1 - _beta(fold_in(seed, 0), alpha, shape[0]))[:, None])
    centre = size * draw(tf.random.stateless_uniform, [shape[0], 2], fold_in(seed, 1))
    corner = tf.floor(centre) - tf.floor(sides / 2)
    start, end = tf.maximum(corner, 0.0), tf.minimum(corner + sides, size)
    pasted = tf.reduce_prod(end - start, axis=1) / tf.reduce_prod(size)
    box = inside(tf.concat([start, end], axis=1), shape)
    return tf.where(box, tf.roll(images, 1, axis=0), images), _mix_labels(labels, 1 - pasted)


def _mix_labels(labels: tf.Tensor, share: tf.Tensor) -> tf.Tensor:
    return share[:, None] * labels + (1 - share)[:, None] * tf.roll(labels, 1, axis=0)


def _beta(seed: tf.Tensor, alpha: float, count: tf.Tensor) -> tf.Tensor:
    """Draw from Beta(alpha, alpha): float32 [count].

    G1 / (G1 + G2) of two Gamma(alpha), in logarithms, because Gamma of a small alpha underflows
    to 0 / 0; log Gamma(alpha) = log Gamma(alpha + 1) + log(uniform) / alpha (Marsaglia & Tsang
    2000, section 6).
    """
    # The logarithm's and the sigmoid's last bit depends on the place in the array: so all of a batch at once.
    return draw(_sample_beta, [count], seed, alpha)


def _sample_beta(shape: Sequence[int | tf.Tensor], seed: tf.Tensor, alpha: float) -> tf.Tensor:
    gamma = tf.random.stateless_gamma([2, *shape], fold_in(seed, 0), alpha + 1)
    uniform = 1 - tf.random.stateless_uniform([2, *shape], fold_in(seed, 1))
    logarithm = tf.math.log(gamma) + tf.math.log(uniform) / alpha
    return tf.sigmoid(logarithm[0] - logarithm[1])
