"""DenseNet: each block sees the maps of all blocks before it in its stage.

Huang et al., "Densely Connected Convolutional Networks", 2016 (arXiv:1608.06993), the variant BC:
bottlenecks in the blocks, and transitions that halve the channels.
"""

from collections.abc import Callable
from functools import partial

from keras import KerasTensor, layers

from pipeline.config.architectures import DenseArchitecture
from pipeline.models.elements import check_size, norm_relu
from pipeline.models.names import CONCATENATION, FINAL_NORM, POOL, block_name, stage_name
from pipeline.models.stems import imagenet_stem

BOTTLENECK = 4
"""Channels inside a block, as a multiple of those that it adds (section 3, "bottleneck layers")."""


def dense_block(
    x: KerasTensor,
    growth: int,
    *,
    conv: Callable[..., KerasTensor],
    activate: Callable[..., KerasTensor],
    name: str,
) -> KerasTensor:
    """Compute `concatenate(x, conv2(relu(norm2(conv1(relu(norm1(x)))))))`, a 1x1 and a 3x3.

    Section 3, "bottleneck layers": DenseNet-B.

    Returns:
        The channels of `x` and `growth` more.
    """
    kept = x
    x = conv(activate(x, name=f"{name}_norm1"), BOTTLENECK * growth, 1, name=f"{name}_conv1")
    x = conv(activate(x, name=f"{name}_norm2"), growth, 3, name=f"{name}_conv2")
    return layers.Concatenate(name=f"{name}_{CONCATENATION}")([kept, x])


def transition(
    x: KerasTensor, *, conv: Callable[..., KerasTensor], activate: Callable[..., KerasTensor], name: str
) -> KerasTensor:
    """Halve the channels by a 1x1 convolution, then the size by an average-pool (section 3)."""
    x = activate(x, name=f"{name}_norm")
    x = conv(x, x.shape[-1] // 2, 1, name=f"{name}_conv")
    return layers.AveragePooling2D(2, name=f"{name}_pool")(x)


def dense_features(
    x: KerasTensor,
    architecture: DenseArchitecture,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
) -> KerasTensor:
    """Turn normalised pixels into one float32 feature vector an image.

    Args:
        x: float32 [batch, height, width, channels].
        architecture: its blocks and width.
        conv: `convolution` with its layer and seed bound.
        norm: builds a batch-norm layer.

    Returns:
        [batch, features], the output of the layer `pool`.

    Raises:
        UserError: an image so small that a transition would no longer halve it.
    """
    check_size(x, architecture.reduction, "DenseNet")
    activate = partial(norm_relu, norm=norm)
    # A block takes many channels and adds few: by the few, maps would grow with each block.
    conv = partial(conv, fan="fan_in")
    x = imagenet_stem(x, architecture.width, conv=conv, norm_relu=activate, finish=activate)
    for number, blocks in enumerate(architecture.blocks, start=1):
        if number > 1:
            x = transition(x, conv=conv, activate=activate, name=f"{stage_name(number)}_transition")
        for index in range(1, blocks + 1):
            name = block_name(number, index)
            x = dense_block(x, architecture.width // 2, conv=conv, activate=activate, name=name)
    x = activate(x, name=FINAL_NORM)
    return layers.GlobalAveragePooling2D(name=POOL, dtype="float32")(x)
