"""Shortcuts: what a block adds to its result.

Each takes `x`, [batch, height, width, channels], and brings it to `filters` channels and a size
`strides` times smaller; what fits already stays as it is (the identity shortcut). `conv` is a
convolution with its layer and seed bound, `norm` builds a batch-norm layer or is None.
"""

from collections.abc import Callable

import keras
from keras import KerasTensor, layers

from pipeline.models.names import ADD, PROJECTION, PROJECTION_NORM, SHORTCUT_POOL, SHORTCUT_SUBSAMPLE


def fits(x: KerasTensor, filters: int, strides: int) -> bool:
    """Whether `x` has the wanted shape already."""
    return strides == 1 and x.shape[-1] == filters


def projection(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer] | None,
    name: str,
) -> KerasTensor:
    """Project by a 1x1 convolution with `strides` (He et al. 2015, section 3.3, option B)."""
    if fits(x, filters, strides):
        return x
    x = conv(x, filters, 1, strides, name=f"{name}_{PROJECTION}")
    return norm(name=f"{name}_{PROJECTION_NORM}")(x) if norm else x


def pooling(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer] | None,
    name: str,
) -> KerasTensor:
    """Average, then project: ResNet-D of He et al. 2019 (arXiv:1812.01187), section 4.2.

    So no position is skipped, as three of four are by a 1x1 convolution of stride 2.
    """
    if strides > 1:
        # "same" averages what is there: at the border of an odd size, fewer positions.
        x = layers.AveragePooling2D(strides, strides, "same", name=f"{name}_{SHORTCUT_POOL}")(x)
    return projection(x, filters, 1, conv=conv, norm=norm, name=name)


def zero_padding(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer] | None,
    name: str,
) -> KerasTensor:
    """Take every `strides`-th position, and zeros for new channels (He et al. 2015, option A).

    It has no weights. Half of the zeros stand before the channels that there are, half behind.
    """
    if strides > 1:
        # The maximum of one position: TFLite has integer kernels for it, and it can be named.
        x = layers.MaxPooling2D(1, strides, name=f"{name}_{SHORTCUT_SUBSAMPLE}")(x)
    missing = filters - x.shape[-1]
    if missing:
        x = keras.ops.pad(x, [[0, 0], [0, 0], [0, 0], [missing // 2, missing - missing // 2]])
    return x


def none(x: KerasTensor, filters: int, strides: int, **settings: object) -> None:
    """Add nothing: the plain network that a residual one is compared with (section 4.1)."""


def add(shortcut: KerasTensor | None, x: KerasTensor, name: str) -> KerasTensor:
    """Add a shortcut, where there is one."""
    return x if shortcut is None else layers.Add(name=f"{name}_{ADD}")([shortcut, x])


SHORTCUTS: dict[str, Callable[..., KerasTensor | None]] = {
    "projection": projection,
    "pooling": pooling,
    "zero_padding": zero_padding,
    "none": none,
}
"""The shortcuts by name."""
