"""VGG: stages of 3x3 convolutions and nothing else, as deep as networks without norms went.

Simonyan & Zisserman, "Very Deep Convolutional Networks", 2014 (arXiv:1409.1556), table 1. Global
average pooling takes the place of the two hidden layers of 4,096 units, which hold 119.5 of the
paper's 138.4 million parameters and take images of one size.
"""

from collections.abc import Callable

from keras import KerasTensor, layers

from pipeline.config.architectures import VGGArchitecture
from pipeline.models.elements import check_size
from pipeline.models.names import POOL, stage_name

WIDEST = 8
"""Channels of the last stages, as a multiple of the first one's."""


def vgg_features(
    x: KerasTensor, architecture: VGGArchitecture, *, conv: Callable[..., KerasTensor]
) -> KerasTensor:
    """Turn normalised pixels into one float32 feature vector an image.

    Args:
        x: float32 [batch, height, width, channels].
        architecture: its stages and width.
        conv: `convolution` with its layer and seed bound.

    Returns:
        [batch, features], the output of the layer `pool`.

    Raises:
        UserError: an image so small that a stage would no longer halve it.
    """
    check_size(x, architecture.reduction, "VGG")
    for number, convolutions in enumerate(architecture.convolutions, start=1):
        name, filters = stage_name(number), architecture.width * min(2 ** (number - 1), WIDEST)
        for index in range(1, convolutions + 1):
            x = conv(x, filters, 3, use_bias=True, name=f"{name}_conv{index}")
            x = layers.ReLU(name=f"{name}_relu{index}")(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return layers.GlobalAveragePooling2D(name=POOL, dtype="float32")(x)
