"""The repair ladder: ways to quantise to int8, from the plain one to the most indulgent."""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

import numpy as np

from export.calibration import Calibrator, clip_by_percentile, clip_by_squared_error
from export.converter import quantize_to_int8
from export.graph import Graph, read_graph
from export.layer_error import LayerError, rank_layers

MORE_PICTURES = 4
"""Times the calibration split that the second rung draws from train as well."""

LAYERS_IN_FLOAT = (1, 2, 4)
"""How many of the worst layers the last rungs leave in float32."""


@dataclass(frozen=True)
class Rung:
    """One way to quantise.

    Attributes:
        name: what was done, in words.
        content: the .tflite file.
        kept_float: Keras layers left in float32.
    """

    name: str
    content: bytes
    kept_float: tuple[str, ...] = ()


def climb(
    float32: bytes,
    images: np.ndarray,
    draw_more: Callable[[int], np.ndarray],
    layers: Collection[str],
    input_type: str,
) -> Iterator[Rung]:
    """Yield one rung after the other; whoever judges them stops when one is good enough.

    Args:
        float32: the float32 .tflite file.
        images: the calibration pictures, uint8 [pictures, height, width, 3].
        draw_more: from a number to the calibration pictures and so many of train.
        layers: names of the Keras model's layers.
        input_type: int8 or uint8.
    """
    calibrator = Calibrator(float32, images)
    yield Rung(
        f"{len(images)} calibration pictures, full range",
        quantize_to_int8(float32, calibrator.full, input_type),
    )
    images = draw_more(MORE_PICTURES * len(images))
    calibrator = Calibrator(float32, images)
    yield Rung(
        f"{len(images)} calibration pictures, full range",
        quantize_to_int8(float32, calibrator.full, input_type),
    )
    ranges = calibrator.clipped(clip_by_percentile)
    yield Rung("ranges clipped by percentile", quantize_to_int8(float32, ranges, input_type))
    ranges = calibrator.clipped(clip_by_squared_error)
    yield Rung("ranges of least squared error", quantize_to_int8(float32, ranges, input_type))
    # Quantisation-aware fine-tuning belongs here: it costs training, but no speed on the device.
    graph = read_graph(float32, layers)
    worst = rank_layers(float32, ranges, images[: len(images) // MORE_PICTURES], layers)
    for count in LAYERS_IN_FLOAT:
        tensors, kept = _with_readers(graph, worst[:count])
        yield Rung(
            f"{' and '.join(dict.fromkeys(error.layer for error in worst[:count]))} in float32",
            quantize_to_int8(float32, ranges, input_type, tensors),
            kept,
        )


def _with_readers(graph: Graph, errors: list[LayerError]) -> tuple[set[str], tuple[str, ...]]:
    """Find what must stay in float so that the layers' outputs are never quantised.

    Returns:
        Output tensors of the operations themselves and of all that read them; their layers.
    """
    written = {error.tensor for error in errors}
    chosen = [
        operation
        for operation in graph.operations
        if operation.output.name in written
        or any(tensor.name in written for tensor in operation.inputs)
    ]
    # The scores are int8 in the end, whatever writes them.
    chosen = [operation for operation in chosen if operation.output != graph.output]
    layers = tuple(dict.fromkeys(operation.layer for operation in chosen))
    return {operation.output.name for operation in chosen}, layers
