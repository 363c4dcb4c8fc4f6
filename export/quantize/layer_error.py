"""How much error the quantisation of each layer adds, worst first."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from export.convert.converter import Range, quantize_beside_float
from pipeline.console.progress import Progress
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Graph, Operation
from pipeline.tflite.interpreter import Interpreter, dequantize


@dataclass(frozen=True)
class LayerError:
    """What one quantised operation adds.

    Attributes:
        layer: its Keras layer.
        operation: TFLite's name of it.
        tensor: name of its output in the float graph.
        signal_to_noise_db: of its output, in decibels; low is bad.
    """

    layer: str
    operation: str
    tensor: str
    signal_to_noise_db: float


def rank_layers(float32: TFLiteFile, ranges: Mapping[str, Range], images: np.ndarray) -> list[LayerError]:
    """Compare each int8 operation with its float twin on the same input, worst first.

    So the error of the layers before does not count. The ratio is that of powers, averaged over
    channels: one loud channel must not hide that the quantisation silenced the others.

        SNR = -10 log10 mean_c (sum (q_c - f_c)^2 / sum f_c^2)

    Args:
        float32: the network in float32.
        ranges: of its activations.
        images: uint8 [images, height, width, 3].
    """
    tensors = {operation.output.name for operation in float32.graph.operations}
    both = quantize_beside_float(float32, ranges)
    pairs = _pairs(both.graph)
    model = Interpreter(both.content, keep_tensors=True)
    signal = [np.zeros(twin.output.shape[-1]) for _, twin in pairs]
    noise = [np.zeros_like(channels) for channels in signal]
    with Progress(len(images), "comparing layers", "images") as progress:
        for image in images:
            model.run(model.encode(image[None]))
            for place, (quantised, twin) in enumerate(pairs):
                exact = model.tensor(twin.output.index).astype(np.float64)
                scale, zero_point = quantised.output.scales[0], quantised.output.zero_points[0]
                levels = model.tensor(quantised.output.index)
                off = dequantize(levels, scale, zero_point) - exact
                signal[place] += (exact**2).reshape(-1, exact.shape[-1]).sum(axis=0)
                noise[place] += (off**2).reshape(-1, exact.shape[-1]).sum(axis=0)
            progress.update(1)
    errors = []
    for (quantised, twin), power, lost in zip(pairs, signal, noise, strict=True):
        # Of each pair one bears the name that the float graph knows, the other a new one.
        (name,) = tensors & {quantised.output.name, twin.output.name}
        errors.append(LayerError(quantised.layer, quantised.name, name, _decibels(power, lost)))
    return sorted(errors, key=lambda error: error.signal_to_noise_db)


def _pairs(graph: Graph) -> list[tuple[Operation, Operation]]:
    """Find the (quantised, float) operations that the converter put side by side."""
    writer = {operation.output.index: operation for operation in graph.operations}
    found = [operation.inputs for operation in graph.operations if operation.custom]
    return [(writer[quantised.index], writer[twin.index]) for quantised, twin in found]


def _decibels(signal: np.ndarray, noise: np.ndarray) -> float:
    alive = signal > 0
    if not alive.any() or not noise[alive].any():
        return math.inf
    return float(-10 * np.log10(np.mean(noise[alive] / signal[alive])))
