"""`python -m export` on a finished run: the bundle, file by file, and what its report says."""

import json
import os
import re
import subprocess
import sys
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from PIL import Image
from sklearn.datasets import load_digits

from export import export as exporter
from pipeline.config.config import Config, load_values
from pipeline.data.prepare import prepare_data

TFLITE = {
    "float32": "model_float32.tflite",
    "float16": "model_float16.tflite",
    "dynamic": "model_dynamic.tflite",
    "int8": "model_int8.tflite",
    "int16": "model_int16.tflite",
}

LENIENT = ("--max-drop", "2")
"""Of 270 images, so that another processor's rounding does not fail the comparison by one or two."""

ASK_SAVED_MODEL = """
import sys
import numpy as np
import tensorflow as tf

folder, images, scores = sys.argv[1:]
loaded = tf.saved_model.load(folder)
np.save(scores, loaded.signatures["serve"](pixels=tf.constant(np.load(images)))["scores"])
"""


@pytest.fixture(scope="module")
def exported(digits_run, export, tmp_path_factory):
    """The bundle of every format, and how the command that wrote it ended."""
    bundle = tmp_path_factory.mktemp("exported") / "bundle"
    with pytest.MonkeyPatch.context() as patch:
        # Ten measurements of three seconds would be most of this file's time.
        patch.setattr(exporter, "THOROUGH_SECONDS", 0.05)
        outcome = export(digits_run, "--formats", "all", "--benchmark", *LENIENT, "--out", bundle)
    assert outcome.code == 0, outcome.error
    return bundle, outcome


@pytest.fixture(scope="module")
def bundle(exported):
    return exported[0]


@pytest.fixture(scope="module")
def report(bundle):
    return json.loads((bundle / "report.json").read_text())


@pytest.fixture(scope="module")
def held_out(digits_run):
    """Images, uint8 [270, 8, 8, 3], straight from scikit-learn, and their digits."""
    config = Config().with_values(load_values(digits_run / "config.json"))
    rows = prepare_data(config).splits.test
    digits = load_digits()
    # Grey 0..16 becomes 0..255.
    grey = np.rint(digits.images[rows] * 255 / 16).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1), digits.target[rows]


def answers(content: bytes, images: np.ndarray) -> np.ndarray:
    """Real scores of a .tflite file, by TFLite's quantisation specification."""
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for image in images[:, None]:
        values = image.astype(np.float64)
        if takes["dtype"] != np.float32:
            scale, zero_point = takes["quantization"]
            limits = np.iinfo(takes["dtype"])
            values = np.clip(np.round(values / scale) + zero_point, limits.min, limits.max)
        interpreter.set_tensor(takes["index"], values.astype(takes["dtype"]))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(gives["index"])[0].astype(np.float64))
    scale, zero_point = gives["quantization"] if gives["quantization"][0] else (1, 0)
    return (np.array(rows) - zero_point) * scale


def write_images(folder, images, labels):
    folder.mkdir()
    for index, (image, label) in enumerate(zip(images, labels, strict=True)):
        Image.fromarray(image).save(folder / f"{index:02}_{label}.png")
    return folder


def classify(bundle, *arguments: str | Path):
    """Run the bundle's run.py; its rows, split at the tabs."""
    command = [sys.executable, bundle / "run.py", *arguments]
    result = subprocess.run(command, capture_output=True, text=True)
    assert (result.returncode, result.stderr) == (0, "")
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_every_file_is_there_and_nothing_else(bundle):
    assert {path.name for path in bundle.iterdir()} == {
        *TFLITE.values(),
        "saved_model",
        "labels.txt",
        "model_card.md",
        "report.json",
        "preprocessing.json",
        "micro",
        "golden",
        "run.py",
        "files.png",
        "files.json",
    }
    assert {path.name for path in bundle.parent.iterdir()} == {"bundle", ".bundle.lock"}


def test_accuracies_are_those_of_the_files_on_the_test_split(bundle, report, held_out):
    images, labels = held_out
    assert set(report["files"]) == set(TFLITE)
    for name, file in TFLITE.items():
        scores = answers((bundle / file).read_bytes(), images)
        accuracy = np.mean(scores.argmax(axis=-1) == labels)
        # The same files on the same images: only the decimal fraction may be rounded.
        assert report["files"][name]["accuracy"] == pytest.approx(accuracy, abs=1e-12), name


def test_the_keras_accuracy_is_the_one_that_training_measured(report, digits_run):
    trained = json.loads((digits_run / "metrics.json").read_text())["test"]["accuracy"]
    # Training averages in float32.
    assert report["run"]["test_accuracy"] == pytest.approx(trained, abs=1e-6)
    for name in TFLITE:
        assert report["files"][name]["float_accuracy"] == pytest.approx(trained, abs=1e-6)


def test_calibration_is_the_runs_calibration_split(report, digits_run):
    recorded = json.loads((digits_run / "splits.json").read_text())["splits"]
    calibration = report["calibration"]
    assert calibration["fingerprint"] == recorded["calibration"]["fingerprint"]
    assert calibration["images"] == recorded["calibration"]["images"] == 100
    assert calibration["left_out_because_in_test"] == 0


def test_multiply_adds_of_the_operations_sum_to_the_runs(report, digits_run):
    metrics = json.loads((digits_run / "metrics.json").read_text())
    for name in TFLITE:
        operations = report["files"][name]["operations"]
        total = sum(operation["multiply_adds"] for operation in operations)
        assert total == metrics["multiply_adds"], name


def test_each_format_holds_the_numbers_that_it_promises(bundle):
    """By the files' tensors as the interpreter lists them."""
    types, edges = {}, {}
    for name, file in TFLITE.items():
        interpreter = Interpreter(str(bundle / file))
        types[name] = {np.dtype(tensor["dtype"]) for tensor in interpreter.get_tensor_details()}
        edge = (interpreter.get_input_details()[0], interpreter.get_output_details()[0])
        edges[name] = {np.dtype(tensor["dtype"]).name for tensor in edge}
    assert not {np.dtype("int8"), np.dtype("float16")} & types["float32"]
    assert np.dtype("float16") in types["float16"]
    assert {np.dtype("int8"), np.dtype("float32")} <= types["dynamic"]
    for name in ("int8", "int16"):
        assert np.dtype("int8") in types[name]
        assert not any(np.issubdtype(kind, np.floating) for kind in types[name])
    assert edges == {
        "float32": {"float32"},
        "float16": {"float32"},
        "dynamic": {"float32"},
        "int8": {"int8"},
        "int16": {"int16"},
    }


def test_the_table_and_the_model_card_have_a_row_for_each_file(exported, bundle, report):
    outcome = exported[1]
    card = (bundle / "model_card.md").read_text()
    for name, file in TFLITE.items():
        size = f"{(bundle / file).stat().st_size / 1024:,.1f}"
        accuracy = f"{report['files'][name]['accuracy']:.2%}"
        for text in (outcome.printed, card):
            (row,) = re.findall(rf"^(?:\| )?{re.escape(file)} .*%.*\(.*$", text, re.MULTILINE)
            assert size in row
            assert accuracy in row
    assert outcome.error == ""


def test_what_lies_beside_the_files_is_of_them(bundle):
    content = (bundle / TFLITE["int8"]).read_bytes()
    source = (bundle / "micro/run_int8.cc").read_text()
    array = source[source.index("{") : source.rindex("};")]
    assert bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-f]{2})\b", array)) == content
    golden = json.loads((bundle / "golden/golden.json").read_text())
    assert golden["model"]["file"] == TFLITE["int8"]
    assert golden["model"]["crc32"] == f"0x{zlib.crc32(content):08x}"
    assert (bundle / "labels.txt").read_text().split() == [str(digit) for digit in range(10)]
    described = json.loads((bundle / "preprocessing.json").read_text())
    models = described["models"]
    reading = {"exif_orientation": True, "resize": "squash", "crop_share": 0.875, "border": 128}
    assert described["image"] == reading == json.loads((bundle / "golden/large.json").read_text())["how"]
    # The digits' input is of 8 x 8 pixels.
    assert len((bundle / "golden/large.bin").read_bytes()) == 8 * 8 * 3
    assert set(models) == set(TFLITE.values())
    with Image.open(bundle / "files.png") as image:
        image.verify()


def test_the_arena_is_one_number_everywhere(exported, bundle, report):
    if "skipped" in report["tensorflow_lite_micro"]:
        pytest.skip("the package tflite_micro is not installed")
    reserved = report["tensorflow_lite_micro"]["arena_bytes"]
    assert reserved % 16 == 0
    assert f"constexpr int kRunInt8ArenaBytes = {reserved};" in (bundle / "micro/run_int8.h").read_text()
    card = (bundle / "model_card.md").read_text()
    assert f"Reserve an arena of {reserved:,} bytes" in card
    shown = f"{reserved / 1024:.1f}"
    assert f"arena {shown} KiB\n" in exported[1].printed
    for text in (exported[1].printed, card):
        (row,) = re.findall(r"^(?:\| )?model_int8\.tflite .*%.*$", text, re.MULTILINE)
        assert row.strip(" |").endswith(shown)


def test_the_scores_have_one_name_in_every_file(bundle):
    for file in TFLITE.values():
        (signature,) = Interpreter(str(bundle / file)).get_signature_list().values()
        assert signature == {"inputs": ["pixels"], "outputs": ["scores"]}


def tensor_names(file: Path) -> list[str]:
    (subgraph,) = schema.ModelT.InitFromPackedBuf(file.read_bytes()).subgraphs
    return [(tensor.name or b"").decode() for tensor in subgraph.tensors]


def test_the_names_that_the_int8_file_goes_without_are_in_the_report(bundle, report):
    left_out = {name: file["tensor_names"] for name, file in report["files"].items()}
    names = tensor_names(bundle / TFLITE["int8"])
    assert set(names) == {"", "pixels", "scores"}
    assert len(left_out["int8"]) == len(names)
    # Those of what a ReLU ends are the float file's.
    activations = {name for name in tensor_names(bundle / TFLITE["float32"]) if "/Relu;" in name}
    assert activations
    assert activations <= set(left_out["int8"])
    assert [name for name, names in left_out.items() if names] == ["int8"]


def test_benchmark_measures_one_thread_and_all(report):
    counts = sorted({1, os.cpu_count()})
    for name in TFLITE:
        measured = report["files"][name]["latency"]
        assert [latency["threads"] for latency in measured] == counts
        assert all(0 < latency["p50_ms"] <= latency["p99_ms"] for latency in measured)


def test_the_saved_model_answers_without_this_project(bundle, digits_run, held_out, tmp_path):
    images, scores = held_out[0][:32], tmp_path / "scores.npy"
    np.save(tmp_path / "images.npy", images)
    asked = ["-c", ASK_SAVED_MODEL, bundle / "saved_model", tmp_path / "images.npy", scores]
    subprocess.run([sys.executable, *asked], cwd=tmp_path, check=True, capture_output=True)
    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    expected = network.predict_on_batch(images.astype(np.float32))
    # Sums of a few hundred float32 terms, fused otherwise; logits are below 10.
    np.testing.assert_allclose(np.load(scores), expected, rtol=0, atol=1e-4)


def test_run_py_names_the_digits_where_there_is_no_tensorflow(bundle, bare_python, held_out, tmp_path):
    images, labels = held_out
    right = answers((bundle / TFLITE["int8"]).read_bytes(), images).argmax(axis=-1) == labels
    first = [np.flatnonzero(right & (labels == digit))[0] for digit in range(10)]
    folder = write_images(tmp_path / "digits", images[first], labels[first])
    bare = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    settings = {"capture_output": True, "text": True, "env": bare, "cwd": bundle}
    for absent in ("tensorflow", "keras", "pipeline"):
        failed = subprocess.run([bare_python, "-c", f"import {absent}"], **settings)
        assert "ModuleNotFoundError" in failed.stderr
    result = subprocess.run([bare_python, "run.py", folder], **settings)
    assert (result.returncode, result.stderr) == (0, "")
    rows = [line.split("\t") for line in result.stdout.splitlines()]
    assert [label for _, label, _ in rows] == [str(digit) for digit in range(10)]


@pytest.mark.usefixtures("untimed")
def test_output_input_type_and_temperature_are_in_the_files(export, digits_run, held_out, tmp_path):
    bundle = tmp_path / "bundle"
    asked = "--formats float32,int8 --output probabilities --input-type uint8 --temperature 2.5 --no-slim"
    outcome = export(digits_run, *asked.split(), *LENIENT, "--out", bundle)
    assert outcome.code == 0, outcome.error
    assert "temperature  2.5, folded into the last layer" in outcome.printed
    assert "temperature of 2.5" in (bundle / "model_card.md").read_text()
    images, labels = held_out
    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    powers = np.exp(network.predict(images[:20], verbose=0) / 2.5)
    scores = answers((bundle / TFLITE["float32"]).read_bytes(), images[:20])
    # What the export itself allows between Keras and LiteRT.
    np.testing.assert_allclose(scores, powers / powers.sum(axis=-1, keepdims=True), atol=1e-4)
    content = (bundle / TFLITE["int8"]).read_bytes()
    interpreter = Interpreter(model_content=content)
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    # A pixel goes in as it is: no arithmetic before the network.
    assert (takes["dtype"], takes["quantization"]) == (np.uint8, (1.0, 0))
    assert gives["dtype"] == np.uint8
    assert all(tensor_names(bundle / TFLITE["int8"]))
    folder = write_images(tmp_path / "digits", images[:20], labels[:20])
    rows = classify(bundle, folder, "--top", "10")
    assert len(rows) == 20
    for scores, (_, *pairs) in zip(answers(content, images[:20]), rows, strict=True):
        assert sorted(pairs[::2]) == [str(digit) for digit in range(10)]
        chances = np.array([float(chance) for chance in pairs[1::2]])
        # Ten levels of 1/256, each off by half a level at most, and printed to four digits.
        assert chances.sum() == pytest.approx(1, abs=10 * (0.5 / 256 + 0.5e-4))
        assert pairs[0] == str(scores.argmax())
    report = json.loads((bundle / "report.json").read_text())
    assert report["output"] == "probabilities"
