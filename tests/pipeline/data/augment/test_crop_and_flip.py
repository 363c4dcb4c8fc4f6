"""Random crops and flips, pixel by pixel and in their shares of the batch."""

import numpy as np
import pytest

from pipeline.config.settings import AugmentConfig
from pipeline.data.augment.crop_and_flip import alternating_coins
from tests.pipeline.data.augment.samples import augmented, four_sigma, keys, sample_images


def offsets_of_windows(crops: np.ndarray, padded: np.ndarray) -> list[tuple[int, int]]:
    """Offset at which each crop lies in its padded image; fails where it lies nowhere."""
    height, width = crops.shape[1:3]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    windows = np.moveaxis(windows, 3, -1)
    equal = (windows == crops[:, None, None]).all(axis=(3, 4, 5))
    assert (equal.sum(axis=(1, 2)) == 1).all()
    return [tuple(np.argwhere(each)[0]) for each in equal]


@pytest.mark.parametrize("padding", [1, 2, 5])
@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_a_crop_is_a_window_of_the_padded_image(mode, numpy_mode, padding):
    images = sample_images(400, 6, 8)
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(images, border, mode=numpy_mode)
    crops = augmented(AugmentConfig(crop_padding=padding, crop_mode=mode), images)
    assert crops.dtype == np.uint8
    if padding > 2:  # far beyond the image a window may recur
        inside = [
            (crop == padded[i, y : y + 6, x : x + 8]).all()
            for i, crop in enumerate(crops[:20])
            for y in range(2 * padding + 1)
            for x in range(2 * padding + 1)
        ]
        assert np.reshape(inside, [20, -1]).any(axis=1).all()
        return
    counts = np.zeros([2 * padding + 1] * 2)
    for offset in offsets_of_windows(crops, padded):
        counts[offset] += 1
    # All offsets are reached, evenly: each count within 4 sigma (5 sigma for 25 of them).
    expected = 400 / counts.size
    assert np.abs(counts - expected).max() < 1.25 * four_sigma(400, 1 / counts.size)
    assert counts.min() > 0


@pytest.mark.parametrize(
    ("flip", "axes", "share"),
    [
        ("horizontal", (1,), 0.5),
        ("vertical", (0,), 0.5),
        ("alternating", (1,), 0.5),
        ("both", (0,), 0.25),
        ("both", (1,), 0.25),
        ("both", (0, 1), 0.25),
    ],
)
def test_flips_are_fair_coins(flip, axes, share):
    images = sample_images(2000, 4, 5)
    result = augmented(AugmentConfig(flip=flip), images)
    mirrored = np.flip(images, [axis + 1 for axis in axes])
    flipped = (result == mirrored).all(axis=(1, 2, 3))
    assert abs(flipped.sum() - 2000 * share) < four_sigma(2000, share)
    if flip != "both":
        np.testing.assert_array_equal(result[~flipped], images[~flipped])


def test_alternating_flip_shows_the_mirror_image_every_other_epoch():
    images = sample_images(64)
    epochs = [
        augmented(AugmentConfig(flip="alternating"), images, epoch=epoch, step=epoch) for epoch in range(4)
    ]
    np.testing.assert_array_equal(epochs[1], epochs[0][:, :, ::-1])
    np.testing.assert_array_equal(epochs[2], epochs[0])
    np.testing.assert_array_equal(epochs[3], epochs[1])


def test_alternating_flip_depends_on_run_and_example_only():
    count = 20_000
    coins = alternating_coins(keys(count)).numpy()
    np.testing.assert_array_equal(coins[500:600], alternating_coins(keys(100, first=500, step=9)).numpy())
    for other in (alternating_coins(keys(count, run=2)).numpy(), np.roll(coins, 1), np.roll(coins, 2)):
        assert abs((coins == other).sum() - count / 2) < four_sigma(count, 0.5)


def test_crop_and_flip_in_one_gather_equal_flip_of_crop():
    images = sample_images(64)
    both = augmented(AugmentConfig(crop_padding=3, flip="horizontal"), images)
    crop = augmented(AugmentConfig(crop_padding=3), images)
    equal = (both == crop).all(axis=(1, 2, 3))
    mirrored = (both == crop[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (equal ^ mirrored).all()
    assert equal.any()
    assert mirrored.any()
