"""Scikit-learn's digits as a table, and the digests of images in memory."""

import numpy as np
import sklearn.datasets

from pipeline.config.settings import DataConfig
from pipeline.data.digits import digest_images
from pipeline.data.sources import load_source


def test_digits_are_scikit_learns_times_255_16ths():
    source, digits = load_source(DataConfig(data="digits")), sklearn.datasets.load_digits()
    images = source.images.images
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8, 3)
    for channel in range(3):
        # 0.5: rounding to whole numbers.
        np.testing.assert_allclose(images[..., channel], digits.images * 255 / 16, rtol=0, atol=0.5)
    np.testing.assert_array_equal(source.labels, digits.target)
    assert source.class_names == tuple("0123456789")
    np.testing.assert_array_equal(source.provided["train"], np.arange(1797))
    assert set(source.provided) == {"train"}


def test_digests_are_equal_for_equal_images_only():
    images = np.zeros((3, 4, 4, 3), np.uint8)
    images[2, 3, 3, 2] = 1
    digests = digest_images(images)
    assert digests.shape == (3, 16)
    assert (digests[0] == digests[1]).all()
    assert (digests[0] != digests[2]).any()
