"""Residual blocks: a few convolutions, and a shortcut around them.

Each takes `x`, [batch, height, width, channels], and returns maps of a size `strides` times
smaller. `conv` is a convolution with its layer and seed bound, `norm` builds a batch-norm layer,
`shortcut` is one of `SHORTCUTS`, `name` is the prefix of every layer's name. Where `zero_init`,
the last norm's scale starts at 0, so that the block starts as its shortcut (Goyal et al. 2017,
arXiv:1706.02677, section 5.1).
"""

from collections.abc import Callable

from keras import KerasTensor, layers

from pipeline.models.elements import layer_seed, norm_relu
from pipeline.models.shortcuts import add, fits

EXPANSION = 4
"""Channels that leave a bottleneck block, as a multiple of its stage's width."""


def basic_block(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
    shortcut: Callable[..., KerasTensor],
    zero_init: bool,
    name: str,
) -> KerasTensor:
    """Compute `relu(shortcut(x) + norm2(conv2(relu(norm1(conv1(x))))))`, both 3x3.

    He et al. 2015 (arXiv:1512.03385), figure 5, left.
    """
    kept = shortcut(x, filters, strides, conv=conv, norm=norm, name=name)
    x = conv(x, filters, 3, strides, name=f"{name}_conv1")
    x = norm_relu(x, norm=norm, name=f"{name}_norm1")
    x = conv(x, filters, 3, name=f"{name}_conv2")
    x = norm(gamma_initializer="zeros" if zero_init else "ones", name=f"{name}_norm2")(x)
    return layers.ReLU(name=f"{name}_relu2")(add(kept, x, name))


def bottleneck_block(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
    shortcut: Callable[..., KerasTensor],
    zero_init: bool,
    groups: int,
    inner_factor: int,
    name: str,
) -> KerasTensor:
    """Compute `relu(shortcut(x) + norm3(conv3(relu(norm2(conv2(relu(norm1(conv1(x)))))))))`.

    A 1x1, a 3x3 and a 1x1 convolution (He et al. 2015, figure 5, right). The 3x3 has the stride,
    as everybody's published weights do ("v1.5"; the paper's first 1x1 would skip positions), and
    `groups` groups (ResNeXt: Xie et al. 2017, arXiv:1611.05431, figure 3c).

    Returns:
        4 x `filters` channels.
    """
    kept = shortcut(x, EXPANSION * filters, strides, conv=conv, norm=norm, name=name)
    inner = inner_factor * filters
    x = conv(x, inner, 1, name=f"{name}_conv1")
    x = norm_relu(x, norm=norm, name=f"{name}_norm1")
    x = conv(x, inner, 3, strides, groups=groups, name=f"{name}_conv2")
    x = norm_relu(x, norm=norm, name=f"{name}_norm2")
    x = conv(x, EXPANSION * filters, 1, name=f"{name}_conv3")
    x = norm(gamma_initializer="zeros" if zero_init else "ones", name=f"{name}_norm3")(x)
    return layers.ReLU(name=f"{name}_relu3")(add(kept, x, name))


def preactivation_block(
    x: KerasTensor,
    filters: int,
    strides: int,
    *,
    conv: Callable[..., KerasTensor],
    norm: Callable[..., layers.Layer],
    shortcut: Callable[..., KerasTensor],
    dropout: float,
    seed: int,
    name: str,
) -> KerasTensor:
    """Compute `shortcut(x) + conv2(drop(relu(norm2(conv1(relu(norm1(x)))))))`, both 3x3.

    He et al. 2016 (arXiv:1603.05027), figure 4e; dropout of Zagoruyko & Komodakis 2016
    (arXiv:1605.07146), section 2.4. A shortcut that changes the shape takes `relu(norm1(x))` and
    has no norm of its own.
    """
    activated = norm_relu(x, norm=norm, name=f"{name}_norm1")
    kept = x if fits(x, filters, strides) else activated
    kept = shortcut(kept, filters, strides, conv=conv, norm=None, name=name)
    x = conv(activated, filters, 3, strides, name=f"{name}_conv1")
    x = norm_relu(x, norm=norm, name=f"{name}_norm2")
    if dropout:
        drop_name = f"{name}_dropout"
        x = layers.Dropout(dropout, seed=layer_seed(seed, drop_name), name=drop_name)(x)
    x = conv(x, filters, 3, name=f"{name}_conv2")
    return add(kept, x, name)
