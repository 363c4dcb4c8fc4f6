"""Stems: from normalised pixels to the first feature maps.

Each takes `x`, [batch, height, width, channels], the `width` of the maps, `conv`, a convolution
with its layer and seed bound, `norm_relu`, a norm and ReLU, and `finish`, what follows the last
convolution: `norm_relu` or, where blocks begin with their own, nothing.
"""

from collections.abc import Callable

from keras import KerasTensor, layers

from pipeline.models.names import stem_layer

LARGE_IMAGE_PIXELS = 96
"""Size from which the stem `auto` is the one for large images."""


def cifar_stem(
    x: KerasTensor,
    width: int,
    *,
    conv: Callable[..., KerasTensor],
    norm_relu: Callable[..., KerasTensor],
    finish: Callable[..., KerasTensor],
) -> KerasTensor:
    """Compute maps of the same size: a 3x3 convolution (He et al. 2015, section 4.2)."""
    return finish(conv(x, width, 3, name=stem_layer("conv")), name=stem_layer("norm"))


def imagenet_stem(
    x: KerasTensor,
    width: int,
    *,
    conv: Callable[..., KerasTensor],
    norm_relu: Callable[..., KerasTensor],
    finish: Callable[..., KerasTensor],
) -> KerasTensor:
    """Compute maps of a quarter of the size (He et al. 2015, table 1).

    A 7x7 convolution of stride 2, then a 3x3 max-pool of stride 2.
    """
    return _max_pool(finish(conv(x, width, 7, 2, name=stem_layer("conv")), name=stem_layer("norm")))


def deep_stem(
    x: KerasTensor,
    width: int,
    *,
    conv: Callable[..., KerasTensor],
    norm_relu: Callable[..., KerasTensor],
    finish: Callable[..., KerasTensor],
) -> KerasTensor:
    """Compute maps of a quarter of the size (He et al. 2019, arXiv:1812.01187, ResNet-C).

    Three 3x3 convolutions, the first of stride 2 and two of half the width, then the max-pool.
    """
    half = max(width // 2, 1)
    x = norm_relu(conv(x, half, 3, 2, name=stem_layer("conv1")), name=stem_layer("norm1"))
    x = norm_relu(conv(x, half, 3, name=stem_layer("conv2")), name=stem_layer("norm2"))
    return _max_pool(finish(conv(x, width, 3, name=stem_layer("conv3")), name=stem_layer("norm3")))


def _max_pool(x: KerasTensor) -> KerasTensor:
    # Zeros never win over a maximum of ReLU outputs, so they pad as well as minus infinity. The
    # signed maps of a pre-activation network meet them too (as in BiT, Kolesnikov et al. 2020).
    x = layers.ZeroPadding2D(1, name=stem_layer("pool_padding"))(x)
    return layers.MaxPooling2D(3, 2, name=stem_layer("pool"))(x)


STEMS: dict[str, tuple[Callable[..., KerasTensor], int]] = {
    "cifar": (cifar_stem, 1),
    "imagenet": (imagenet_stem, 4),
    "deep": (deep_stem, 4),
}
"""Name of each stem -> (the stem, how many times smaller its output is than its input)."""
