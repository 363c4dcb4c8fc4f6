"""Strategies of quantising to int8, from the plain one to the most indulgent."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from export.convert.alignment import align_weights
from export.convert.converter import Range, quantize_to_int8
from export.convert.slim import slim_down
from export.quantize.calibration_images import CalibrationImages
from export.quantize.layer_error import LayerError, rank_layers
from export.quantize.ranges import Calibrator, clip_by_percentile, clip_by_squared_error
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Graph

MORE_IMAGES = 4
"""Times the calibration split that every strategy but the first draws from train as well."""

LAYERS_IN_FLOAT = (1, 2, 4)
"""How many of the worst layers the last strategies leave in float32."""

RANKED_IMAGES = 100
"""Over so many images the error of each layer is measured, at most."""

CLIPS = {
    "full range": None,
    "clipped by percentile": clip_by_percentile,
    "least squared error": clip_by_squared_error,
}
"""How an activation's range is found: its name in reports -> how a histogram is clipped."""


@dataclass(frozen=True)
class Trained:
    """A network that was trained for int8.

    Attributes:
        float32: the network, its new weights in float32.
        ranges: name of each activation -> the range that it was trained with.
        epochs: that it was trained for.
        scores: of validation by the simulation that was trained, float32 [images, classes].
    """

    float32: TFLiteFile
    ranges: Mapping[str, Range]
    epochs: int
    scores: np.ndarray


@dataclass(frozen=True)
class Strategy:
    """One strategy of quantisation.

    Attributes:
        calibration: the images it looks at.
        ranges: name in `CLIPS` of how the range of an activation is found.
        input_type: int8 or uint8.
        kept_float: Keras layers left in float32.
        kept_tensors: output tensors of their operations.
        slim: whether the file goes without what no device reads.
        trained: the network after training that began with these ranges, where there was any.
    """

    calibration: CalibrationImages
    input_type: str
    ranges: str = "full range"
    kept_float: tuple[str, ...] = ()
    kept_tensors: frozenset[str] = frozenset()
    slim: bool = True
    trained: Trained | None = None

    @property
    def name(self) -> str:
        """What is done, in words."""
        name = f"{len(self.calibration.images)} images, {self.ranges}"
        if self.trained:
            name += f", trained for {self.trained.epochs} epoch{'s' * (self.trained.epochs > 1)}"
        return f"{name}, {' and '.join(self.kept_float)} in float32" if self.kept_float else name

    def find_ranges(self, float32: TFLiteFile, images: np.ndarray) -> dict[str, Range]:
        """Find the range of each activation: those that were trained, or by the images."""
        if self.trained:
            return dict(self.trained.ranges)
        calibrator = Calibrator(float32, images)
        clip = CLIPS[self.ranges]
        return calibrator.clipped(clip) if clip else calibrator.full

    def quantize(self, float32: TFLiteFile, images: np.ndarray) -> TFLiteFile:
        """Quantise a float32 file in this way, by these images, weights aligned."""
        ranges = self.find_ranges(float32, images)
        network = self.trained.float32 if self.trained else float32
        file = quantize_to_int8(network, ranges, self.input_type, self.kept_tensors)
        return slim_down(file) if self.slim else align_weights(file)

    def rank_layers(self, float32: TFLiteFile) -> list[LayerError]:
        """Measure the error that each layer's quantisation adds in this way, worst first."""
        images = self.calibration.images[:RANKED_IMAGES]
        network = self.trained.float32 if self.trained else float32
        return rank_layers(network, self.find_ranges(float32, images), images)


Train = Callable[[Mapping[str, Range]], Trained]
"""From the ranges to begin with to the network after training for int8."""


def list_strategies(float32: TFLiteFile, plain: Strategy, train: Train | None = None) -> Iterator[Strategy]:
    """Yield the plain strategy and, where it is asked for, training that begins with its ranges.

    Args:
        float32: the network in float32.
        plain: by the calibration images alone.
        train: trains the network for int8; None: do not.
    """
    yield plain
    if train:
        yield _train(plain, float32, train)


def list_remedies(
    float32: TFLiteFile,
    plain: Strategy,
    draw_more: Callable[[int], CalibrationImages],
    train: Train | None = None,
) -> Iterator[Strategy]:
    """Yield the plain strategy and one remedy after the other, each prepared only when it is asked for.

    Args:
        float32: the network in float32.
        plain: by the calibration images alone.
        draw_more: from a number to the calibration images and so many of train.
        train: trains the network for int8; None: do not.
    """
    yield plain
    strategy = replace(plain, calibration=draw_more(MORE_IMAGES * len(plain.calibration.images)))
    yield strategy
    yield replace(strategy, ranges="clipped by percentile")
    strategy = replace(strategy, ranges="least squared error")
    yield strategy
    # It costs training, but no speed on the device.
    if train:
        yield _train(strategy, float32, train)
    worst = strategy.rank_layers(float32)
    for count in LAYERS_IN_FLOAT:
        tensors, kept = find_kept(float32.graph, worst[:count])
        yield replace(strategy, kept_float=kept, kept_tensors=tensors)


def _train(strategy: Strategy, float32: TFLiteFile, train: Train) -> Strategy:
    ranges = strategy.find_ranges(float32, strategy.calibration.images)
    return replace(strategy, trained=train(ranges))


def find_kept(graph: Graph, errors: Sequence[LayerError]) -> tuple[frozenset[str], tuple[str, ...]]:
    """Find what must stay in float so that the layers' outputs are never quantised.

    Returns:
        Output tensors of the operations themselves and of all that read them; their layers.
    """
    written = {error.tensor for error in errors}
    chosen = [
        operation
        for operation in graph.operations
        if operation.output.name in written or any(tensor.name in written for tensor in operation.inputs)
    ]
    # The scores are int8 in the end, whatever writes them.
    chosen = [operation for operation in chosen if operation.output != graph.output]
    layers = tuple(dict.fromkeys(operation.layer for operation in chosen))
    return frozenset(operation.output.name for operation in chosen), layers
