"""The ladder rung by rung: what each quantises, and how well."""

import numpy as np
import pytest

from export.convert.alignment import align_weights
from export.convert.converter import quantize_to_int8
from export.quantize import strategies as repair
from export.quantize.calibration_images import CalibrationImages
from export.quantize.layer_error import LayerError
from export.quantize.ranges import Calibrator, clip_by_percentile, clip_by_squared_error
from export.quantize.strategies import climb
from export.tflite.graph import read_graph, verify_integer_only
from export.tflite.interpreter import LiteRTModel
from tests.export.quantize.samples import IMAGES, draw_more, images


@pytest.fixture(scope="module")
def contents(rungs, float32) -> list[bytes]:
    return [rung.quantize(float32, rung.calibration.images) for rung in rungs]


def output_of(graph, layer: str):
    return next(op.output for op in graph.operations if op.layer == layer)


def test_rungs_are_named_for_what_was_done(rungs):
    names = [rung.name for rung in rungs]
    assert names[:5] == [
        "10 images, full range",
        "50 images, full range",
        "50 images, clipped by percentile",
        "50 images, least squared error",
        "50 images, least squared error, conv1 and conv2 and conv3 in float32",
    ]
    assert all(name.startswith(f"{names[3]}, conv1 and ") for name in names[5:])
    assert [rung.calibration.fingerprint for rung in rungs] == ["the first 10"] + 6 * ["the first 50"]


def test_the_ladder_is_climbed_no_higher_than_asked(float32, names, monkeypatch):
    done = []
    rank = repair.rank_layers
    monkeypatch.setattr(repair, "rank_layers", lambda *given: done.append("rank") or rank(*given))

    def draw(more: int) -> CalibrationImages:
        done.append(f"draw {more}")
        return draw_more(more)

    steps = []
    for _ in climb(float32, images(10), draw, names, "int8"):
        steps.append(tuple(done))
        done.clear()
    assert steps == [(), ("draw 40",), (), (), ("rank",), (), ()]


def test_each_rung_of_integers_quantises_by_its_own_images_and_ranges(rungs, contents, float32):
    few, many = Calibrator(float32, IMAGES[:10]), Calibrator(float32, IMAGES[:50])
    expected = [few.full, many.full, many.clipped(clip_by_percentile), many.clipped(clip_by_squared_error)]
    files = [align_weights(quantize_to_int8(float32, ranges)) for ranges in expected]
    assert contents[:4] == files
    assert len(set(files)) == 4
    for rung, content in zip(rungs[:4], contents[:4], strict=True):
        assert rung.kept_float == ()
        verify_integer_only(read_graph(content))


def test_neither_the_worst_layer_nor_what_reads_it_is_ever_quantised(rungs, contents, float32, names):
    worst = output_of(read_graph(float32, names), "conv1")
    for rung, content in zip(rungs[4:], contents[4:], strict=True):
        graph = read_graph(content, names)
        readers = [op for op in graph.operations if worst.name in {i.name for i in op.inputs}]
        assert sorted((op.name, op.layer) for op in readers) == [("CONV_2D", "conv2"), ("CONV_2D", "conv3")]
        assert output_of(graph, "conv1").name == worst.name
        computed = [op for op in graph.operations if op.layer in ("conv1", "conv2", "conv3")]
        for op in computed:
            if op.name == "CONV_2D":
                assert {tensor.dtype for tensor in (*op.inputs, op.output)} == {"float32"}
        assert set(rung.kept_float) >= {"conv1", "conv2", "conv3"}
        verify_integer_only(graph, rung.kept_float)
        assert (graph.input.dtype, graph.output.dtype) == ("int8", "int8")
    assert set(rungs[4].kept_float) == {"conv1", "conv2", "conv3"}
    # The rest computes in integers still, else it would be no int8 file.
    assert output_of(read_graph(contents[4], names), "add").dtype == "int8"


def test_what_the_layer_before_lost_comes_back(contents, float32):
    exact = LiteRTModel(float32).predict(IMAGES[:50])
    errors = []
    for content in contents:
        off = LiteRTModel(content).predict(IMAGES[:50]) - exact
        errors.append(np.linalg.norm(off) / np.linalg.norm(exact - exact.mean(axis=0)))
    # Six silent channels of eight take most of the differences between images with them; int8
    # as such, of 256 levels a layer, costs a few percent.
    assert min(errors[:2]) > 0.3
    assert max(errors[4:]) < 0.1


@pytest.mark.parametrize(
    ("worst", "kept"),
    [
        (["add"], {"add", "pool"}),
        (["conv2"], {"conv2", "add"}),
        (["conv2", "conv3"], {"conv2", "conv3", "add"}),
        (["pool", "conv1"], {"pool", "head", "conv1", "conv2", "conv3"}),
    ],
)
def test_readers_are_all_that_read_and_none_else(float32, names, monkeypatch, worst, kept):
    graph = read_graph(float32, names)
    planted = [LayerError(name, "", output_of(graph, name).name, 0.0) for name in worst]
    monkeypatch.setattr(repair, "rank_layers", lambda *given: planted)
    last = list(climb(float32, images(4), draw_more, names, "int8"))[-1]
    assert set(last.kept_float) == kept
    assert len(last.kept_float) == len(kept)
    layer_of = {op.output.name: op.layer for op in graph.operations if op.name != "RESHAPE"}
    assert {layer_of[tensor] for tensor in last.kept_tensors if tensor in layer_of} == kept


def test_uint8_is_passed_on_to_every_rung(float32, names):
    ladder = climb(float32, images(4), draw_more, names, "uint8")
    assert [rung.input_type for rung in ladder] == ["uint8"] * 7
