"""Strategy by strategy: what each quantises, and how well."""

import numpy as np
import pytest

from export.convert.converter import quantize_to_int8
from export.convert.slim import slim_down
from export.quantize.layer_error import LayerError
from export.quantize.ranges import Calibrator, clip_by_percentile, clip_by_squared_error
from export.quantize.strategies import find_kept
from export.verify.operations import verify_integer_only
from pipeline.tflite.file import TFLiteFile
from tests.export.quantize.samples import IMAGES


@pytest.fixture(scope="module")
def files(strategies, float32) -> list[TFLiteFile]:
    return [each.quantize(float32, each.calibration.images) for each in strategies]


def output_of(graph, layer: str):
    return next(op.output for op in graph.operations if op.layer == layer)


def test_strategies_are_named_for_what_was_done(strategies):
    names = [each.name for each in strategies]
    assert names[:5] == [
        "10 images, full range",
        "50 images, full range",
        "50 images, clipped by percentile",
        "50 images, least squared error",
        "50 images, least squared error, conv1 and conv2 and conv3 in float32",
    ]
    assert all(name.startswith(f"{names[3]}, conv1 and ") for name in names[5:])
    assert [each.calibration.fingerprint for each in strategies] == ["the first 10"] + 6 * ["the first 50"]


def test_each_strategy_of_integers_quantises_by_its_own_images_and_ranges(strategies, files, float32):
    few, many = Calibrator(float32, IMAGES[:10]), Calibrator(float32, IMAGES[:50])
    expected = [few.full, many.full, many.clipped(clip_by_percentile), many.clipped(clip_by_squared_error)]
    assert files[:4] == [slim_down(quantize_to_int8(float32, ranges)) for ranges in expected]
    assert len(set(files[:4])) == 4
    for strategy, file in zip(strategies[:4], files[:4], strict=True):
        assert strategy.kept_float == ()
        verify_integer_only(file.graph)


def test_neither_the_worst_layer_nor_what_reads_it_is_ever_quantised(strategies, files, float32):
    worst = output_of(float32.graph, "conv1")
    for strategy, file in zip(strategies[4:], files[4:], strict=True):
        graph = file.graph
        readers = [op for op in graph.operations if worst.name in {i.name for i in op.inputs}]
        assert sorted((op.name, op.layer) for op in readers) == [("CONV_2D", "conv2"), ("CONV_2D", "conv3")]
        assert output_of(graph, "conv1").name == worst.name
        computed = [op for op in graph.operations if op.layer in ("conv1", "conv2", "conv3")]
        for op in computed:
            if op.name == "CONV_2D":
                assert {tensor.dtype for tensor in (*op.inputs, op.output)} == {"float32"}
        assert set(strategy.kept_float) >= {"conv1", "conv2", "conv3"}
        verify_integer_only(graph, strategy.kept_float)
        assert (graph.input.dtype, graph.output.dtype) == ("int8", "int8")
    assert set(strategies[4].kept_float) == {"conv1", "conv2", "conv3"}
    # The rest computes in integers still, else it would be no int8 file.
    assert output_of(files[4].graph, "add").dtype == "int8"


def test_what_the_layer_before_lost_comes_back(files, float32):
    exact = float32.predict(IMAGES[:50])
    errors = []
    for file in files:
        off = file.predict(IMAGES[:50]) - exact
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
def test_readers_are_all_that_read_and_none_else(float32, worst, kept):
    graph = float32.graph
    errors = [LayerError(name, "", output_of(graph, name).name, 0.0) for name in worst]
    tensors, layers = find_kept(graph, errors)
    assert set(layers) == kept
    assert len(layers) == len(kept)
    layer_of = {op.output.name: op.layer for op in graph.operations if op.name != "RESHAPE"}
    assert {layer_of[tensor] for tensor in tensors if tensor in layer_of} == kept
