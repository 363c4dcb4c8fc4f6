"""EfficientNet-Lite: inverted residual blocks around depthwise convolutions, made for int8.

Tan & Le, "EfficientNet", 2019 (arXiv:1905.11946), table 1, with the blocks of Sandler et al.,
"MobileNetV2", 2018 (arXiv:1801.04381). The Lite variant (github.com/tensorflow/tpu,
models/official/efficientnet/lite) leaves out squeeze-excitation, has ReLU6 in place of swish, whose
range 8 bits resolve well, and keeps stem and last convolution at any width. Padding is TensorFlow's.
"""

from collections.abc import Callable
from functools import partial

import keras
from keras import KerasTensor, layers

from pipeline.config.architectures import MobileArchitecture
from pipeline.models.elements import check_size, layer_seed, norm_relu
from pipeline.models.names import ADD, POOL, block_name, stem_layer, top_layer

NORM_EPSILON = 1e-3
"""What a norm adds to its variance: that of some channels is far below it."""


def depthwise(x: KerasTensor, kernel_size: int, strides: int, *, seed: int, name: str) -> KerasTensor:
    """Convolve each channel by itself. Initial weights have variance 2 / kernel_size ** 2."""
    he_normal = keras.initializers.VarianceScaling(
        2.0, mode="fan_out", distribution="untruncated_normal", seed=layer_seed(seed, name)
    )
    layer = layers.DepthwiseConv2D(
        kernel_size, strides, "same", use_bias=False, depthwise_initializer=he_normal, name=name
    )
    return layer(x)


def inverted_block(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    expansion: int,
    kernel_size: int,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
    activate: Callable[..., KerasTensor],
    seed: int,
    name: str,
) -> KerasTensor:
    """Compute `x + norm3(conv3(relu6(norm2(depthwise(relu6(norm1(conv1(x))))))))`.

    A 1x1 convolution to `expansion` times the channels, none where that is 1, a depthwise one with
    the strides, and a 1x1 convolution that nothing rectifies (Sandler et al. 2018, section 3.3).
    `x` is added where the shape stays.
    """
    kept, channels = x, x.shape[-1]
    if expansion > 1:
        x = activate(conv(x, expansion * channels, 1, name=f"{name}_conv1"), name=f"{name}_norm1")
    x = depthwise(x, kernel_size, strides, seed=seed, name=f"{name}_conv2")
    x = activate(x, name=f"{name}_norm2")
    x = norm(name=f"{name}_norm3")(conv(x, filters, 1, name=f"{name}_conv3"))
    stays = strides == 1 and channels == filters
    return layers.Add(name=f"{name}_{ADD}")([kept, x]) if stays else x


def mobile_features(
    x: KerasTensor,
    architecture: MobileArchitecture,
    *,
    seed: int,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
) -> KerasTensor:
    """Turn normalised pixels into one float32 feature vector an image.

    Args:
        x: float32 [batch, height, width, channels].
        architecture: its stages and widths.
        seed: of the initial weights of depthwise convolutions.
        conv: `convolution` with its layer and seed bound.
        norm: builds a batch-norm layer.

    Returns:
        [batch, features], the output of the layer `pool`.

    Raises:
        UserError: an image so small that a stage would no longer halve it.
    """
    check_size(x, architecture.reduction, "inverted residual blocks")
    activate = partial(norm_relu, norm=norm, maximum=6.0)
    x = conv(x, architecture.stem_width, 3, 2, centred=False, name=stem_layer("conv"))
    x = activate(x, name=stem_layer("norm"))
    for number, stage in enumerate(architecture.stages, start=1):
        block = partial(
            inverted_block,
            expansion=stage.expansion,
            kernel_size=stage.kernel_size,
            conv=conv,
            norm=norm,
            activate=activate,
            seed=seed,
        )
        filters = int(stage.filters * architecture.width)
        for index in range(1, stage.blocks + 1):
            strides = stage.strides if index == 1 else 1
            x = block(x, filters, strides, name=block_name(number, index))
    x = activate(conv(x, architecture.top_width, 1, name=top_layer("conv")), name=top_layer("norm"))
    return layers.GlobalAveragePooling2D(name=POOL, dtype="float32")(x)
