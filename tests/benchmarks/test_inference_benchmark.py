"""The inference benchmark: its arithmetic, that peers do the same work, and that it runs."""

import json
import math
import shutil

import keras
import numpy as np
import pytest

from benchmarks import inference, inference_contenders, measure
from benchmarks.inference_contenders import (
    IMAGES,
    channels_first,
    images,
    measuring,
    write_onnx_files,
    write_our_files,
)
from export.verify.operations import verify_integer_only
from pipeline.tflite.file import TFLiteFile

WIDTH, SIZE = 2, 16
needs_torch = pytest.mark.skipif(not measure.find_spec("torch"), reason="PyTorch is the peer")
needs_onnx = pytest.mark.skipif(not inference.has_onnx(), reason="ONNX Runtime is the peer")


@pytest.fixture(scope="module")
def ours(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ours")
    assert write_our_files(folder, WIDTH, SIZE) == "cifar"
    return folder


@pytest.fixture(scope="module")
def network(ours):
    return keras.models.load_model(ours / "network.keras", compile=False)


@pytest.fixture(scope="module")
def onnx_files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("onnx")
    # In a process of its own, as the benchmark does it: it silences logging.
    with measure.own_process() as process:
        process.submit(write_onnx_files, folder, WIDTH, SIZE, "cifar").result()
    return folder


def kernel_sizes(arrays):
    """Sizes of the kernels, least first; with strides and images alike, the work."""
    return sorted(math.prod(array.shape) for array in arrays if len(array.shape) > 1)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        ("avx2 avx512_vnni amx_int8", ["avx512_vnni"]),
        ("avx_vnni", ["avx_vnni"]),
        ("avx512_vnni_not avx512f", []),
        ("", []),
    ],
)
def test_vnni_is_read_from_the_flags(flags, expected):
    text = f"processor\t: 0\nvmx flags\t: avx_vnni\nflags\t\t: fpu {flags}\nbugs\t\t: avx_vnni\n"
    assert inference.vnni_of(text) == expected
    assert inference.vnni_of("Features\t: asimd\n") == []


def test_the_rate_is_that_of_the_median_run_once_warm(monkeypatch):
    now, seen = 0.0, []
    durations = iter([9.0, 9.0, 0.25, 0.25, 8.0, 0.25, 0.25, 0.25, 0.25, 0.25])
    monkeypatch.setattr(inference_contenders.time, "perf_counter", lambda: now)

    def run(batch):
        nonlocal now
        now += next(durations)
        seen.append(batch)

    assert measuring(run, "ab", seconds=9.0)() == 4.0
    # Two to warm up; then 0.25 + 0.25 + 8 + 0.25 + 0.25 s make nine.
    assert seen == list("abababa")


def test_images_are_the_same_for_all_in_either_order():
    batch, planes = images(4), channels_first(images(4))
    assert batch.shape == (IMAGES, 4, 4, 3)
    assert len(planes) == IMAGES
    np.testing.assert_array_equal(np.concatenate(planes), np.moveaxis(batch, 3, 1))
    assert all(plane.dtype == np.float32 and plane.flags.c_contiguous for plane in planes)


def test_our_files_are_one_network(ours, network):
    expected = network.predict(images(SIZE).astype(np.float32), verbose=0)
    float32 = TFLiteFile((ours / "float32.tflite").read_bytes()).predict(images(SIZE))
    # Both in float32, in another order of summation.
    np.testing.assert_allclose(float32, expected, rtol=1e-4, atol=1e-4)
    verify_integer_only(TFLiteFile((ours / "int8.tflite").read_bytes()).graph)


@needs_torch
def test_torch_has_the_same_kernels_and_normalises(network):
    import torch

    peer = inference_contenders.torch_network(WIDTH, "cifar")
    assert kernel_sizes(peer.parameters()) == kernel_sizes(network.get_weights())
    pixels = torch.tensor([0.0, 127.5, 255.0]).reshape(1, 3, 1, 1)
    # 127.5 / 73.9; the norm's epsilon, 1e-5 beside 5461, is below float32's resolution.
    normalised = peer[0](pixels).flatten().tolist()
    assert normalised == pytest.approx([-1.7253045, 0.0, 1.7253045], abs=1e-6)


@needs_onnx
def test_onnx_has_the_same_kernels_and_its_int8_file_computes_in_integers(onnx_files, network):
    import onnx

    float32, int8 = (onnx.load(onnx_files / f"{kind}.onnx") for kind in ("float32", "int8"))
    arrays = map(onnx.numpy_helper.to_array, float32.graph.initializer)
    assert kernel_sizes(arrays) == kernel_sizes(network.get_weights())
    types = {constant.name: constant.data_type for constant in int8.graph.initializer}
    writers = {name: node for node in int8.graph.node for name in node.output}
    steps = [node for node in int8.graph.node if node.op_type in ("Conv", "Gemm")]
    assert len(steps) == 21
    for step in steps:
        sources = [writers[name] for name in step.input]
        assert [source.op_type for source in sources] == ["DequantizeLinear"] * 3
        assert types[sources[0].input[2]] == onnx.TensorProto.UINT8
        assert types[sources[1].input[0]] == onnx.TensorProto.INT8


@needs_onnx
def test_onnx_int8_gives_what_float32_gives(onnx_files):
    import onnxruntime

    scores = {}
    for kind in ("float32", "int8"):
        session = onnxruntime.InferenceSession(onnx_files / f"{kind}.onnx")
        batches = channels_first(images(SIZE))
        scores[kind] = np.concatenate([session.run(None, {"pixels": x})[0] for x in batches])
    # Eight bits a step through 18 layers: the noise stays well below the scores themselves.
    noise = np.linalg.norm(scores["int8"] - scores["float32"])
    assert noise < 0.2 * np.linalg.norm(scores["float32"])


@needs_torch
def test_torch_is_measured(same_torch_threads):
    import torch

    assert inference.torch_eager(WIDTH, "cifar", SIZE, 0.001, 1)() > 0
    assert torch.get_num_threads() == 1


@needs_onnx
def test_onnx_runtime_is_measured(onnx_files):
    assert inference.onnx(onnx_files / "int8.onnx", SIZE, 0.001, 1)() > 0


def test_without_onnx_its_part_is_left_out(monkeypatch, capsys):
    monkeypatch.setattr(inference, "find_spec", lambda name: None if name == "onnx" else name)
    assert not inference.has_onnx()
    assert "ONNX Runtime is left out" in capsys.readouterr().out


def test_int8_is_held_against_float32_for_every_width(run_here, monkeypatch):
    rates = {
        "Keras call": [9.0, 9.0, 9.0],
        "TFLite float32, 1 thread": [1.0, 2.0, 4.0],
        "TFLite int8, 1 thread": [3.0, 5.0, 16.0],
        "TFLite int8, 2 threads": [1.0, 1.0, 1.0],
    }
    monkeypatch.setattr(inference, "prepare", lambda *_: {})
    _, printed, _ = run_here(inference, "--width 1 2", lambda *_: rates)
    told = json.loads(printed.splitlines()[-1])
    for width, comparison in zip((1, 2), told["comparisons"], strict=True):
        assert comparison["name"] == f"width {width}, TFLite int8 / float32, 1 thread"
        assert comparison["values"] == [3.0, 2.5, 4.0]
        assert (comparison["bar"], comparison["upper"], comparison["passes"]) == (3.0, False, True)
    assert len(told["images_per_second"]) == 2 * len(rates)


def test_the_benchmark_runs(ours, run_here, monkeypatch):
    def reuse(folder, width, size):
        assert (width, size) == (WIDTH, SIZE)
        shutil.copytree(ours, folder, dirs_exist_ok=True)
        return "cifar"

    monkeypatch.setattr(inference, "write_our_files", reuse)
    for peer in ("has_torch", "has_onnx"):
        monkeypatch.setattr(inference, peer, lambda: False)
    monkeypatch.setattr(inference, "CORES", 2)
    settings = f"--rounds 2 --seconds 0.001 --width {WIDTH} --image-size {SIZE}"
    code, printed, _ = run_here(inference, settings)
    assert code == 0
    assert "bar at least 3" in printed
    told = json.loads(printed.splitlines()[-1])
    rates = told["images_per_second"]
    assert list(rates) == [
        "width 2, Keras predict",
        "width 2, Keras call",
        "width 2, TFLite float32, 1 thread",
        "width 2, TFLite int8, 1 thread",
        "width 2, TFLite float32, 2 threads",
        "width 2, TFLite int8, 2 threads",
    ]
    assert all(len(rate["rounds"]) == 2 and rate["minimum"] > 0 for rate in rates.values())
    assert told["settings"]["batch_size"] == 1
    assert "ai-edge-litert" in told["environment"]["packages"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--rounds 0", "--rounds: must be at least 1; received 0"),
        ("--image-size 4", "must be at least 8 x 8 pixels; received 4 x 4"),
    ],
)
def test_wrong_input_is_refused_in_one_line(arguments, message, run_here):
    code, _, error = run_here(inference, arguments)
    assert code == 2
    assert message in error.splitlines()[-1]
