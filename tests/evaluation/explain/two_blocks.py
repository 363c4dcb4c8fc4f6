"""A network small enough to train, explain and quantise in a test."""

import keras
import pytest

from pipeline.config.architectures import ARCHITECTURES, ResidualArchitecture
from pipeline.config.settings import ModelConfig
from pipeline.models import build_model


def build_two_blocks(*, size: int, classes: int, pixel_std: float, seed: int) -> keras.Model:
    """A residual network of two stages with a block each, for pixels around 128."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(ARCHITECTURES, "net", ResidualArchitecture((1, 1)))
        return build_model(
            ModelConfig(model="net", width=8, stem="cifar"),
            input_shape=(size, size, 3),
            classes=classes,
            pixel_mean=[128] * 3,
            pixel_std=[pixel_std] * 3,
            seed=seed,
        )
