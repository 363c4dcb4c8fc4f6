"""Inverted residual blocks at other widths and sizes; what they compute is compared with the weights'."""

from typing import Any

import keras
import numpy as np
import pytest

from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError
from pipeline.models import build_model


def build(size=32, **settings: Any):
    return build_model(
        ModelConfig(model="efficientnet_lite0", **settings),
        input_shape=(size, size, 3),
        classes=3,
        pixel_mean=(127.0,) * 3,
        pixel_std=(128.0,) * 3,
        seed=0,
    )


def test_the_width_scales_the_stages_and_neither_stem_nor_top():
    """The Lite variant fixes those two (github.com/tensorflow/tpu, models/official/efficientnet/lite)."""
    network = build(width=8)
    channels = {
        name: network.get_layer(name).output.shape[-1]
        for name in (
            "stem_conv",
            *(f"stage{stage}_block1_norm3" for stage in range(1, 8)),
            "top_conv",
            "pool",
        )
    }
    # Half of Tan & Le 2019, table 1: 16, 24, 40, 80, 112, 192 and 320.
    assert list(channels.values()) == [32, 8, 12, 20, 40, 56, 96, 160, 1280, 1280]


def test_images_are_large_enough_to_be_halved_five_times():
    assert build(32).get_layer("top_relu").output.shape[1:3] == (1, 1)
    with pytest.raises(UserError, match="at least 32 x 32 pixels; received 31 x 31"):
        build(31)


def test_depthwise_convolutions_begin_with_hes_variance():
    """2 / fan_out (He et al. 2015, 1502.01852, eq. 14): of an output channel alone, a square of weights."""
    network = build()
    for name, kernel_size in (("stage5_block3_conv2", 5), ("stage7_block1_conv2", 3)):
        kernel = np.asarray(network.get_layer(name).kernel)
        # Of n values the standard deviation is known to 1 / sqrt(2 n), here 0.8 % at most.
        assert kernel.std() == pytest.approx(np.sqrt(2) / kernel_size, rel=0.03)


def test_nothing_is_larger_than_six_after_a_relu():
    network = build()
    rectified = [layer for layer in network.layers if isinstance(layer, keras.layers.ReLU)]
    # One in the stem, one at the top, two in a block but one in the first, of 16 blocks.
    assert len(rectified) == 2 + 2 * 16 - 1
    assert {layer.max_value for layer in rectified} == {6}
