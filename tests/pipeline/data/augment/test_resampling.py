"""Resized crop and rotation against SciPy's interpolation."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from pipeline.data.augment.boxes import resized_crop_boxes
from pipeline.data.augment.resampling import random_resized_crop, random_rotation
from tests.pipeline.data.augment.samples import HEIGHT, SEED, WIDTH, sample_images


def test_resized_crop_reads_its_box_bilinearly():
    images = sample_images(32)
    result = random_resized_crop(tf.constant(images), SEED, min_area=0.1)
    assert result.dtype == tf.uint8
    boxes = resized_crop_boxes(SEED, HEIGHT, WIDTH, 0.1, 32).numpy()
    assert len(np.unique(boxes, axis=0)) > 16
    for image, box, ours in zip(images, boxes, result.numpy(), strict=True):
        y1, x1, y2, x2 = box
        y = (y1 + (np.arange(HEIGHT) + 0.5) / HEIGHT * (y2 - y1)) * HEIGHT - 0.5
        x = (x1 + (np.arange(WIDTH) + 0.5) / WIDTH * (x2 - x1)) * WIDTH - 0.5
        places = np.meshgrid(y, x, indexing="ij")
        expected = np.stack(
            [ndimage.map_coordinates(image[..., c] * 1.0, places, order=1, mode="nearest") for c in range(3)],
            -1,
        )
        # Half a level of rounding to uint8, and float32 against float64.
        np.testing.assert_allclose(ours, expected, atol=0.51)


@pytest.mark.parametrize(("mode", "scipy_mode"), [("zero", "grid-constant"), ("reflect", "reflect")])
def test_rotation_turns_about_the_centre(mode, scipy_mode, monkeypatch):
    angles = tf.constant([0.0, 90.0, 37.0, -120.0])
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *_: angles)
    images = sample_images(4, 13, 13)
    result = random_rotation(tf.constant(images), SEED, degrees=180, mode=mode).numpy()
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[0], images[0])
    for image, angle, ours in zip(images, angles.numpy(), result, strict=True):
        expected = ndimage.rotate(image * 1.0, angle, reshape=False, order=1, mode=scipy_mode)
        # Half a level of rounding; a float32 position is off by 1e-6 of 13 pixels times 255.
        np.testing.assert_allclose(ours, expected, atol=0.51)


def test_rotation_angles_are_uniform():
    ramp = np.tile(np.arange(65, dtype=np.uint8)[:, None, None], [1, 65, 3])
    images = np.repeat(ramp[None], 500, axis=0)
    result = random_rotation(tf.constant(images), SEED, degrees=30, mode="zero").numpy()
    # On a ramp of 1 level a pixel, 20 pixels right of the centre lie 20 sin(angle) levels away.
    sines = (result[:, 32, 52, 0] - 32.0) / 20
    degrees = np.degrees(np.arcsin(np.clip(sines, -1, 1)))
    assert (np.abs(degrees) < 32).all()  # 30, and half a level is 1.4 degrees
    blur = np.random.default_rng(0).uniform(-1.5, 1.5, 500)
    assert stats.kstest(degrees + blur, stats.uniform(-30, 60).cdf).pvalue > 1e-4
