"""What stands in the boxes of a diagram: a block of layers as lines of text and colours."""

from collections.abc import Sequence
from dataclasses import dataclass

from keras import Layer, layers

from pipeline.inspection.anatomy import Block
from pipeline.models.names import CONCATENATION

TIMES = "\N{MULTIPLICATION SIGN}"
SPATIAL, POINTWISE, POOLING, DENSE, OTHER = "#b9d4ee", "#e0ecf8", "#d3ebcd", "#fbdcb9", "#e6eaee"
"""Colours: convolutions over several positions and over one, pooling, dense, all else."""


@dataclass(frozen=True)
class Box:
    """One or several layers that are drawn as one.

    Attributes:
        lines: its text; none where a block and its shortcut meet.
        colour: by the layer that computes.
    """

    lines: tuple[str, ...]
    colour: str


OPENS_NORM_FIRST = (layers.BatchNormalization, layers.AveragePooling2D)
"""What begins a box where a norm belongs to the convolution behind it."""


def boxes_of(block: Block) -> tuple[Box, ...]:
    """Gather a block's layers into boxes.

    A norm and a ReLU belong to the convolution before them, or, where the block begins with a norm
    (pre-activation), to the one behind them.
    """
    norm_first = isinstance(block.path[0], layers.BatchNormalization)
    groups: list[list[Layer]] = []
    for layer in block.path:
        opens = isinstance(layer, OPENS_NORM_FIRST) if norm_first else _computes(layer)
        if not groups or opens or _is_junction(groups[-1][0]) or _is_junction(layer):
            groups.append([])
        groups[-1].append(layer)
    if boxes_before_shortcut(block):
        groups[:1] = groups[0][:2], groups[0][2:]
    return tuple(_box(group) for group in groups if _is_junction(group[0]) or _lines(group))


def boxes_before_shortcut(block: Block) -> int:
    """Count the boxes that a block's shortcut does not go around: the norm and ReLU it shares.

    With pre-activation, a shortcut that changes the shape takes what is activated already; see
    `preactivation_block`.
    """
    norm_first = isinstance(block.path[0], layers.BatchNormalization)
    return int(norm_first and block.shortcut not in (None, "identity", CONCATENATION))


def _is_junction(layer: Layer) -> bool:
    return isinstance(layer, layers.Add | layers.Concatenate)


def _computes(layer: Layer) -> bool:
    """Whether a layer is more than what follows another."""
    return not isinstance(layer, layers.BatchNormalization | layers.ReLU | layers.Dropout)


def _box(group: Sequence[Layer]) -> Box:
    return Box(_lines(group), next(filter(None, map(_colour, group)), OTHER))


def _lines(group: Sequence[Layer]) -> tuple[str, ...]:
    lines = [line for layer in group for line in _words(layer)]
    return tuple("\n".join(lines).replace("norm\nReLU", "norm, ReLU").splitlines())


def _words(layer: Layer) -> list[str]:
    match layer:
        case layers.Conv2D():
            kernel = f"{layer.kernel_size[0]}{TIMES}{layer.kernel_size[1]}"
            groups = [f"{layer.groups} groups"] if layer.groups > 1 else []
            return [f"{kernel} conv, {layer.filters:,}", *groups, *_stride(layer)]
        case layers.DepthwiseConv2D():
            return [f"{layer.kernel_size[0]}{TIMES}{layer.kernel_size[1]} depthwise", *_stride(layer)]
        case layers.MaxPooling2D():
            kernel = f"{layer.pool_size[0]}{TIMES}{layer.pool_size[1]}"
            return [f"{kernel} max-pool", *_stride(layer)]
        case layers.AveragePooling2D():
            kernel = f"{layer.pool_size[0]}{TIMES}{layer.pool_size[1]}"
            return [f"{kernel} average-pool", *_stride(layer)]
        case layers.ReLU() if layer.max_value is not None:
            return [f"ReLU{layer.max_value:g}"]
        case layers.Dropout():
            return [f"dropout {layer.rate:g}"]
        case layers.Dense():
            return [f"dense, {layer.units:,}"]
    names = {
        layers.InputLayer: ["RGB pixels", "0 to 255"],
        layers.Normalization: ["normalisation"],
        layers.BatchNormalization: ["norm"],
        layers.ReLU: ["ReLU"],
        layers.GlobalAveragePooling2D: ["global", "average-pool"],
        layers.Flatten: ["flatten"],
    }
    return names.get(type(layer), [])


def _stride(layer: Layer) -> list[str]:
    return [f"stride {layer.strides[0]}"] if layer.strides[0] > 1 else []


def _colour(layer: Layer) -> str | None:
    match layer:
        case layers.Conv2D():
            return POINTWISE if layer.kernel_size == (1, 1) else SPATIAL
        case layers.DepthwiseConv2D():
            return SPATIAL
        case layers.MaxPooling2D() | layers.AveragePooling2D() | layers.GlobalAveragePooling2D():
            return POOLING
        case layers.Dense():
            return DENSE
    return None
