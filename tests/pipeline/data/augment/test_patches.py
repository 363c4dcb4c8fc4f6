"""Cutout and random erasing: the shape, place and content of what they hide."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from pipeline.data.augment.patches import cutout, random_erasing
from tests.pipeline.data.augment.samples import SEED, four_sigma


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_cutout_fills_a_clipped_square_at_a_uniform_centre(side):
    images = np.full([3000, 6, 8, 3], 9, np.uint8)
    result = cutout(tf.constant(images), SEED, side=side).numpy()
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= {9, 128}
    expected = {}
    for y in range(6):
        for x in range(8):
            mask = np.zeros([6, 8], bool)
            top, left = y - side // 2, x - side // 2
            mask[max(top, 0) : top + side, max(left, 0) : left + side] = True
            expected[mask.tobytes()] = expected.get(mask.tobytes(), 0) + 1 / 48
    found = [mask.tobytes() for mask in (result == 128).all(axis=-1)]
    assert set(found) == set(expected)
    for mask, share in expected.items():
        assert abs(found.count(mask) - 3000 * share) <= four_sigma(3000, share) + 1e-6  # rounding


def test_erasing_fills_rectangles_of_noise():
    count, size = 2000, 40
    images = np.zeros([count, size, size, 3], np.uint8)
    result = random_erasing(tf.constant(images), SEED, probability=0.4).numpy()
    assert result.dtype == np.uint8
    erased = result.any(axis=(1, 2, 3))
    assert abs(erased.sum() - count * 0.4) < four_sigma(count, 0.4)
    values = []
    for image in result[erased]:
        mask = image.any(axis=-1)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        values.append(image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel())
        assert mask.sum() >= height * width - 2  # black noise has a chance of 2e-7 a pixel
        # Each side is rounded by up to half a pixel.
        assert (height - 0.5) * (width - 0.5) <= 0.33 * size**2
        assert (height + 0.5) * (width + 0.5) >= 0.02 * size**2
        assert (width + 0.5) / (height - 0.5) >= 0.3
        assert (width - 0.5) / (height + 0.5) <= 1 / 0.3
    counts = np.bincount(np.concatenate(values), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-4
