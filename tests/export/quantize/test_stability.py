"""Each rung before the judge, and what two halves of the calibration images agree on."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from export.convert.alignment import align_weights
from export.errors import ExportFailed
from export.quantize import stability as int8
from export.quantize import strategies as repair
from export.quantize.ranges import Calibrator
from export.quantize.stability import compare_halves, try_rungs
from export.quantize.strategies import Rung
from export.tflite.graph import read_graph
from export.tflite.interpreter import LiteRTModel
from export.verify.comparison import compare
from tests.export.quantize.samples import IMAGES, draw_more, images


class Court:
    """A judge whose verdicts are known: labels 0, 1, 2, 3, all right in floating point."""

    labels = np.arange(4)

    def __init__(self, *answers: list[int]) -> None:
        self.answers, self.heard = list(answers), []

    def scores(self, files):
        self.heard.append(files)
        return {name: np.eye(4)[self.answers.pop(0)] for name in files}

    def compare(self, scores):
        return compare(self.labels, np.eye(4), scores)


@pytest.fixture
def quick(monkeypatch):
    """No timing, which has tests of its own; calibration images from a list."""
    monkeypatch.setattr(int8, "measure_file", lambda *given, **named: SimpleNamespace(p50_ms=0.25))
    drawn = []

    def load(run, more=0):
        drawn.append((run, more))
        return draw_more(more)

    monkeypatch.setattr(int8, "load_calibration", load)
    return drawn


def try_all(float32, names, court, input_type="int8"):
    return try_rungs(float32, "the run", court, names, input_type)


def test_what_is_judged_is_what_is_shipped(float32, names, quick):
    court = Court([0, 1, 0, 0], [0, 1, 2, 0])
    tried = try_all(float32, names, court)
    first = next(tried)
    assert (quick, len(court.heard)) == ([("the run", 0)], 1)
    second = next(tried)
    assert quick == [("the run", 0), ("the run", 40)]
    assert court.heard == [{"int8": first.content}, {"int8": second.content}]
    assert align_weights(first.content) == first.content  # Nothing was left to be moved.
    assert [each.rung.name[:2] for each in (first, second)] == ["10", "50"]
    assert [each.comparison.drop for each in (first, second)] == [50.0, 25.0]
    assert (second.latency_ms, second.rung.kept_float) == (0.25, ())


def test_uint8_reaches_the_file(float32, names, quick):
    first = next(try_all(float32, names, Court([0, 1, 2, 3]), input_type="uint8"))
    graph = read_graph(first.content)
    assert (graph.input.dtype, graph.output.dtype) == ("uint8", "uint8")


@pytest.mark.parametrize("kept", [(), ("conv1", "conv2")])
def test_a_layer_that_computes_in_float_unasked_is_refused(float32, names, rungs, quick, monkeypatch, kept):
    rung = dataclasses.replace(rungs[4], kept_float=kept)
    monkeypatch.setattr(int8, "climb", lambda *given: iter([rung]))
    with pytest.raises(ExportFailed, match="must compute in integers; "):
        next(try_all(float32, names, Court([0, 1, 2, 3])))


def test_a_layer_that_was_left_in_float_on_purpose_is_not(float32, names, rungs, quick, monkeypatch):
    monkeypatch.setattr(int8, "climb", lambda *given: iter([rungs[4]]))
    (tried,) = try_all(float32, names, Court([0, 1, 2, 3]))
    assert tried.rung == rungs[4]
    assert tried.comparison.drop == 0


def test_halves_are_disjoint_and_cover_all(float32, names, monkeypatch):
    seen = []
    monkeypatch.setattr(repair, "Calibrator", lambda file, half: seen.append(half) or Calibrator(file, half))
    court = Court([0] * 4, [0] * 4)
    halves = compare_halves(float32, Rung(images(11), "int8"), court, names)
    assert halves.images == (6, 5)
    rows = [[int(np.argmax((image == IMAGES).all(axis=(1, 2, 3)))) for image in h] for h in seen]
    assert [len(half) for half in rows] == [6, 5]
    assert sorted(rows[0] + rows[1]) == list(range(11))


@pytest.mark.parametrize("place", [0, 3, 4])
def test_halves_answers_and_scales_worked_by_hand(float32, names, rungs, place):
    rung = dataclasses.replace(rungs[place], calibration=images(12))
    court = Court([0, 1, 2, 0], [0, 1, 1, 1])
    halves = compare_halves(float32, rung, court, names)
    files = [rung.quantize(float32, half) for half in (IMAGES[:6], IMAGES[6:12])]
    assert list(court.heard[0].values()) == files
    assert halves.agreement == 2 / 4
    assert halves.accuracies == (3 / 4, 2 / 4)

    scales = [LiteRTModel(file)._interpreter.get_tensor_details() for file in files]
    graph = read_graph(files[0], names)
    changes = {}
    for op in graph.operations:
        one, two = (each[op.output.index]["quantization"][0] for each in scales)
        if one:
            change = abs(one - two) / ((one + two) / 2)
            changes[op.layer] = max(change, changes.get(op.layer, 0.0))
    assert halves.median_scale_change == pytest.approx(np.median(list(changes.values())))
    assert halves.largest_scale_change == pytest.approx(max(changes.values()))
    assert changes[halves.largest_layer] == max(changes.values()) > 0
