"""`python -m export --formats onnx,onnx_int8`, the files in ONNX Runtime, and docs/deploy/onnx.md."""

import json
import re
import subprocess
import sys
import zlib

import keras
import numpy as np
import pytest
from PIL import Image

from export.errors import ExportFailed
from export.onnx.file import OnnxFile
from export.verify.logits import verify_onnx
from pipeline.config.config import Config, load_values
from pipeline.data.batches import load_images
from pipeline.data.prepare import prepare_data
from tests.commands import ROOT

MISSING = "of requirements-dev.txt, is not installed"
onnx = pytest.importorskip("onnx", reason=f"onnx, {MISSING}")
onnxruntime = pytest.importorskip("onnxruntime", reason=f"onnxruntime, {MISSING}")
pytest.importorskip("tf2onnx", reason=f"tf2onnx, {MISSING}")

PAGE = (ROOT / "docs" / "deploy" / "onnx.md").read_text()
FILES = {"onnx": "model_float32.onnx", "onnx_int8": "model_int8.onnx"}


@pytest.fixture(scope="module")
def exported(digits_run, export, tmp_path_factory):
    """The folder of a bundle of both files alone, and how the command ended."""
    folder = tmp_path_factory.mktemp("onnx")
    # Of 270 images another processor may turn one or two.
    arguments = ("--formats", "onnx,onnx_int8", "--max-drop", "2", "--out", folder / "bundle")
    outcome = export(digits_run, *arguments)
    assert outcome.code == 0, outcome.error
    return folder, outcome


@pytest.fixture(scope="module")
def bundle(exported):
    return exported[0] / "bundle"


@pytest.fixture(scope="module")
def network(digits_run):
    return keras.saving.load_model(digits_run / "model.keras", compile=False)


@pytest.fixture(scope="module")
def held_out(digits_run):
    """Images of test, uint8 [270, 8, 8, 3], and their labels."""
    data = prepare_data(Config().with_values(load_values(digits_run / "config.json")))
    examples = data.examples("test")
    return load_images(examples), data.source.labels[data.splits.test]


def answers(path, images):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["scores"], {"pixels": images.astype(np.float32)})[0]


@pytest.mark.parametrize("count", [0, 1, 5])
def test_a_batch_of_any_size_gets_the_scores_of_keras(count, bundle, network, held_out):
    images = held_out[0][:count]
    scores = answers(bundle / FILES["onnx"], images)
    assert scores.shape == (count, 10)
    if count:
        expected = network.predict_on_batch(images)
        # The documented tolerance.
        np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-5 * np.abs(expected).max())


def test_both_files_say_what_they_take_and_give(bundle):
    for file in FILES.values():
        graph = onnx.load(bundle / file).graph
        ends = [
            (end.name, [size.dim_param or size.dim_value for size in end.type.tensor_type.shape.dim])
            for end in (*graph.input, *graph.output)
        ]
        assert ends == [("pixels", ["batch", 8, 8, 3]), ("scores", ["batch", 10])]
        kinds = {end.type.tensor_type.elem_type for end in (*graph.input, *graph.output)}
        assert kinds == {onnx.TensorProto.FLOAT}


def test_the_int8_file_holds_its_weights_in_int8(bundle, network):
    """Each kernel of the network, and no float in their places."""
    graph = onnx.load(bundle / FILES["onnx_int8"]).graph
    arrays = [onnx.numpy_helper.to_array(constant) for constant in graph.initializer]
    kernels = [weights.size for weights in network.get_weights() if weights.ndim > 1]
    sizes = {kind: sorted(a.size for a in arrays if a.dtype == kind and a.ndim > 1) for kind in ("i1", "f4")}
    assert sizes["i1"] == sorted(kernels)
    # Of pixels, which are normalised first: a value a channel.
    assert set(sizes["f4"]) <= {3}


def test_the_report_and_the_card_tell_of_both_files(exported, bundle, held_out):
    images, labels = held_out
    report = json.loads((bundle / "report.json").read_text())
    described = json.loads((bundle / "preprocessing.json").read_text())["models"]
    card = (bundle / "model_card.md").read_text()
    assert set(report["files"]) == set(FILES)
    for name, file in FILES.items():
        content, figures = (bundle / file).read_bytes(), report["files"][name]
        accuracy = np.mean(answers(bundle / file, images).argmax(axis=1) == labels)
        assert figures["accuracy"] == pytest.approx(accuracy, abs=1e-12)
        assert figures["bytes"] == len(content)
        opsets = {opset.domain: opset.version for opset in onnx.load(bundle / file).opset_import}
        assert figures["opset"] == opsets[""]
        assert figures["latency"][0]["p50_ms"] > 0
        crc32 = f"0x{zlib.crc32(content):08x}"
        assert figures["crc32"] == described[file]["crc32"] == crc32
        takes = described[file]["input"]
        assert [takes[key] for key in ("height", "width", "dtype", "scale")] == [8, 8, "float32", None]
        for text in (exported[1].printed, card):
            (row,) = re.findall(rf"^(?:\| )?{file} .*%.*\(.*$", text, re.MULTILINE)
            assert f"{accuracy:.2%}" in row
        assert f"`{file}` (opset {figures['opset']})" in card


def test_scores_that_are_off_are_refused(bundle, held_out, network, tmp_path):
    images = held_out[0][:4]
    expected = network.predict_on_batch(images)
    model = onnx.load(bundle / FILES["onnx"])
    (bias,) = (c for c in model.graph.initializer if "head" in c.name and len(c.dims) == 1)
    values = onnx.numpy_helper.to_array(bias) + np.float32(1e-3)
    bias.CopyFrom(onnx.numpy_helper.from_array(values, bias.name))
    altered = OnnxFile(model.SerializeToString())
    with pytest.raises(ExportFailed, match=r"onnx, one image at a time, must give .* off by 0\.001"):
        verify_onnx(altered, images, expected, tmp_path / "worst.npz")


def test_a_file_that_computes_in_floats_is_no_int8_file(bundle):
    from export.onnx.quantize import verify_quantized

    with pytest.raises(ExportFailed, match="onnx_int8 must compute in integers; Conv"):
        verify_quantized(OnnxFile((bundle / FILES["onnx"]).read_bytes()))


@pytest.mark.parametrize("missing", ["tf2onnx", "onnxruntime"])
def test_without_a_package_one_line_says_what_to_install(missing, digits_run, export, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, missing, None)
    outcome = export(digits_run, "--formats", "int8,onnx", "--out", tmp_path / "bundle")
    assert (outcome.code, outcome.printed) == (2, "")
    assert outcome.error == (
        f"error: --formats onnx needs tf2onnx and onnxruntime; {missing} cannot be imported "
        "(pip install tf2onnx onnxruntime)\n"
    )
    assert not list(tmp_path.iterdir())


def test_run_py_and_the_pages_program_answer_alike(exported, bundle, held_out, monkeypatch, capsys):
    folder = exported[0]
    (bundle / "golden").mkdir(exist_ok=True)
    names = [f"bundle/golden/input_{number}.png" for number in range(3)]
    for name, image in zip(names, held_out[0], strict=False):
        Image.fromarray(image).save(folder / name)
    model = FILES["onnx_int8"]
    command = [sys.executable, "bundle/run.py", *names, "--model", model]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    (program,) = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "path", sys.path[:])
    monkeypatch.setattr(sys, "argv", ["classify.py", *names])
    # The bundle's own, which is imported by that name.
    monkeypatch.delitem(sys.modules, "run", raising=False)
    exec(compile(program, "classify.py", "exec"), {"__name__": "__main__"})
    monkeypatch.delitem(sys.modules, "run", raising=False)
    received = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    expected = [line.split("\t") for line in done.stdout.splitlines()]
    assert [row[:2] for row in received] == [row[:2] for row in expected]
    probabilities = [[float(row[2]) for row in rows] for rows in (received, expected)]
    # Both are printed to four digits, and a batch may be rounded otherwise by a step.
    np.testing.assert_allclose(*probabilities, atol=0.01)
