"""What holds for every corruption, and the published parameters."""

import numpy as np
import pytest

from evaluation.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from evaluation.corruptions.scale import length_scale
from tests.evaluation.corruptions.samples import DRAWN, FIXED, SIZES, smooth_images

PAPER = {
    "noise": ["gaussian_noise", "shot_noise", "impulse_noise"],
    "blur": ["defocus_blur", "glass_blur", "motion_blur", "zoom_blur"],
    "weather": ["snow", "frost", "fog", "brightness"],
    "digital": ["contrast", "elastic_transform", "pixelate", "jpeg_compression"],
}

# The constant `c` of each function of make_cifar_c.py, one row a severity; the elastic ones are
# there times the side, and those of zoom blur the end of the range.
AUTHORS = {
    "gaussian_noise": [(0.04,), (0.06,), (0.08,), (0.09,), (0.10,)],
    "shot_noise": [(500,), (250,), (100,), (75,), (50,)],
    "impulse_noise": [(0.01,), (0.02,), (0.03,), (0.05,), (0.07,)],
    "defocus_blur": [(0.3, 0.4), (0.4, 0.5), (0.5, 0.6), (1, 0.2), (1.5, 0.1)],
    "glass_blur": [(0.05, 1, 1), (0.25, 1, 1), (0.4, 1, 1), (0.25, 1, 2), (0.4, 1, 2)],
    "motion_blur": [(6, 1), (6, 1.5), (6, 2), (8, 2), (9, 2.5)],
    "zoom_blur": [(1.06,), (1.11,), (1.16,), (1.21,), (1.26,)],
    "snow": [
        (0.1, 0.2, 1, 0.6, 8, 3, 0.95),
        (0.1, 0.2, 1, 0.5, 10, 4, 0.9),
        (0.15, 0.3, 1.75, 0.55, 10, 4, 0.9),
        (0.25, 0.3, 2.25, 0.6, 12, 6, 0.85),
        (0.3, 0.3, 1.25, 0.65, 14, 12, 0.8),
    ],
    "frost": [(1, 0.2), (1, 0.3), (0.9, 0.4), (0.85, 0.4), (0.75, 0.45)],
    "fog": [(0.2, 3), (0.5, 3), (0.75, 2.5), (1, 2), (1.5, 1.75)],
    "brightness": [(0.05,), (0.1,), (0.15,), (0.2,), (0.3,)],
    "contrast": [(0.75,), (0.5,), (0.4,), (0.3,), (0.15,)],
    "elastic_transform": [
        (0, 0, 0.08),
        (0.05, 0.2, 0.07),
        (0.08, 0.06, 0.06),
        (0.1, 0.04, 0.05),
        (0.1, 0.03, 0.03),
    ],
    "pixelate": [(0.95,), (0.9,), (0.85,), (0.75,), (0.65,)],
    "jpeg_compression": [(80,), (65,), (58,), (50,), (40,)],
}


NOT_IN_ORDER = ["glass_blur", "frost", "elastic_transform"]


def test_corruptions_are_the_papers_in_its_order():
    assert list(CORRUPTIONS) == [name for names in PAPER.values() for name in names]
    for category, names in PAPER.items():
        assert {CORRUPTIONS[name].category for name in names} == {category}


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_parameters_are_the_authors(name):
    given = [tuple(CORRUPTIONS[name].parameters_at(severity).values()) for severity in SEVERITIES]
    assert given == AUTHORS[name]


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", CORRUPTIONS)
def test_every_size_is_corrupted_to_its_own_shape(name, height, width):
    images = smooth_images(1, height, width)
    before = images.copy()
    images.flags.writeable = False
    for severity in (1, 5):
        corrupted = corrupt(images, name, severity, seed=3)
        assert corrupted.shape == images.shape
        assert corrupted.dtype == np.uint8
        np.testing.assert_array_equal(images, before)
    # At 8 pixels the disk of defocus blur is within one pixel.
    assert np.any(corrupted != images) == (name != "defocus_blur" or height > 8)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_batches_of_any_size_give_the_same_pixels(name):
    images = smooth_images(6, 32, 32)
    at_once = corrupt(images, name, 4, seed=3)
    np.testing.assert_array_equal(corrupt(images, name, 4, seed=3), at_once)
    for size in (1, 3):
        parts = [
            corrupt(images[first : first + size], name, 4, seed=3, first=first) for first in range(0, 6, size)
        ]
        np.testing.assert_array_equal(np.concatenate(parts), at_once)


@pytest.mark.parametrize("name", DRAWN)
def test_images_seeds_and_severities_draw_for_themselves(name):
    images = np.repeat(smooth_images(1, 32, 32), 2, axis=0)
    one, two = corrupt(images, name, 3, seed=3)
    assert np.any(one != two)
    assert np.any(one != corrupt(images[:1], name, 3, seed=4)[0])
    assert np.any(two != corrupt(images[:1], name, 3, seed=3, first=2)[0])


@pytest.mark.parametrize("name", FIXED)
def test_what_draws_nothing_is_the_same_for_each_image_and_seed(name):
    images = np.repeat(smooth_images(1, 32, 32), 2, axis=0)
    one, two = corrupt(images, name, 3, seed=3)
    np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(one, corrupt(images[:1], name, 3, seed=4)[0])


def test_noise_of_two_severities_is_not_the_same_draw():
    images = np.full((1, 32, 32, 3), 128, np.uint8)
    low, high = (corrupt(images, "gaussian_noise", severity, seed=3).ravel() for severity in (1, 5))
    # 3072 pairs: 5 standard errors of a correlation of 0 are 0.09.
    assert abs(np.corrcoef(low, high)[0, 1]) < 0.09


@pytest.mark.parametrize(
    # Of those left out the published parameters do not grow together.
    "name",
    [name for name in CORRUPTIONS if name not in NOT_IN_ORDER],
)
def test_pixels_change_more_with_each_severity(name):
    images = smooth_images(24, 32, 32)
    # The motion blurs 3 and 4 differ in the tail only.
    severities = [1, 2, 3, 5] if name == "motion_blur" else SEVERITIES
    changes = [
        np.mean(np.abs(corrupt(images, name, severity, seed=3) - 1.0 * images)) for severity in severities
    ]
    assert np.all(np.diff(changes) > 0), changes


@pytest.mark.parametrize(("height", "width"), SIZES)
@pytest.mark.parametrize("name", [*PAPER["blur"], "elastic_transform", "pixelate"])
def test_what_moves_pixels_leaves_a_constant_image(name, height, width):
    images = np.empty((1, height, width, 3), np.uint8)
    images[:] = (0, 77, 255)
    for severity in SEVERITIES if height < 224 else (1, 5):
        np.testing.assert_array_equal(corrupt(images, name, severity, seed=3), images)


def test_values_are_rounded_to_the_nearest_level():
    images = np.array([0, 10, 20, 81], np.uint8).reshape(1, 2, 2, 1).repeat(3, axis=3)
    # 27.75 + 0.75 (x - 27.75) = 6.9375, 14.4375, 21.9375, 67.6875
    expected = np.array([7, 14, 22, 68]).reshape(1, 2, 2, 1).repeat(3, axis=3)
    np.testing.assert_array_equal(corrupt(images, "contrast", 1, seed=0), expected)


def test_values_beyond_white_and_black_are_clipped():
    images = np.empty((1, 32, 32, 3), np.uint8)
    images[:, :16], images[:, 16:] = 0, 255
    corrupted = corrupt(images, "gaussian_noise", 5, seed=0)
    # Half of the draws lie beyond; 1536 of them, so 5 standard errors are 0.064. A deviation of
    # 25 levels seldom reaches 128, from where a value that wrapped around would come back.
    assert abs(np.mean(corrupted[:, :16] == 0) - 0.5) < 0.08
    assert abs(np.mean(corrupted[:, 16:] == 255) - 0.5) < 0.08
    assert corrupted[:, :16].max() < 128 < corrupted[:, 16:].min()


@pytest.mark.parametrize(
    ("shape", "scale"), [((8, 8, 3), 0.25), ((48, 32, 3), 1), ((32, 48), 1), ((224, 300, 3), 7)]
)
def test_lengths_scale_with_the_shorter_side(shape, scale):
    assert length_scale(np.zeros(shape)) == scale


def test_unknown_names_and_severities_are_refused():
    images = smooth_images(1, 8, 8)
    with pytest.raises(ValueError, match=r"gaussian_noise, .* received 'speckle_noise'"):
        corrupt(images, "speckle_noise", 1, seed=0)
    for severity in (0, 6):
        with pytest.raises(ValueError, match=rf"\(1, 2, 3, 4, 5\); received {severity}"):
            corrupt(images, "fog", severity, seed=0)
