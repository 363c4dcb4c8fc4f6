"""What runs share, at one size of the images and at another."""

import numpy as np

from pipeline.config.presets import preset
from pipeline.data.batches import load_images
from pipeline.training.resolve import prepare_ground, resolve

DIGITS = preset("digits").with_values({"devices": "cpu"})
LARGER = DIGITS.with_values({"image_size": 12})


def test_at_another_size_there_is_what_was_prepared_at_that_size():
    ground, expected = prepare_ground(DIGITS), prepare_ground(LARGER)
    larger = ground.at(12)
    assert larger.statistics == expected.statistics != ground.statistics
    for split in ("train", "validation", "calibration", "test"):
        images = [load_images(one.data.examples(split)) for one in (larger, expected)]
        assert images[0].shape[1:] == (12, 12, 3)
        np.testing.assert_array_equal(*images)


def test_each_size_is_measured_once():
    ground = prepare_ground(DIGITS)
    assert ground.at(0) is ground.at(8) is ground
    assert ground.at(12) is ground.at(12)


def test_a_run_has_the_size_that_its_settings_name():
    ground = prepare_ground(DIGITS)
    assert resolve(DIGITS, ground).config.data.image_size == 8
    resolved = resolve(LARGER, ground)
    assert resolved.config.data.image_size == resolved.ground.data.image_size == 12
