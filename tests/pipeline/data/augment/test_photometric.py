"""Photometric jitter against the definition of torchvision's ColorJitter."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from pipeline.data.augment.photometric import (
    random_brightness,
    random_contrast,
    random_hue,
    random_saturation,
)
from tests.pipeline.data.augment.samples import SEED, sample_images


def grey(images: np.ndarray) -> np.ndarray:
    return images @ np.array([[0.299], [0.587], [0.114]])


@pytest.mark.parametrize(
    ("operation", "start"),
    [
        (random_brightness, lambda images: np.zeros_like(images)),
        (random_contrast, lambda images: grey(images).mean(axis=(1, 2), keepdims=True)),
        (random_saturation, grey),
    ],
)
def test_photometric_factors_follow_colorjitter(operation, start):
    images = sample_images(500, 4, 4) * 1.0
    result = operation(tf.constant(images.astype(np.uint8)), SEED, strength=0.4)
    assert result.dtype == tf.float32
    from_start = images - start(images)
    inside = (result > 0) & (result < 255)
    factor = np.where(inside, (result - start(images)) / from_start, np.nan)
    factor[np.abs(from_start * np.ones_like(images)) < 20] = np.nan
    each = np.nanmedian(factor, axis=(1, 2, 3))
    # float32 of values up to 255 over differences of at least 20.
    np.testing.assert_allclose(factor - each[:, None, None, None], 0 * factor, atol=1e-4)
    assert stats.kstest(each, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-4
    expected = np.clip(start(images) + each[:, None, None, None] * from_start, 0, 255)
    np.testing.assert_allclose(result, expected, atol=0.01)  # 255 times the 1e-4 above, or less


def test_hue_turns_the_circle_by_one_shift_an_image():
    images = sample_images(300, 3, 3)
    result = random_hue(tf.constant(images), SEED, strength=0.2).numpy()
    assert result.dtype == np.float32
    before, after = (
        np.apply_along_axis(lambda rgb: colorsys.rgb_to_hsv(*rgb), -1, each / 255.0)
        for each in (images, result)
    )
    # A level of float32 in 255 is 1e-7 of the range; a hue divides by the chroma, so 20 levels.
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-4)
    vivid = before[..., 1] * before[..., 2] > 20 / 255
    turns = np.where(vivid, (after[..., 0] - before[..., 0] + 0.5) % 1 - 0.5, np.nan)
    shift = np.nanmedian(turns, axis=(1, 2))
    np.testing.assert_allclose(turns - shift[:, None, None], 0 * turns, atol=1e-4)
    assert stats.kstest(shift, stats.uniform(-0.2, 0.4).cdf).pvalue > 1e-4
