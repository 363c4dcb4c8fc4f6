"""`python -m export` where a check must fail: each planted fault ends in the line that names it."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

from export import export as exporter
from export.verify import micro
from pipeline import finished_run
from pipeline.config.config import Config, load_values
from pipeline.data.prepare import prepare_data
from pipeline.data.splits import describe_splits, fingerprint
from pipeline.tflite.interpreter import Interpreter
from tests.commands import ROOT

KILL_WHILE_WRITING = """
import os, signal, sys
from export import export as exporter
from export.__main__ import main

def write_half(network, path, *_):
    (path.parent / "model_float32.tflite").write_bytes(b"half")
    os.kill(os.getpid(), signal.SIGKILL)

exporter.export_saved_model = write_half
main(sys.argv[1:])
"""


def leftovers(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.name.startswith((".aside", ".old"))]


def put_earlier_bundle(run: Path) -> Path:
    """Something that counts as an earlier bundle, with a folder in it."""
    (run / "export/saved_model").mkdir(parents=True)
    (run / "export/report.json").write_text('{"made_by": "an earlier export"}')
    (run / "export/saved_model/saved_model.pb").write_bytes(b"earlier")
    return run / "export"


def make_one_channel_loud(run: Path, times: float) -> None:
    """Scale a channel up before a ReLU and down behind it: in floating point nothing changes."""
    network = keras.saving.load_model(run / "model.keras", compile=False)
    norm = network.get_layer("stage2_block1_norm1")
    scale, offset, *moments = norm.get_weights()
    channel = scale.argmax()
    scale[channel] *= times
    offset[channel] *= times
    norm.set_weights([scale, offset, *moments])
    convolution = network.get_layer("stage2_block1_conv2")
    kernel, *bias = convolution.get_weights()
    kernel[:, :, channel] /= times
    convolution.set_weights([kernel, *bias])
    network.save(run / "model.keras")


@pytest.mark.usefixtures("untimed", "without_micro")
def test_a_loud_channel_fails_int8_and_repair_mends_it(export, own_run, contents, converter_of, monkeypatch):
    make_one_channel_loud(own_run, 1000)
    # Once for both exports.
    converted = converter_of(keras.saving.load_model(own_run / "model.keras", compile=False)).float32()
    monkeypatch.setattr(exporter, "write_single_image_graph", lambda *_: None)
    monkeypatch.setattr(exporter.Converter, "float32", lambda _: converted)
    earlier = put_earlier_bundle(own_run)
    before, failed = contents(earlier), own_run / "export-failed"

    outcome = export(own_run, "--formats", "int8")
    assert outcome.code == 1
    assert outcome.error.startswith("export failed: int8 may cost at most 0.5 points")
    assert outcome.error.count("\n") == 1
    assert contents(earlier) == before
    assert leftovers(own_run) == []
    report = json.loads((failed / "report.json").read_text())
    worst = [layer["layer"] for layer in report["layers"][:2]]
    assert "stage2_block1_conv1" in worst
    assert worst[0] in outcome.error
    assert "stage2_block1_conv1" in (failed / "report.md").read_text()
    with Image.open(failed / "layers.png") as image:
        image.verify()

    outcome = export(own_run, "--formats", "int8", "--repair")
    assert outcome.code == 0, outcome.error
    assert not failed.exists()
    report = json.loads((earlier / "report.json").read_text())
    # Whatever was tried on the way, for test the file that is shipped answered, and once.
    assert report["times_on_test"] == {"keras": 1, "int8": 1}
    tried = report["int8_tried"]
    assert [each["chosen"] for each in tried] == [False] * (len(tried) - 1) + [True]
    assert [each["passes"] for each in tried] == [False] * (len(tried) - 1) + [True]
    assert "stage2_block1_conv1" in tried[-1]["layers_in_float32"]
    assert not any(each["layers_in_float32"] for each in tried[:4])
    card = (earlier / "model_card.md").read_text()
    for each in tried:
        row = next(line for line in card.splitlines() if line.startswith(f"| {each['what']} |"))
        assert f"{each['accuracy']:.2%}" in row
        assert row.endswith("| chosen |" if each["passes"] else "| costs too much |")


def test_an_operation_that_tflite_lacks_is_named_and_a_saved_model_needs_no_tflite(export, own_run):
    network = keras.saving.load_model(own_run / "model.keras", compile=False)
    scores = keras.ops.erfinv(keras.ops.tanh(network.output))
    keras.Model(network.input, scores).save(own_run / "model.keras")
    outcome = export(own_run, "--formats", "float32")
    assert outcome.code == 1
    assert "'erfinv' needs tf.Erfinv" in outcome.error
    assert outcome.error.splitlines()[-1].startswith("export failed: ")
    assert not (own_run / "export").exists()

    outcome = export(own_run, "--formats", "saved_model")
    assert outcome.code == 0, outcome.error
    assert (own_run / "export/saved_model/saved_model.pb").exists()


@pytest.mark.parametrize(("images", "code"), [(2, 0), (3, 1)])
@pytest.mark.usefixtures("untimed", "preconverted")
def test_another_accuracy_than_the_run_measured_is_refused(export, own_run, images, code):
    # Rounding on another device may turn two of the 270 images.
    metrics = json.loads((own_run / "metrics.json").read_text())
    metrics["test"]["accuracy"] -= images / 270
    (own_run / "metrics.json").write_text(json.dumps(metrics))
    outcome = export(own_run, "--formats", "float32")
    assert outcome.code == code
    assert ("must have the run's test accuracy" in outcome.error) == (code == 1)


@pytest.fixture
def data(own_run):
    """The run's images and splits."""
    return prepare_data(Config().with_values(load_values(own_run / "config.json")))


def hand_over(data, own_run, monkeypatch) -> None:
    """Let the run have been trained on these data."""
    recorded = describe_splits(data.source, data.splits)
    (own_run / "splits.json").write_text(json.dumps(recorded))
    monkeypatch.setattr(finished_run, "prepare_data", lambda config: data)


def test_rows_of_test_in_the_calibration_split_are_refused(export, own_run, data, monkeypatch):
    rows = np.concatenate([data.splits.calibration, data.splits.test[:3]])
    hand_over(replace(data, splits=replace(data.splits, calibration=rows)), own_run, monkeypatch)
    outcome = export(own_run, "--formats", "int8")
    assert outcome.code == 1
    assert "calibration must never look at test; 3 of its 103 images" in outcome.error
    assert not (own_run / "export").exists()


@pytest.mark.usefixtures("untimed", "preconverted")
def test_images_of_test_under_another_row_are_left_out(export, own_run, data, monkeypatch):
    digests = data.source.digests.copy()
    calibration, test = data.splits.calibration, data.splits.test
    digests[calibration[[5, 50, 99]]] = digests[test[[0, 7, 9]]]
    source = replace(data.source, digests=digests)
    hand_over(replace(data, source=source), own_run, monkeypatch)
    outcome = export(own_run, "--formats", "float32")
    assert outcome.code == 0, outcome.error
    assert "97 images of train" in outcome.printed
    assert "3 left out because they are in test" in outcome.printed
    report = json.loads((own_run / "export/report.json").read_text())
    kept = np.delete(calibration, [5, 50, 99])
    assert report["calibration"]["images"] == 97
    assert report["calibration"]["left_out_because_in_test"] == 3
    assert report["calibration"]["fingerprint"] == fingerprint(source, kept)


@pytest.mark.parametrize(
    ("name", "writes"), [("saved_model", "export_saved_model"), ("float32", "write_single_image_graph")]
)
def test_a_file_that_answers_otherwise_is_caught(name, writes, export, own_run, monkeypatch):
    write = getattr(exporter, writes)

    def write_with_another_bias(network: keras.Model, *rest: object) -> None:
        head = network.get_layer("head")
        kernel, bias = head.get_weights()
        head.set_weights([kernel, bias + np.eye(len(bias))[3] * 0.01])
        write(network, *rest)
        head.set_weights([kernel, bias])

    monkeypatch.setattr(exporter, writes, write_with_another_bias)
    outcome = export(own_run, "--formats", name)
    assert outcome.code == 1
    assert outcome.error.startswith(f"export failed: {name}")
    assert "off by 0.01" in outcome.error
    worst = np.load(own_run / f"export-failed/worst_{name}.npz")
    # The planted bias, to within the rounding of logits below 10 in float32.
    off = worst["received"] - worst["expected"]
    np.testing.assert_allclose(off, 0.01 * np.eye(10)[[3]], atol=2e-5)
    assert (own_run / f"export-failed/worst_{name}.png").exists()
    assert not (own_run / "export").exists()


@pytest.mark.usefixtures("untimed", "preconverted")
def test_a_micro_that_answers_otherwise_is_caught(export, own_run, monkeypatch):
    pytest.importorskip("tflite_micro", reason="the package tflite_micro is not installed")

    class ShownTheNegative(Interpreter):
        def run(self, encoded: np.ndarray) -> np.ndarray:
            return super().run(~encoded)

    monkeypatch.setattr(micro, "Interpreter", ShownTheNegative)
    outcome = export(own_run, "--formats", "int8", "--max-drop", "2")
    assert outcome.code == 1
    assert "TensorFlow Lite Micro must equal LiteRT" in outcome.error
    assert not (own_run / "export").exists()


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_export_leaves_nothing(ending, export, own_run, contents, monkeypatch):
    def interrupted(*_: object) -> None:
        (own_run / ".aside-export/half").write_text("half")
        os.kill(os.getpid(), ending)

    before = contents(own_run)
    monkeypatch.setattr(exporter, "convert", interrupted)
    # Not to end all tests where the command does not take the signal.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    outcome = export(own_run)
    assert outcome.code == 130
    assert outcome.error == "interrupted; no bundle was written\n"
    assert contents(own_run) == before


@pytest.mark.usefixtures("untimed", "preconverted")
def test_after_a_kill_the_same_command_succeeds(export, own_run, contents):
    earlier = put_earlier_bundle(own_run)
    before = contents(earlier)
    command = [sys.executable, "-c", KILL_WHILE_WRITING, own_run, "--formats", "saved_model"]
    killed = subprocess.run(command, cwd=ROOT, capture_output=True)
    assert killed.returncode == -signal.SIGKILL
    assert contents(earlier) == before
    assert leftovers(own_run) == [".aside-export"]

    again = export(own_run, "--formats", "float32")
    assert (again.code, again.error) == (0, "")
    assert leftovers(own_run) == []
    assert not (earlier / "saved_model").exists()
    assert (earlier / "model_float32.tflite").stat().st_size > len(b"half")
