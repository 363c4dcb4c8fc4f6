"""The int8 file: quantise, judge, and where that fails climb the repair ladder."""

from collections.abc import Collection, Iterator

import numpy as np

from export.alignment import align_weights
from export.benchmark import measure_file
from export.calibration import Calibrator, scale_changes
from export.converter import quantize_to_int8
from export.findings import Halves, Tried
from export.finished_run import FinishedRun, load_calibration
from export.graph import Graph, read_graph, verify_built_in, verify_integer_only
from export.judge import Judge
from export.repair import climb

TIMED_PICTURES, TIMED_SECONDS = 20, 0.2
"""How long each way to quantise is timed, and on how many pictures."""


def try_rungs(
    float32: bytes,
    run: FinishedRun,
    images: np.ndarray,
    judge: Judge,
    *,
    layers: Collection[str],
    input_type: str,
    max_drop: float,
) -> Iterator[Tried]:
    """Yield one way to quantise after the other, each judged.

    Args:
        float32: the float32 .tflite file.
        run: the finished run.
        images: the calibration pictures.
        judge: of the test split.
        layers: names of the Keras model's layers.
        input_type: int8 or uint8.
        max_drop: percentage points of test accuracy that quantisation may cost.

    Raises:
        ExportFailed: a file computes in floating point where it must not.
    """

    def draw_more(more: int) -> np.ndarray:
        return load_calibration(run, more).images

    for rung in climb(float32, images, draw_more, layers, input_type):
        content = align_weights(rung.content)
        graph = read_graph(content, layers)
        verify_built_in(graph)
        verify_integer_only(graph, rung.kept_float)
        comparison = judge.compare(judge.scores({"int8": content})["int8"])
        yield Tried(
            rung.name,
            content,
            rung.kept_float,
            comparison,
            measure_file(content, images[:TIMED_PICTURES], 1, TIMED_SECONDS).p50_ms,
            comparison.passes(max_drop),
        )


def compare_halves(
    float32: bytes, images: np.ndarray, judge: Judge, layers: Collection[str]
) -> Halves:
    """Quantise by either half of the calibration pictures and see how far the results differ.

    Args:
        float32: the float32 .tflite file.
        images: the calibration pictures, in random order.
        judge: of the test split.
        layers: names of the Keras model's layers.
    """
    halves = np.array_split(images, 2)
    ranges = [Calibrator(float32, half).full for half in halves]
    scores = judge.scores(
        {
            f"half {place}": quantize_to_int8(float32, observed)
            for place, observed in enumerate(ranges, start=1)
        }
    )
    changes = scale_changes(*ranges)
    largest = max(changes, key=lambda name: changes[name])
    answers = [of_half.argmax(axis=-1) for of_half in scores.values()]
    return Halves(
        pictures=tuple(len(half) for half in halves),
        median_scale_change=float(np.median(list(changes.values()))),
        largest_scale_change=changes[largest],
        largest_layer=_layer_writing(read_graph(float32, layers), largest),
        agreement=float(np.mean(answers[0] == answers[1])),
        accuracies=tuple(judge.compare(of_half).accuracy for of_half in scores.values()),
    )


def _layer_writing(graph: Graph, tensor: str) -> str:
    return next(op.layer for op in graph.operations if op.output.name == tensor)
