"""Dense blocks: how they begin, and how small images may be."""

import numpy as np
import pytest

from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError
from pipeline.models import build_model


def build(size):
    return build_model(
        ModelConfig(model="densenet121"),
        input_shape=(size, size, 3),
        classes=3,
        pixel_mean=(127.0,) * 3,
        pixel_std=(128.0,) * 3,
        seed=0,
    )


def test_convolutions_begin_with_hes_variance_by_what_they_take():
    """2 / fan_in (He et al. 2015, 1502.01852, eq. 10), whatever they add."""
    network = build(32)
    # After 15 blocks of 32 channels and the 512 of the transition; 4 x 32 inside a block.
    for name, fan_in in (("stage4_block16_conv1", 512 + 15 * 32), ("stage4_block16_conv2", 9 * 128)):
        kernel = np.asarray(network.get_layer(name).kernel)
        # Of n values the standard deviation is known to 1 / sqrt(2 n), here 0.4 % at most.
        assert kernel.std() == pytest.approx(np.sqrt(2 / fan_in), rel=0.02)


def test_images_are_large_enough_to_be_halved_five_times():
    with pytest.raises(UserError, match="DenseNet must be at least 32 x 32 pixels; received 31 x 31"):
        build(31)
