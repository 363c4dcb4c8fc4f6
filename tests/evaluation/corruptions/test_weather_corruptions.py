"""Weather against its blending formulas, and the fractal against a plain loop."""

import colorsys
import itertools

import numpy as np
import pytest
from scipy import stats

from evaluation.corruptions import weather
from evaluation.corruptions.plasma import plasma
from evaluation.corruptions.weather import brightness, fog, frost, snow
from tests.evaluation.corruptions.samples import smooth_images

EXACT = 1e-12
"""A few operations of float64 in [0, 1]."""

NO_BLUR = {"radius": 0, "blur": 1.0}


def looped_plasma(side: int, decay: float, generator: np.random.Generator) -> np.ndarray:
    """Diamond-square on a torus, point by point; draws come row by row."""
    heights = np.zeros((side, side))
    step, size = side, 100.0 * 100.0

    def visit(row: int, column: int, neighbours: list[tuple[int, int]]) -> None:
        for y, x in itertools.product(range(row, side, step), range(column, side, step)):
            around = [heights[(y + down) % side, (x + right) % side] for down, right in neighbours]
            heights[y, x] = np.mean(around) + generator.uniform(-size, size)

    while step >= 2:
        half = step // 2
        visit(half, half, [(-half, -half), (-half, half), (half, -half), (half, half)])
        visit(0, half, [(-half, 0), (half, 0), (0, -half), (0, half)])
        visit(half, 0, [(-half, 0), (half, 0), (0, -half), (0, half)])
        step, size = half, size / decay / decay
    return (heights - heights.min()) / np.ptp(heights)


@pytest.mark.parametrize("decay", [1.75, 3.0])
@pytest.mark.parametrize("side", [2, 8, 32])
def test_plasma_is_diamond_square(side, decay):
    expected = looped_plasma(side, decay, np.random.default_rng(2))
    drawn = plasma(side, side, decay, np.random.default_rng(2))
    np.testing.assert_allclose(drawn, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize(("height", "width", "side"), [(48, 32, 64), (24, 17, 32), (9, 16, 16)])
def test_plasma_is_a_corner_of_the_least_square_that_covers_it(height, width, side):
    square = plasma(side, side, 2, np.random.default_rng(2))
    corner = plasma(height, width, 2, np.random.default_rng(2))
    np.testing.assert_array_equal(corner, square[:height, :width])


def test_fog_is_its_formula_with_a_known_fractal():
    image = smooth_images(1, 32, 32)[0] / 300
    haze = plasma(32, 32, 2.5, np.random.default_rng(4))
    brightest = image.max()
    expected = (image + 0.75 * haze[:, :, None]) * brightest / (brightest + 0.75)
    foggy = fog(image, np.random.default_rng(4), density=0.75, decay=2.5)
    np.testing.assert_allclose(foggy, expected, rtol=0, atol=EXACT)
    assert not fog(np.zeros((8, 8, 3)), np.random.default_rng(4), 1.5, 2).any()


def test_brightness_adds_to_the_value_of_hsv():
    colours = itertools.product([0.0, 0.2, 0.5, 0.9, 1.0], repeat=3)
    image = np.array(list(colours)).reshape(25, 5, 3)
    for gain in (0.05, 0.3):
        expected = []
        for colour in image.reshape(-1, 3):
            hue, saturation, value = colorsys.rgb_to_hsv(*colour)
            expected.append(colorsys.hsv_to_rgb(hue, saturation, min(value + gain, 1)))
        brighter = brightness(image, None, gain)
        np.testing.assert_allclose(brighter.reshape(-1, 3), expected, rtol=0, atol=EXACT)


def test_snow_without_flakes_whitens_by_its_formula():
    image = smooth_images(1, 32, 32)[0] / 255
    red, green, blue = np.moveaxis(image, 2, 0)
    grey = (0.299 * red + 0.587 * green + 0.114 * blue)[:, :, None]
    expected = 0.8 * image + 0.2 * np.maximum(image, 1.5 * grey + 0.5)
    snowy = snow(image, np.random.default_rng(4), 0.5, 0, 1, threshold=0.51, visibility=0.8, **NO_BLUR)
    np.testing.assert_allclose(snowy, expected, rtol=0, atol=EXACT)


def flakes(side: int, **changes: float) -> np.ndarray:
    """Let it snow on black, whose whitening is constant; subtract that: [side, side]."""
    given = {"mean": 0.1, "deviation": 0.2, "flake": 1, "threshold": 0.5, "visibility": 0.9}
    black = np.zeros((side, side, 3))
    snowy = snow(black, np.random.default_rng(4), **given | NO_BLUR | changes)
    return snowy[:, :, 0] - 0.1 * 0.5


def test_snow_falls_twice_the_second_time_turned():
    fallen = flakes(64, flake=0.5)
    np.testing.assert_allclose(fallen, fallen[::-1, ::-1], rtol=0, atol=EXACT)
    # A pixel is a flake with P(N(0.1, 0.2^2) >= 0.5) = 0.0228, and so is the opposite one;
    # 4096 pixels: 5 standard errors are 0.0165.
    assert np.mean(fallen > EXACT) == pytest.approx(1 - (1 - 0.0228) ** 2, abs=0.0165)
    assert fallen[fallen > EXACT].min() >= 0.5 - EXACT
    # A flake is at most 1.
    np.testing.assert_allclose(flakes(8, mean=3, deviation=0), 2, rtol=0, atol=EXACT)


def test_flakes_are_as_large_a_share_of_every_image():
    def neighbours(fallen: np.ndarray) -> float:
        return np.corrcoef(fallen[:, 1:].ravel(), fallen[:, :-1].ravel())[0, 1]

    level = {"mean": 0.5, "threshold": 0.0, "deviation": 0.1}
    # 992 pairs: 5 standard errors are 0.16. Noise drawn out over 7 pixels hardly changes in one.
    assert abs(neighbours(flakes(32, **level))) < 0.16
    assert neighbours(flakes(224, **level)) > 0.9


def test_flakes_are_blurred_as_they_fall(monkeypatch):
    calls = []

    def replace_by_nothing(layer: np.ndarray, *line: float) -> np.ndarray:
        calls.append(line)
        return np.zeros_like(layer)

    monkeypatch.setattr(weather, "blur_along_line", replace_by_nothing)
    for seed in range(300):
        black = np.zeros((16, 16, 3))
        snowy = snow(black, np.random.default_rng(seed), 0.3, 0.3, 1, 0.65, 14, 12, 0.9)
        np.testing.assert_allclose(snowy, 0.1 * 0.5, rtol=0, atol=EXACT)
    radii, deviations, angles = np.transpose(calls)
    assert set(radii) == {14 * 16 / 32}
    assert set(deviations) == {12 * 16 / 32}
    # Between 45 degrees left and right of down, where rows grow.
    assert stats.kstest(np.degrees(angles), stats.uniform(-135, 90).cdf).pvalue > 1e-3


def test_frost_is_blended_with_its_weights():
    image = smooth_images(1, 32, 32)[0] / 255
    ice = frost(image, np.random.default_rng(4), visibility=0, cover=1)
    blended = frost(image, np.random.default_rng(4), visibility=0.75, cover=0.45)
    np.testing.assert_allclose(blended, 0.75 * image + 0.45 * ice, rtol=0, atol=EXACT)


def test_frost_is_about_as_bright_and_blue_as_the_authors_photographs():
    black = np.zeros((32, 32, 3))
    ice = np.array([frost(black, np.random.default_rng(seed), 0, 1) for seed in range(100)])
    assert ice.min() >= 0
    assert ice.max() <= 1
    # Crops of the five photographs in use, measured: means (146, 167, 179) / 255, of which the
    # standard deviation is 0.14 from crop to crop and 0.06 within. Looks are coarse: 15 % and 30 %.
    np.testing.assert_allclose(ice.mean(axis=(0, 1, 2)) * 255, [146, 167, 179], rtol=0.15)
    grey = ice.mean(axis=3)
    assert grey.mean(axis=(1, 2)).std() == pytest.approx(0.14, rel=0.3)
    assert grey.std(axis=(1, 2)).mean() == pytest.approx(0.06, rel=0.3)
