"""The int8 file: quantise, compare, and where that fails climb the repair ladder."""

from collections.abc import Collection, Iterator

import numpy as np

from export.quantize.calibration_images import load_calibration
from export.quantize.search import Halves, Tried
from export.quantize.strategies import Rung, climb
from export.tflite.graph import read_graph, verify_built_in, verify_integer_only
from export.tflite.latency import measure_file
from export.verify.accuracy import Judge
from pipeline.finished_run import FinishedRun

TIMED_IMAGES, TIMED_SECONDS = 20, 0.2
"""How long each way to quantise is timed, and on how many images."""


def try_rungs(
    float32: bytes, run: FinishedRun, judge: Judge, layers: Collection[str], input_type: str
) -> Iterator[Tried]:
    """Yield one way to quantise after the other, each compared with the Keras network.

    Args:
        float32: the float32 .tflite file.
        run: the finished run.
        judge: of the test split.
        layers: names of the Keras model's layers.
        input_type: int8 or uint8.

    Raises:
        ExportFailed: a file computes in floating point where it must not.
    """
    calibration = load_calibration(run)
    for rung in climb(float32, calibration, lambda more: load_calibration(run, more), layers, input_type):
        content = rung.quantize(float32, rung.calibration.images)
        graph = read_graph(content, layers)
        verify_built_in(graph)
        verify_integer_only(graph, rung.kept_float)
        comparison = judge.compare(judge.scores({"int8": content})["int8"])
        images = calibration.images[:TIMED_IMAGES]
        latency = measure_file(content, images, threads=1, seconds=TIMED_SECONDS)
        yield Tried(rung, content, comparison, latency.p50_ms)


def compare_halves(float32: bytes, rung: Rung, judge: Judge, layers: Collection[str]) -> Halves:
    """Quantise by either half of the calibration images and see how far the results differ.

    Args:
        float32: the float32 .tflite file.
        rung: the way to quantise; its diagrams are in random order.
        judge: of the test split.
        layers: names of the Keras model's layers.
    """
    halves = np.array_split(rung.calibration.images, 2)
    files = {f"half {place}": rung.quantize(float32, half) for place, half in enumerate(halves, start=1)}
    changes = scale_changes(*files.values(), layers)
    largest = max(changes, key=lambda layer: changes[layer])
    scores = judge.scores(files)
    answers = [of_half.argmax(axis=-1) for of_half in scores.values()]
    return Halves(
        images=tuple(len(half) for half in halves),
        median_scale_change=float(np.median(list(changes.values()))),
        largest_scale_change=changes[largest],
        largest_layer=largest,
        agreement=float(np.mean(answers[0] == answers[1])),
        accuracies=tuple(judge.compare(of_half).accuracy for of_half in scores.values()),
    )


def scale_changes(one: bytes, other: bytes, layers: Collection[str]) -> dict[str, float]:
    """How far the scale of each layer's output differs between two int8 files of one network.

    Returns:
        Keras layer -> |s1 - s2| / mean(s1, s2), in [0, 2]; the greatest of its operations'.
    """
    changes: dict[str, float] = {}
    pairs = zip(read_graph(one, layers).operations, read_graph(other, layers).operations, strict=True)
    for first, second in pairs:
        if len(first.output.scales):
            scales = first.output.scales[0], second.output.scales[0]
            change = float(abs(scales[0] - scales[1]) / np.mean(scales))
            changes[first.layer] = max(change, changes.get(first.layer, 0.0))
    return changes
