"""Contrast, elastic transform, pixelation and JPEG against formulas and Pillow."""

import io

import numpy as np
import pytest
from PIL import Image
from scipy import stats

from evaluation.corruptions.corrupt import corrupt
from evaluation.corruptions.digital import contrast, elastic_transform
from tests.evaluation.corruptions.samples import coordinates, smooth_images


@pytest.mark.parametrize("factor", [0.75, 0.15])
def test_contrast_is_its_formula_with_the_mean_of_each_channel(factor):
    image = smooth_images(1, 48, 32)[0] / 255 * [1, 0.5, 0.2]
    expected = np.empty_like(image)
    for channel in range(3):
        mean = image[:, :, channel].sum() / (48 * 32)
        expected[:, :, channel] = (image[:, :, channel] - mean) * factor + mean
    # Sums of 1536 values of float64.
    np.testing.assert_allclose(contrast(image, None, factor), expected, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (48, 32)])
def test_elastic_without_amplitudes_is_the_identity(height, width):
    image = smooth_images(1, height, width)[0] / 255
    same = elastic_transform(image, np.random.default_rng(1), 0, 0.06, 0)
    np.testing.assert_allclose(same, image, rtol=0, atol=1e-12)


def test_shear_moves_three_corners_by_uniform_draws():
    shifts = []
    for seed in range(300):
        sheared = elastic_transform(coordinates(32), np.random.default_rng(seed), 0, 0, 0.08)
        # Away from the edges, where it mirrors, what a pixel reads is affine in its place.
        inner = np.s_[8:24, 8:24]
        places = np.column_stack([coordinates(32)[inner].reshape(-1, 3)[:, :2], np.ones(256)])
        read = sheared[inner].reshape(-1, 3)[:, :2]
        fit, *_ = np.linalg.lstsq(places, read)
        np.testing.assert_allclose(places @ fit, read, rtol=0, atol=1e-9)
        # The corners of a square a third of the side, 10 pixels, around the middle.
        corners = np.array([[26, 26], [6, 26], [6, 6]])
        moved = np.linalg.solve(fit[:2].T, (corners - fit[2]).T).T
        shifts.append(moved - corners)
    assert stats.kstest(np.ravel(shifts), stats.uniform(-2.56, 5.12).cdf).pvalue > 1e-3
    assert np.abs(shifts).max() <= 2.56 + 1e-9  # 0.08 of 32; other corners would move further


@pytest.mark.parametrize("side", [32, 128])
def test_displacements_are_smooth_noise_in_proportion_to_the_side(side):
    fields = []
    for seed in range(20):
        read = elastic_transform(coordinates(side), np.random.default_rng(seed), 0.1, 0.04, 0)
        edge = side // 4
        fields.append((read - coordinates(side))[edge:-edge, edge:-edge, :2])
    deviation = 0.04 * side
    reach = int(3 * deviation + 0.5)
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * deviation**2))
    weights /= weights.sum()
    # Uniform in +-1 has a variance of 1/3; a weighted mean has that times its squared weights.
    # A larger image shows the same displacements in shares of its side.
    expected = 0.1 * side * (side / 32) * np.sqrt(1 / 3) * np.sum(weights**2)
    # 20 x 2 fields of about 40 independent places: a standard error of 2 %.
    assert np.std(fields) == pytest.approx(expected, rel=0.1)
    down, right = np.moveaxis(np.array(fields), -1, 0)
    # 800 places: 5 standard errors of no correlation.
    assert abs(np.corrcoef(down.ravel(), right.ravel())[0, 1]) < 0.18


@pytest.mark.parametrize(("height", "width"), [(8, 8), (32, 32), (48, 32)])
@pytest.mark.parametrize(("severity", "share"), list(enumerate([0.95, 0.9, 0.85, 0.75, 0.65], start=1)))
def test_pixelate_is_pillows_box(severity, share, height, width):
    images = smooth_images(2, height, width)
    for image, corrupted in zip(images, corrupt(images, "pixelate", severity, 0), strict=True):
        small = Image.fromarray(image).resize((int(width * share), int(height * share)), 4)
        np.testing.assert_array_equal(corrupted, np.asarray(small.resize((width, height), 4)))


@pytest.mark.parametrize(("severity", "quality"), list(enumerate([80, 65, 58, 50, 40], start=1)))
def test_jpeg_is_pillows(severity, quality):
    images = smooth_images(2, 48, 32)
    corrupted = corrupt(images, "jpeg_compression", severity, 0)
    for image, stored in zip(images, corrupted, strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, "JPEG", quality=quality)
        np.testing.assert_array_equal(stored, np.asarray(Image.open(file)))
