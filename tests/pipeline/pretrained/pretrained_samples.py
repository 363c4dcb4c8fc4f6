"""Networks to assign weights to, and pixels to compare logits on."""

from typing import Any

import numpy as np

from pipeline.config.settings import ModelConfig
from pipeline.models import build_model
from pipeline.pretrained import Pretrained

DIGITS = tuple("0123456789")
"""Names of ten classes."""


def ours(size=32, classes=10, mean=(1.0, 2.0, 3.0), std=(4.0, 5.0, 6.0), seed=7, **settings: Any):
    """One of this pipeline's networks, with fresh weights."""
    return build_model(
        ModelConfig(**{"width": 8, "stem": "cifar", **settings}),
        input_shape=(size, size, 3),
        classes=classes,
        pixel_mean=mean,
        pixel_std=std,
        seed=seed,
    )


def normalised_as(pretrained: Pretrained, **settings: Any):
    return ours(mean=pretrained.mean, std=pretrained.std, **settings)


def random_pixels(size=32, batch=2):
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


def weights_of(network):
    return [(w.path, w.numpy()) for w in network.weights]


def one_line(error) -> str:
    message = str(error.value)
    assert "\n" not in message
    return message
