"""Which values each activation takes, and the range that its int8 levels are to cover."""

from collections.abc import Callable, Iterable

import numpy as np

from export.convert.converter import Range
from pipeline.console.progress import Progress
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Tensor
from pipeline.tflite.interpreter import Interpreter

BINS = 2048
"""Of each activation's histogram."""

LEVELS = 256
"""Of an int8 activation."""

PERCENTILE = 99.99
"""Share of values that a clipped range keeps on either side, in percent (Wu et al. 2020)."""

SHRINKS = np.linspace(0.05, 1.0, 96)
"""Shares of the full range that are tried for the least squared error."""

PIXELS = Range(0.0, 255.0)
"""Of the graph's input: scale 1, so that a device has to subtract 128 and no more."""


class Calibrator:
    """Runs the float network over calibration images and watches its activations.

    Args:
        float32: the network in float32.
        images: uint8 [images, height, width, 3], real and un-augmented.
    """

    def __init__(self, float32: TFLiteFile, images: np.ndarray) -> None:
        graph = float32.graph
        self._model = Interpreter(float32.content, keep_tensors=True)
        self._images = images
        self._input = graph.input
        self._activations = [operation.output for operation in graph.operations]
        # Clipped scores would tie, and the greatest of them could no longer be told.
        head = max(place for place, op in enumerate(graph.operations) if op.multiply_adds)
        scores = {operation.output.name for operation in graph.operations[head:]}
        self._never_clipped = {graph.input.name, *scores}
        self.full = self._observe()

    def _runs(self, label: str) -> Iterable[None]:
        with Progress(len(self._images), label, "images") as progress:
            for image in self._images:
                self._model.run(self._model.encode(image[None]))
                yield
                progress.update(1)

    def _observe(self) -> dict[str, Range]:
        """Least and greatest value of each activation, by its tensor's name."""
        low = np.full(len(self._activations), np.inf)
        high = np.full(len(self._activations), -np.inf)
        for _ in self._runs("calibrating"):
            values = [self._model.tensor(tensor.index) for tensor in self._activations]
            low = np.minimum(low, [value.min() for value in values])
            high = np.maximum(high, [value.max() for value in values])
        names = [tensor.name for tensor in self._activations]
        observed = zip(names, low, high, strict=True)
        ranges = {name: Range(float(least), float(most)) for name, least, most in observed}
        return {**ranges, self._input.name: PIXELS}

    def clipped(self, clip: Callable[[np.ndarray, Range], Range]) -> dict[str, Range]:
        """Clip every activation's range but those of the input and of the scores.

        Args:
            clip: from a histogram, counts [BINS] over the full range, and that range to the
                clipped one: `clip_by_percentile` or `clip_by_squared_error`.
        """
        activations = [
            tensor
            for tensor in self._activations
            if tensor.name not in self._never_clipped and _is_wide(self.full[tensor.name])
        ]
        counts = np.zeros((len(activations), BINS), np.int64)
        for _ in self._runs("drawing histograms"):
            for row, tensor in enumerate(activations):
                counts[row] += self._histogram(tensor)
        clipped = {
            tensor.name: clip(row, self.full[tensor.name])
            for tensor, row in zip(activations, counts, strict=True)
        }
        return {**self.full, **clipped}

    def _histogram(self, tensor: Tensor) -> np.ndarray:
        full = self.full[tensor.name]
        values = self._model.tensor(tensor.index)
        return np.histogram(values, BINS, (full.low, full.high))[0]


def _is_wide(observed: Range) -> bool:
    return observed.high - observed.low > 1e-6


def clip_by_percentile(counts: np.ndarray, full: Range) -> Range:
    """Leave out the rarest values at either end.

    Wu et al. 2020, "Integer quantization for deep learning inference" (arXiv:2004.09602),
    section 3.3.
    """
    edges = np.linspace(full.low, full.high, BINS + 1)
    below = np.cumsum(counts) / counts.sum()
    rare = 1 - PERCENTILE / 100
    low = edges[np.searchsorted(below, rare, side="right")]
    high = edges[np.searchsorted(below, 1 - rare) + 1]
    return _with_zero(low, high, full)


def clip_by_squared_error(counts: np.ndarray, full: Range) -> Range:
    """Take the share of the range whose rounding and clipping cost the least squared error.

    With step d = (high - low) / 255, a value within costs d^2 / 12 on average, one that rounds to
    zero its square, one without the square of its distance (Nagel et al. 2021, "A white paper on
    neural network quantization", arXiv:2106.08295, section 3.1).
    """
    edges = np.linspace(full.low, full.high, BINS + 1)
    centres = (edges[:-1] + edges[1:]) / 2
    low, high = min(full.low, 0.0), max(full.high, 0.0)

    def error(share: float) -> float:
        step = (high - low) * share / (LEVELS - 1)
        outside = centres - np.clip(centres, low * share, high * share)
        # Half of what a rectifier passes is zero, and zero is exact.
        rounding = np.where(np.abs(centres) < step / 2, centres**2, step**2 / 12)
        return float(counts @ np.where(outside == 0, rounding, outside**2))

    best = min(SHRINKS, key=error)
    return _with_zero(low * best, high * best, full)


def _with_zero(low: float, high: float, full: Range) -> Range:
    """Keep zero inside, which padding and rectifiers need exactly, and stay within `full`."""
    low, high = max(low, full.low), min(high, full.high)
    return Range(float(min(low, 0.0)), float(max(high, 0.0)))
