"""Boxes of the random resized crop against their definition."""

import numpy as np
import pytest
import tensorflow as tf
from scipy import stats

from pipeline.data.augment.boxes import resized_crop_boxes
from tests.pipeline.data.augment.samples import SEED


@pytest.mark.parametrize(("height", "width"), [(224, 224), (90, 400)])
def test_resized_crop_boxes_follow_the_inception_definition(height, width):
    count = 4000
    boxes = resized_crop_boxes(SEED, tf.constant(height, tf.int64), tf.constant(width), 0.2, count).numpy()
    assert boxes.shape == (count, 4)
    assert boxes.dtype == np.float32
    y1, x1, y2, x2 = boxes.T * np.array([[height, width] * 2]).T
    for edge in (y1, x1, y2, x2):  # whole pixels, up to float32's rounding of 400
        np.testing.assert_allclose(edge, edge.round(), atol=1e-4)
    assert (min(y1.min(), x1.min()) >= 0) & (y2.max() <= height) & (x2.max() <= width)
    area, aspect = (y2 - y1) * (x2 - x1) / (height * width), (x2 - x1) / (y2 - y1)
    # Sides are rounded to whole pixels: half a pixel of the shortest, 0.2 ** 0.5 * 90 = 40.
    if height == width:
        assert area.min() > 0.2 * 0.98
        assert (aspect.min() > 0.74) & (aspect.max() < 1.35)
        small = area < 0.5  # where every attempt fits, so that nothing is selected by fitting
        uniform = stats.uniform(0.2, 0.3)
        assert stats.kstest(area[small], uniform.cdf).pvalue > 1e-4
        log_uniform = stats.uniform(np.log(3 / 4), 2 * np.log(4 / 3))
        assert stats.kstest(np.log(aspect[small]), log_uniform.cdf).pvalue > 1e-4
        # Place is uniform over the whole numbers that fit; a pixel's width blurs the continuous.
        place = (y1 + np.random.default_rng(0).random(count)) / (height - (y2 - y1) + 1)
        assert stats.kstest(place, "uniform").pvalue > 1e-4
    else:  # most attempts are taller than 90 pixels, yet ten rarely all fail
        assert ((aspect > 0.72) & (aspect < 1.38) | (area == 1)).all()


def test_resized_crop_boxes_fall_back_to_the_whole_image():
    boxes = resized_crop_boxes(SEED, 10, 200, 0.9, 8).numpy()
    np.testing.assert_array_equal(boxes, [[0, 0, 1, 1]] * 8)
