"""Networks by the name that the configuration gives, from raw pixels to logits."""

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial

import keras

from pipeline.config.architectures import (
    DenseArchitecture,
    MobileArchitecture,
    ResidualArchitecture,
    VGGArchitecture,
)
from pipeline.config.settings import ModelConfig
from pipeline.models.baselines import BASELINES
from pipeline.models.densenet import dense_features
from pipeline.models.efficientnet_lite import NORM_EPSILON, mobile_features
from pipeline.models.elements import convolution, head, normalised
from pipeline.models.names import PIXELS
from pipeline.models.resnet import residual_features
from pipeline.models.stems import LARGE_IMAGE_PIXELS
from pipeline.models.vgg import vgg_features

__all__ = [
    "blocks",
    "build_model",
    "cost",
    "efficientnet_lite",
    "fast_gradient",
    "fused_norm",
    "names",
    "resolve_model",
]


def resolve_model(model: ModelConfig, image_size: int) -> ModelConfig:
    """Put the network's own width in place of 0, and in place of `auto` the stem for such images.

    Args:
        model: which network; one that is not residual has no stem, and `auto` stays.
        image_size: shorter side of an image in pixels.
    """
    architecture, stem = model.architecture, model.stem
    if stem == "auto" and isinstance(architecture, ResidualArchitecture):
        stem = architecture.large_stem if image_size >= LARGE_IMAGE_PIXELS else "cifar"
    return dataclasses.replace(model, width=architecture.width, stem=stem)


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
    """Build the network that `model` describes.

    Args:
        model: which network, how wide, with which stem.
        input_shape: height, width and channels of an image.
        classes: number of logits.
        pixel_mean: mean of each channel, in units of [0, 255].
        pixel_std: standard deviation of each channel, in units of [0, 255].
        seed: the initial weights and dropout are a function of it.
        convolution_layer: called with the arguments of `keras.layers.Conv2D`.
        batch_normalization: called with the arguments of `keras.layers.BatchNormalization`.

    Returns:
        A model from float32 pixels in [0, 255], [batch, height, width, channels], to float32
        logits, [batch, classes].

    Raises:
        UserError: an image too small for the network.
    """
    model = resolve_model(model, min(input_shape[:2]))
    architecture = model.architecture
    conv = partial(convolution, layer=convolution_layer, seed=seed)
    # PyTorch's defaults; its momentum of 0.1 weighs the new value, Keras' weighs the old.
    norm = partial(batch_normalization, momentum=0.9, epsilon=1e-5)
    dropout = model.dropout
    pixels = keras.Input(input_shape, dtype="float32", name=PIXELS)
    x = normalised(pixels, pixel_mean, pixel_std)
    if isinstance(architecture, ResidualArchitecture):
        x = residual_features(
            x,
            architecture,
            stem=model.stem,
            zero_init=model.zero_init,
            dropout=dropout,
            seed=seed,
            conv=conv,
            norm=norm,
        )
        dropout = 0.0 if architecture.dropout_in_blocks else dropout
    elif isinstance(architecture, MobileArchitecture):
        norm = partial(norm, epsilon=NORM_EPSILON)
        x = mobile_features(x, architecture, seed=seed, conv=conv, norm=norm)
    elif isinstance(architecture, DenseArchitecture):
        x = dense_features(x, architecture, conv=conv, norm=norm)
    elif isinstance(architecture, VGGArchitecture):
        x = vgg_features(x, architecture, conv=conv)
    else:
        x = BASELINES[model.model](x, architecture.width, conv=conv, seed=seed)
    return keras.Model(pixels, head(x, classes, dropout, seed=seed), name=model.model)
