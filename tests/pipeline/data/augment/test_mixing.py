"""Mixup and CutMix: shares, boxes, and labels that agree with the pixels."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from pipeline.config.settings import AugmentConfig
from pipeline.data.augment.mixing import cutmix, mixup
from tests.pipeline.data.augment.samples import SEED, augmented, four_sigma, sample_images


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 3.0])
def test_shares_of_mixup_follow_the_beta_distribution(alpha):
    images = np.zeros([4000, 1, 1, 3], np.uint8)
    images[::2] = 255
    labels = tf.one_hot(tf.range(4000) % 2, 2)
    mixed, targets = mixup(tf.constant(images), labels, SEED, alpha=alpha)
    shares = np.where(np.arange(4000) % 2, 255 - mixed[:, 0, 0, 0], mixed[:, 0, 0, 0]) / 255
    # float32 has eps 6e-8 at 1, and some shares of a small alpha round to 0 or 1.
    exact = stats.beta(alpha, alpha)
    thresholds = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    below = (shares[:, None] < thresholds).sum(axis=0)
    expected = 4000 * exact.cdf(thresholds)
    assert (np.abs(below - expected) <= four_sigma(4000, exact.cdf(thresholds))).all()
    np.testing.assert_allclose(targets[:, 0], mixed[:, 0, 0, 0] / 255, atol=1e-6)


def test_mixup_blends_images_as_it_blends_labels():
    images, labels = sample_images(32), np.eye(32, dtype=np.float32)
    mixed, targets = mixup(tf.constant(images), labels, SEED, alpha=0.7)
    assert mixed.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
    # With one class an image, row i of the labels is the weight of every image in image i.
    expected = np.tensordot(targets.numpy(), images.astype(np.float32), 1)
    np.testing.assert_allclose(mixed, expected, atol=1e-3)  # float32 sums of values up to 255


def test_cutmix_labels_are_the_exact_area():
    count = 500
    images = np.broadcast_to(np.arange(count)[:, None, None, None] % 256, [count, 9, 7, 3])
    labels = np.eye(count, dtype=np.float32)
    mixed, targets = cutmix(tf.constant(images, tf.uint8), labels, SEED, alpha=1.0)
    own = (mixed.numpy() == images).all(axis=-1)
    partner = (mixed.numpy() == np.roll(images, 1, axis=0)).all(axis=-1)
    assert (own ^ partner).all()
    np.testing.assert_allclose(np.diag(targets), own.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
    for mask in partner:  # one rectangle
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        assert (np.abs(np.diff(rows.astype(int))).sum() <= 2) & (rows.sum() <= 9)
    assert len({mask.tobytes() for mask in partner}) > 200


def test_cutmix_boxes_have_the_area_and_place_of_the_paper():
    size, count = 101, 4500
    images = np.zeros([count, size, size, 1], np.uint8)
    images[::2] = 1
    labels = tf.one_hot(tf.range(count) % 2, 2)
    mixed, _ = cutmix(tf.constant(images), labels, SEED, alpha=1.0)
    pasted = (mixed.numpy() != images)[..., 0]
    # Expected share of pixel p: P(box covers p), by Monte Carlo of section 3.1's definition.
    rng = np.random.default_rng(0)
    side = size * np.sqrt(1 - rng.random(200_000))
    centre = rng.uniform(0, size, [2, 200_000])
    for y, x in ((50, 50), (0, 0), (50, 3)):
        place = np.array([[y + 0.5], [x + 0.5]])
        share = (np.abs(centre - place) < side / 2).all(axis=0).mean()
        # Whole pixels shift an edge by up to half a pixel: 0.5 / 101 of the centres.
        rounding = 0.005 * count
        assert abs(pasted[:, y, x].sum() - count * share) < four_sigma(count, share) + rounding


def test_mixup_and_cutmix_share_the_batch():
    images = np.full([400, 6, 6, 3], 200, np.uint8)
    images[::2] = 100
    mixed = augmented(AugmentConfig(mixup=1.0, cutmix=1.0), images)
    blended = ((mixed > 100.01) & (mixed < 199.99)).all(axis=(1, 2, 3))
    assert mixed.dtype == np.float32
    assert abs(blended.sum() - 200) < four_sigma(400, 0.5)
