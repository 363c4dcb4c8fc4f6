"""The networks, picked by the name that the configuration gives."""

from collections.abc import Callable, Sequence

import keras

from pipeline.config import ModelConfig
from pipeline.errors import unknown
from pipeline.models.resnet import build_resnet

BLOCKS = {"resnet18": (2, 2, 2, 2)}
"""Name of each residual network -> basic blocks of each stage (He et al. 2015, table 1)."""

IMAGENET_STEM_PIXELS = 96
"""Size from which the stem `auto` is the imagenet stem."""


def resolve_stem(stem: str, image_size: int) -> str:
    """Turn the stem `auto` into `cifar` or `imagenet`; any other stem stays what it is.

    Args:
        stem: `auto`, `cifar` or `imagenet`.
        image_size: shorter side of a picture in pixels.
    """
    if stem != "auto":
        return stem
    return "imagenet" if image_size >= IMAGENET_STEM_PIXELS else "cifar"


def build_model(
    model: ModelConfig,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    seed: int,
    convolution_layer: Callable[..., keras.Layer] = keras.layers.Conv2D,
    batch_normalization: Callable[..., keras.Layer] = keras.layers.BatchNormalization,
) -> keras.Model:
    """Build the network that `model` describes; see `build_resnet` for the arguments.

    Raises:
        UserError: no such network or stem, or a picture too small for it.
    """
    if model.model not in BLOCKS:
        raise unknown("--model", model.model, BLOCKS)
    return build_resnet(
        input_shape=input_shape,
        classes=classes,
        blocks=BLOCKS[model.model],
        width=model.width,
        stem=resolve_stem(model.stem, min(input_shape[:2])),
        dropout=model.dropout,
        zero_init=model.zero_init,
        pixel_mean=pixel_mean,
        pixel_std=pixel_std,
        seed=seed,
        convolution_layer=convolution_layer,
        batch_normalization=batch_normalization,
        name=model.model,
    )
