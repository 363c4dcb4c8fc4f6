"""What a network is made of, part by part: shape, parameters, multiply-adds, receptive field."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import groupby

import keras
from keras import layers

from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.models.names import (
    ADD,
    CONCATENATION,
    DROPOUT,
    HEAD,
    NORMALIZATION,
    PIXELS,
    PROJECTION,
    SHORTCUT_POOL,
    block_of,
    is_in_shortcut,
    part_of,
    role_of,
)

ROW_OF = {PIXELS: "input", NORMALIZATION: "input", "final": "final norm", DROPOUT: HEAD}
"""A layer's part, by its name -> where it is shown, if not under that."""


@dataclass(frozen=True)
class Block:
    """A residual or dense block.

    Attributes:
        path: its layers without those of the shortcut, in the order of the forward pass.
        shortcut: `identity`, `projection`, `average-pool + projection`, `zero padding`,
            `concatenation` or None.
    """

    path: tuple[keras.Layer, ...]
    shortcut: str | None


@dataclass(frozen=True)
class Part:
    """A part of a network: its stem, a stage, its head.

    Attributes:
        name: `input`, `stem`, `stage1`, `hidden`, `final norm`, `pool`, `head` and the like.
        layers: in the order of the forward pass.
        entry: its layers that come before its blocks; all where it has none.
        blocks: those of a residual or dense stage; empty elsewhere.
        output_shape: height, width and channels, or features alone.
        parameters: that train.
        multiply_adds: of one image.
        receptive_field: side in pixels of what one position of the output sees; infinite where
            it sees the whole image, however large that is.
    """

    name: str
    layers: tuple[keras.Layer, ...]
    entry: tuple[keras.Layer, ...]
    blocks: tuple[Block, ...]
    output_shape: tuple[int, ...]
    parameters: int
    multiply_adds: int
    receptive_field: float


def dissect(model: keras.Model) -> list[Part]:
    """List the parts of a network of `pipeline.models`, from `input` to `head`."""
    fields, costs = receptive_fields(model), multiply_adds(model)
    return [
        Part(
            name=name,
            layers=members,
            entry=tuple(layer for layer in members if not block_of(layer.name)),
            blocks=tuple(_dissect_block(inside) for block, inside in _grouped(members, block_of) if block),
            output_shape=members[-1].output.shape[1:],
            parameters=sum(map(count_parameters, members)),
            multiply_adds=sum(costs.get(layer.name, 0) for layer in members),
            receptive_field=fields[members[-1].name],
        )
        for name, members in _grouped(model.layers, _row_of)
    ]


def receptive_fields(model: keras.Model) -> dict[str, float]:
    """Compute how many pixels of the input, on a side, can change one position of each output.

    Araujo et al. 2019, "Computing receptive fields of convolutional neural networks" (Distill,
    doi:10.23915/distill.00021), eq. 2, layer by layer: a kernel of k positions, which lie `jump`
    pixels apart, adds `(k - 1) * jump` to the field; a stride multiplies the jump. Where branches
    meet, the larger field counts, because here all branches are centred on the same pixels. The
    field is infinite behind global pooling and dense layers: every pixel counts.

    Args:
        model: of square kernels and strides.

    Returns:
        Name of each layer or operation -> side of its field in pixels.
    """
    reach: dict[int, tuple[float, int]] = {}
    fields = {}
    for operation in model.operations:
        sources = (reach[id(tensor)] for tensor in keras.tree.flatten(operation.input))
        field, jump = max(sources, default=(1, 1))
        kernel_size, strides = _window(operation)
        fields[operation.name] = field + (kernel_size - 1) * jump
        reach[id(operation.output)] = fields[operation.name], jump * strides
    return fields


def _window(operation: keras.Operation) -> tuple[float, int]:
    """Return how many positions of its input an output sees on a side, and the stride."""
    match operation:
        case layers.Conv2D() | layers.DepthwiseConv2D():
            return operation.kernel_size[0], operation.strides[0]
        case layers.MaxPooling2D() | layers.AveragePooling2D():
            return operation.pool_size[0], operation.strides[0]
        case layers.Dense() | layers.GlobalAveragePooling2D():
            return math.inf, 1
    return 1, 1


def _dissect_block(members: tuple[keras.Layer, ...]) -> Block:
    roles = {role_of(layer.name): layer for layer in members}
    path = (layer for role, layer in roles.items() if not is_in_shortcut(role))
    if CONCATENATION in roles:
        shortcut = CONCATENATION
    elif ADD not in roles:
        shortcut = None
    elif SHORTCUT_POOL in roles:
        shortcut = "average-pool + projection"
    elif PROJECTION in roles:
        shortcut = "projection"
    else:
        fits = members[0].input.shape == roles[ADD].output.shape
        shortcut = "identity" if fits else "zero padding"
    return Block(tuple(path), shortcut)


def _row_of(layer: str) -> str:
    part = part_of(layer)
    return ROW_OF.get(part, part)


def _grouped(
    members: Iterable[keras.Layer], key: Callable[[str], str]
) -> list[tuple[str, tuple[keras.Layer, ...]]]:
    """Gather neighbours whose names have the same key."""
    return [(name, tuple(group)) for name, group in groupby(members, lambda layer: key(layer.name))]
