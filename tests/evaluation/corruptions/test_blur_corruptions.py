"""Blurs against explicit sums, hand-worked kernels and what they make of a single pixel."""

import math

import numpy as np
import pytest
from scipy import ndimage, stats

from evaluation.corruptions.blur import (
    blur_along_line,
    defocus_blur,
    disk,
    enlarge,
    glass_blur,
    motion_blur,
    zoom_blur,
)
from tests.evaluation.corruptions.samples import impulse, smooth_images

EXACT = 1e-12
"""Sums of a few hundred products of float64 in [0, 1]."""


def correlate(image: np.ndarray, kernel: np.ndarray, mode: str) -> np.ndarray:
    """Sum kernel[i, j] image[y + i - reach, x + j - reach], term by term."""
    reach, (height, width) = len(kernel) // 2, image.shape[:2]
    padded = np.pad(image, [(reach, reach), (reach, reach), (0, 0)], mode=mode)
    return sum(
        kernel[i, j] * padded[i : i + height, j : j + width]
        for i in range(len(kernel))
        for j in range(len(kernel))
    )


def gaussian(deviation: float, reach: int) -> np.ndarray:
    weights = [math.exp(-(i**2) / (2 * deviation**2)) for i in range(-reach, reach + 1)]
    return np.outer(weights, weights) / sum(weights) ** 2


@pytest.mark.parametrize(
    ("radius", "deviation", "core"),
    [
        # Only the centre is within such radii: what is left is the Gaussian, cut off at 1 pixel.
        (0.3, 0.4, gaussian(0.4, 1)),
        (0.4, 0.5, gaussian(0.5, 1)),
        (0.5, 0.6, gaussian(0.6, 1)),
        # exp(-1 / (2 0.1^2)) is 2e-22: a Gaussian that does nothing.
        (1, 0.1, np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5),
        (1.5, 0.1, np.ones((3, 3)) / 9),
    ],
)
def test_disk_is_that_of_a_hand_worked_kernel(radius, deviation, core):
    kernel = disk(radius, deviation, 1.0)
    margin = (len(kernel) - 3) // 2
    np.testing.assert_allclose(kernel, np.pad(core, margin), rtol=0, atol=EXACT)


@pytest.mark.parametrize("scale", [0.25, 1.0, 2.0, 7.0])
@pytest.mark.parametrize(("radius", "deviation"), [(0.4, 0.5), (1.0, 0.2), (1.5, 0.1)])
def test_disk_sums_to_one_and_is_symmetric(radius, deviation, scale):
    kernel = disk(radius, deviation, scale)
    assert kernel.sum() == pytest.approx(1, abs=EXACT)
    for turned in (kernel.T, kernel[::-1], kernel[:, ::-1]):
        np.testing.assert_allclose(kernel, turned, rtol=0, atol=EXACT)


def test_disk_of_an_image_twice_as_large_has_its_gaussian_twice_as_wide():
    kernel = disk(0.4, 0.5, 2.0)  # a radius of 0.8 pixels: the centre only
    margin = (len(kernel) - 5) // 2
    np.testing.assert_allclose(kernel, np.pad(gaussian(1.0, 2), margin), rtol=0, atol=EXACT)


def test_disk_of_a_large_image_has_the_area_of_its_circle():
    kernel = disk(1.5, 0.1, 7.0)
    # Of uniform weight 1 / area inside; the count of pixels is off by less than the rim's share.
    assert 1 / kernel[len(kernel) // 2, len(kernel) // 2] == pytest.approx(math.pi * 10.5**2, rel=0.03)


def test_defocus_makes_a_disk_of_a_pixel():
    blurred = defocus_blur(impulse(64), None, radius=3, deviation=0.01)[:, :, 0]
    distance = np.hypot(*(np.indices((64, 64)) - 32))
    lit = distance <= 6  # twice 3, in an image of 64
    np.testing.assert_allclose(blurred, lit / lit.sum(), rtol=0, atol=EXACT)


def test_defocus_is_the_explicit_sum_with_mirrored_edges():
    image = smooth_images(1, 32, 40)[0] / 255
    cross = np.array([[0, 1, 0], [1, 1, 1], [0, 1, 0]]) / 5
    blurred = defocus_blur(image, None, radius=1, deviation=0.1)
    np.testing.assert_allclose(blurred, correlate(image, cross, "reflect"), rtol=0, atol=EXACT)


@pytest.mark.parametrize(
    ("deviation", "side", "reach"),
    # scikit-image cuts off at 4 deviations, rounded to the nearest pixel.
    [(0.25, 32, 1), (0.4, 32, 2), (0.4, 64, 3)],
)
def test_glass_blurs_twice_with_a_gaussian(deviation, side, reach):
    image = smooth_images(1, side, side)[0] / 255
    kernel = gaussian(deviation * side / 32, reach)
    expected = correlate(correlate(image, kernel, "edge"), kernel, "edge")
    blurred = glass_blur(image, np.random.default_rng(1), deviation, reach=1, rounds=0)
    np.testing.assert_allclose(blurred, expected, rtol=0, atol=EXACT)


@pytest.mark.parametrize(("side", "reach"), [(8, 1), (32, 1), (64, 2)])
def test_glass_takes_each_pixel_from_a_uniform_draw_of_neighbours(side, reach):
    names = np.arange(side * side, dtype=float).reshape(side, side, 1).repeat(3, axis=2)
    moved, taken = [], np.zeros((2 * reach, 2 * reach))
    for seed in range(200 if side == 8 else 20):
        glass = glass_blur(names, np.random.default_rng(seed), 0, reach=1, rounds=1)
        np.testing.assert_array_equal(glass[:, :, 0], glass[:, :, 2])
        source = np.divmod(glass[:, :, 0].astype(int), side)
        down, right = source - np.indices((side, side))
        moved.append((down != 0) | (right != 0))
        inner = (slice(reach + 1, side - reach + 1),) * 2
        np.add.at(taken, (down[inner] + reach, right[inner] + reach), 1)
    assert stats.chisquare(taken.ravel()).pvalue > 1e-3
    rim = np.ones((side, side), bool)
    rim[inner] = False
    np.testing.assert_array_equal(np.any(moved, axis=0), ~rim)


def test_glass_of_one_pixel_is_the_authors_loop():
    """Copying all at once is copying one after the other, from the last pixel to the first."""
    names = np.arange(1024.0).reshape(32, 32, 1).repeat(3, axis=2)
    offsets = np.random.default_rng(5).integers(-1, 1, (2, 30, 30))
    expected = names.copy()
    for row in range(31, 1, -1):
        for column in range(31, 1, -1):
            down, right = offsets[:, row - 2, column - 2]
            expected[row, column] = expected[row + down, column + right]
    glass = glass_blur(names, np.random.default_rng(5), 0, reach=1, rounds=1)
    np.testing.assert_array_equal(glass, expected)


def test_glass_moves_further_with_every_round():
    names = np.arange(1024.0).reshape(32, 32, 1).repeat(3, axis=2)
    glass = glass_blur(names, np.random.default_rng(5), 0, reach=1, rounds=2)
    down = np.arange(32)[:, None] - glass[:, :, 0].astype(int) // 32
    assert set(np.unique(down)) == {0, 1, 2}


@pytest.mark.parametrize(("angle", "down", "right"), [(0, 0, 1), (-45, -1, 1), (90, 1, 0)])
def test_motion_spreads_half_a_gaussian_along_the_line(angle, down, right):
    blurred = blur_along_line(impulse(33), 3, 1.5, math.radians(angle))[:, :, 0]
    # On the diagonal, i / sqrt(2) rounded: 0 1 1 2 3 4 4.
    places = [0, 1, 1, 2, 3, 4, 4] if down * right else range(7)
    expected = np.zeros((33, 33))
    for i, place in enumerate(places):
        # A pixel that reads `place` to the right is that far to the left of what it reads.
        expected[16 - place * down, 16 - place * right] += math.exp(-(i**2) / (2 * 1.5**2))
    np.testing.assert_allclose(blurred, expected / expected.sum(), rtol=0, atol=EXACT)


@pytest.mark.parametrize("degrees", [-120, -45, -17, 8, 31, 45])
def test_motion_is_a_line_at_its_angle(degrees):
    blurred = blur_along_line(impulse(65), 10.4, 6, math.radians(degrees))[:, :, 0]
    assert blurred.sum() == pytest.approx(1, abs=EXACT)
    rows, columns = np.nonzero(blurred)
    right, down = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    along = -((columns - 32) * right + (rows - 32) * down)
    across = (columns - 32) * down - (rows - 32) * right
    # A pixel is the nearest to a point of the line: at most half a pixel off along each axis.
    assert np.abs(across).max() <= math.sqrt(0.5)
    assert along.min() >= -math.sqrt(0.5)
    assert along.max() == pytest.approx(2 * math.ceil(10.4), abs=math.sqrt(0.5))


def test_motion_repeats_the_edge():
    image = np.zeros((1, 10, 3))
    image[:, -1] = 1
    blurred = blur_along_line(image, 2, 1, 0.0)[0, :, 0]
    weights = np.exp(-(np.arange(5) ** 2) / 2)
    # Column 9 - i reads the last column and all that lies beyond it from tap i on.
    expected = np.zeros(10)
    expected[5:] = (np.cumsum(weights[::-1]) / weights.sum())[:5]
    np.testing.assert_allclose(blurred, expected, rtol=0, atol=EXACT)


def test_motion_angles_are_uniform_within_45_degrees():
    angles = []
    for seed in range(300):
        blurred = motion_blur(impulse(65), np.random.default_rng(seed), 6, 100)[:, :, 0]
        rows, columns = np.nonzero(blurred)
        far = np.argmax(np.hypot(rows - 32, columns - 32))
        angles.append(math.degrees(math.atan2(32 - rows[far], 32 - columns[far])))
    # Read off the last pixel of the line, 26 away, so to about 2 degrees.
    assert stats.kstest(angles, stats.uniform(-45, 90).cdf).pvalue > 1e-3
    assert max(np.abs(angles)) <= 45 + 2


@pytest.mark.parametrize(("side", "taps"), [(8, 5), (32, 13), (64, 25)])
def test_motion_is_as_long_a_share_of_every_image(side, taps):
    line = np.zeros((side, side, 3))
    line[:, -1] = 1  # lit columns tell the reach to the right, whatever the angle
    reached = []
    for seed in range(100):
        blurred = motion_blur(line, np.random.default_rng(seed), 6, 100)
        reached.append(np.count_nonzero(blurred[side // 2, :, 0]))
    # The flattest of 100 angles is within a degree: its last tap is taps - 1 to the right.
    assert max(reached) == taps


def zoomed_by_scipy(image: np.ndarray, factor: float) -> np.ndarray:
    height, width = image.shape[:2]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    large = ndimage.zoom(image[top : top + rows, left : left + columns], (factor, factor, 1), order=1)
    top, left = (large.shape[0] - height) // 2, (large.shape[1] - width) // 2
    return large[top : top + height, left : left + width]


@pytest.mark.parametrize("factor", [1.0, 1.01, 1.13, 1.26, 1.75, 2.25, 7.0])
def test_enlarging_is_that_of_scipy(factor):
    image = smooth_images(1, 48, 32)[0] / 255
    enlarged = enlarge(image.transpose(2, 0, 1), factor).transpose(1, 2, 0)
    np.testing.assert_allclose(enlarged, zoomed_by_scipy(image, factor), rtol=0, atol=1e-9)


@pytest.mark.parametrize(("limit", "count"), [(1.06, 7), (1.16, 16)])
def test_zoom_is_the_mean_over_enlargements_and_the_image(limit, count):
    image = smooth_images(1, 32, 32)[0] / 255
    # By the authors' arange, whose end is rounded: 1.06 is in the one, 1.16 not in the other.
    factors = [1 + 0.01 * i for i in range(count)]
    frames = [image, *(zoomed_by_scipy(image, factor) for factor in factors)]
    blurred = zoom_blur(image, None, limit)
    np.testing.assert_allclose(blurred, np.mean(frames, axis=0), rtol=0, atol=1e-9)
