"""Residual networks, written the way the paper draws them: stem, block, stage, net.

He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385). Padding and
batch-norm settings are PyTorch's, so that weights and published results carry over.
"""

import zlib
from collections.abc import Callable, Sequence
from functools import partial

import keras
from keras import KerasTensor, layers

from pipeline.errors import UserError, unknown


def layer_seed(seed: int, name: str) -> int:
    """Derive a layer's 32-bit seed from the model's seed and the layer's own name.

    So a layer's initial weights do not depend on which layers were built before it.
    """
    return zlib.crc32(f"{seed} {name}".encode())


def convolution(
    x: KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    layer: Callable[..., keras.Layer],
    seed: int,
    name: str,
) -> KerasTensor:
    """Convolve without bias, padding `kernel_size // 2` zeros on every side (`kernel_size` odd).

    Initial weights are normal with variance 2 / fan_out (He et al. 2015, arXiv:1502.01852,
    eq. 14).
    """
    padding = "same"
    if strides > 1 and kernel_size > 1:
        # On even sizes "same" pads less at the top left than at the bottom right; PyTorch does not.
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_padding")(x)
        padding = "valid"
    he_normal = keras.initializers.VarianceScaling(
        2.0, mode="fan_out", distribution="untruncated_normal", seed=layer_seed(seed, name)
    )
    return layer(
        filters, kernel_size, strides, padding, use_bias=False, kernel_initializer=he_normal,
        name=name,
    )(x)  # fmt: skip


def cifar_stem(x: KerasTensor, width: int, *, conv: Callable, norm: Callable) -> KerasTensor:
    """Turn pixels into `width` feature maps of the same size: a 3x3 convolution (section 4.2)."""
    x = conv(x, width, 3, name="stem_conv")
    x = norm(name="stem_norm")(x)
    return layers.ReLU(name="stem_relu")(x)


def imagenet_stem(x: KerasTensor, width: int, *, conv: Callable, norm: Callable) -> KerasTensor:
    """Turn pixels into `width` feature maps of a quarter of the size (table 1).

    A 7x7 convolution of stride 2, then a 3x3 max-pool of stride 2.
    """
    x = conv(x, width, 7, 2, name="stem_conv")
    x = norm(name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    # Zeros never win over a maximum of ReLU outputs, so they pad as well as minus infinity.
    x = layers.ZeroPadding2D(1, name="stem_pool_padding")(x)
    return layers.MaxPooling2D(3, 2, name="stem_pool")(x)


STEMS: dict[str, tuple[Callable[..., KerasTensor], int]] = {
    "cifar": (cifar_stem, 1),
    "imagenet": (imagenet_stem, 4),
}
"""Name of each stem -> (the stem, how many times smaller its output is than its input)."""


def basic_block(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable,
    norm: Callable,
    zero_init: bool,
    name: str,
) -> KerasTensor:
    """Compute `relu(x + norm2(conv2(relu(norm1(conv1(x))))))` (figure 5, left).

    Where the shapes differ, a 1x1 convolution and a norm project `x` first (option B,
    section 3.3).

    Args:
        x: [batch, height, width, channels].
        filters: output channels of both convolutions.
        strides: of the first convolution and of the projection.
        conv: `convolution` with its layer and seed bound.
        norm: builds a batch-norm layer.
        zero_init: start norm2's scale at 0, so that the block starts as its shortcut (Goyal et
            al. 2017, arXiv:1706.02677, section 5.1).
        name: prefix of every layer's name.

    Returns:
        [batch, ceil(height / strides), ceil(width / strides), filters]
    """
    shortcut = x
    if strides > 1 or x.shape[-1] != filters:
        shortcut = conv(x, filters, 1, strides, name=f"{name}_projection")
        shortcut = norm(name=f"{name}_projection_norm")(shortcut)
    x = conv(x, filters, 3, strides, name=f"{name}_conv1")
    x = norm(name=f"{name}_norm1")(x)
    x = layers.ReLU(name=f"{name}_relu1")(x)
    x = conv(x, filters, 3, name=f"{name}_conv2")
    x = norm(gamma_initializer="zeros" if zero_init else "ones", name=f"{name}_norm2")(x)
    x = layers.Add(name=f"{name}_add")([shortcut, x])
    return layers.ReLU(name=f"{name}_relu2")(x)


def stage(
    x: KerasTensor, filters: int, blocks: int, strides: int, *, block: Callable, name: str
) -> KerasTensor:
    """Stack `blocks` blocks of equal width; only the first has `strides`."""
    for index in range(1, blocks + 1):
        x = block(x, filters, strides if index == 1 else 1, name=f"{name}_block{index}")
    return x


def head(x: KerasTensor, classes: int, dropout: float, *, seed: int) -> KerasTensor:
    """Average over all positions and map to float32 logits [batch, classes].

    All of it computes in float32 under any dtype policy. Initial weights are uniform within
    +-1 / sqrt(features), as PyTorch's linear layer: He's fan_out would give few classes huge
    logits.
    """
    x = layers.GlobalAveragePooling2D(name="pool", dtype="float32")(x)
    if dropout:
        dropout_seed = layer_seed(seed, "dropout")
        x = layers.Dropout(dropout, seed=dropout_seed, name="dropout", dtype="float32")(x)
    uniform = keras.initializers.VarianceScaling(
        1 / 3, mode="fan_in", distribution="uniform", seed=layer_seed(seed, "head")
    )
    return layers.Dense(classes, kernel_initializer=uniform, name="head", dtype="float32")(x)


def check_stem(stem: str, input_shape: tuple[int, int, int], stages: int) -> None:
    """Raise `UserError` unless the stem exists and the pixels last for `stages` stages."""
    if stem not in STEMS:
        raise unknown("stem", stem, STEMS)
    height, width, _ = input_shape
    smallest = STEMS[stem][1] * 2 ** (stages - 1)
    if min(height, width) < smallest:
        raise UserError(
            f"pictures for the {stem} stem must be at least {smallest} x {smallest} pixels; "
            f"received {height} x {width}"
        )


def build_resnet(
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    blocks: Sequence[int] = (2, 2, 2, 2),
    width: int = 64,
    stem: str,
    dropout: float = 0.0,
    zero_init: bool = False,
    pixel_mean: Sequence[float],
    pixel_std: Sequence[float],
    seed: int = 0,
    convolution_layer: Callable[..., keras.Layer] = layers.Conv2D,
    batch_normalization: Callable[..., keras.Layer] = layers.BatchNormalization,
    name: str,
) -> keras.Model:
    """Build a ResNet of basic blocks from raw pixels to logits; the defaults are ResNet-18.

    Args:
        input_shape: height, width and channels of a picture.
        classes: number of logits.
        blocks: basic blocks of each stage; the width doubles and the size halves between stages.
        width: channels of the first stage.
        stem: `cifar` or `imagenet`.
        dropout: share of features dropped before the head, 0 <= dropout < 1.
        zero_init: start each block as its shortcut.
        pixel_mean: mean of each channel, in units of [0, 255].
        pixel_std: standard deviation of each channel, in units of [0, 255].
        seed: the initial weights and dropout are a function of it.
        convolution_layer: called with the arguments of `keras.layers.Conv2D`.
        batch_normalization: called with the arguments of `keras.layers.BatchNormalization`.
        name: of the model.

    Returns:
        A model from float32 pixels in [0, 255], [batch, height, width, channels], to float32
        logits, [batch, classes].

    Raises:
        UserError: unknown stem, or a picture so small that a stage would no longer halve it.
    """
    check_stem(stem, input_shape, stages=len(blocks))
    conv = partial(convolution, layer=convolution_layer, seed=seed)
    # PyTorch's defaults; its momentum of 0.1 weighs the new value, Keras' weighs the old.
    norm = partial(batch_normalization, momentum=0.9, epsilon=1e-5)
    block = partial(basic_block, conv=conv, norm=norm, zero_init=zero_init)

    pixels = keras.Input(input_shape, dtype="float32", name="pixels")
    variance = [std**2 for std in pixel_std]
    x = layers.Normalization(
        mean=list(pixel_mean), variance=variance, name="normalization", dtype="float32"
    )(pixels)
    build_stem, _ = STEMS[stem]
    x = build_stem(x, width, conv=conv, norm=norm)
    for index, count in enumerate(blocks):
        strides = 1 if index == 0 else 2
        x = stage(x, width * 2**index, count, strides, block=block, name=f"stage{index + 1}")
    return keras.Model(pixels, head(x, classes, dropout, seed=seed), name=name)
