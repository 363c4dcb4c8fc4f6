"""Residual networks, written the way the papers draw them: stem, block, stage, net.

He et al., "Deep Residual Learning for Image Recognition", 2015 (arXiv:1512.03385), and its family.
"""

from collections.abc import Callable
from functools import partial

from keras import KerasTensor, layers

from pipeline.config.architectures import ResidualArchitecture
from pipeline.errors import UserError, unknown
from pipeline.models.blocks import basic_block, bottleneck_block, preactivation_block
from pipeline.models.elements import norm_relu
from pipeline.models.names import FINAL_NORM, POOL, block_name
from pipeline.models.shortcuts import SHORTCUTS
from pipeline.models.stems import STEMS


def check_stem(stem: str, input_shape: tuple[int, int, int], stages: int) -> None:
    """Raise `UserError` unless the stem exists and the pixels last for `stages` stages."""
    if stem not in STEMS:
        raise unknown("stem", stem, STEMS)
    height, width, _ = input_shape
    smallest = STEMS[stem][1] * 2 ** (stages - 1)
    if min(height, width) < smallest:
        raise UserError(
            f"images for the {stem} stem must be at least {smallest} x {smallest} pixels; "
            f"received {height} x {width}"
        )


def stage(
    x: KerasTensor, filters: int, blocks: int, strides: int, *, block: Callable[..., KerasTensor], number: int
) -> KerasTensor:
    """Stack `blocks` blocks of equal width; only the first has `strides`."""
    for index in range(1, blocks + 1):
        x = block(x, filters, strides if index == 1 else 1, name=block_name(number, index))
    return x


def bind_block(
    architecture: ResidualArchitecture,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
    zero_init: bool,
    dropout: float,
    seed: int,
) -> Callable[..., KerasTensor]:
    """Return the architecture's block as a function of maps, filters, strides and name."""
    shortcut = SHORTCUTS[architecture.shortcut]
    if architecture.block == "basic":
        return partial(basic_block, conv=conv, norm=norm, shortcut=shortcut, zero_init=zero_init)
    if architecture.block == "bottleneck":
        return partial(
            bottleneck_block,
            conv=conv,
            norm=norm,
            shortcut=shortcut,
            zero_init=zero_init,
            groups=architecture.groups,
            inner_factor=architecture.inner_factor,
        )
    dropout = dropout if architecture.dropout_in_blocks else 0.0
    return partial(preactivation_block, conv=conv, norm=norm, shortcut=shortcut, dropout=dropout, seed=seed)


def residual_features(
    x: KerasTensor,
    architecture: ResidualArchitecture,
    *,
    stem: str,
    zero_init: bool,
    dropout: float,
    seed: int,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
) -> KerasTensor:
    """Turn normalised pixels into one float32 feature vector an image.

    Args:
        x: float32 [batch, height, width, channels].
        architecture: which blocks, how many and how wide.
        stem: `cifar`, `imagenet` or `deep`.
        zero_init: start each block as its shortcut.
        dropout: share of features dropped in the blocks of those networks that have it there.
        seed: of the dropout.
        conv: `convolution` with its layer and seed bound.
        norm: builds a batch-norm layer.

    Returns:
        [batch, features]

    Raises:
        UserError: unknown stem, or an image so small that a stage would no longer halve it.
    """
    check_stem(stem, x.shape[1:], stages=len(architecture.blocks))
    block = bind_block(architecture, conv=conv, norm=norm, zero_init=zero_init, dropout=dropout, seed=seed)
    activate = partial(norm_relu, norm=norm)
    preactivation = architecture.block == "preactivation"
    build_stem, _ = STEMS[stem]
    x = build_stem(
        x,
        architecture.stem_width or architecture.width,
        conv=conv,
        norm_relu=activate,
        finish=_leave if preactivation else activate,
    )
    for index, blocks in enumerate(architecture.blocks):
        filters, strides = architecture.width * 2**index, 1 if index == 0 else 2
        x = stage(x, filters, blocks, strides, block=block, number=index + 1)
    if preactivation:
        x = activate(x, name=FINAL_NORM)
    return layers.GlobalAveragePooling2D(name=POOL, dtype="float32")(x)


def _leave(x: KerasTensor, name: str) -> KerasTensor:
    return x
