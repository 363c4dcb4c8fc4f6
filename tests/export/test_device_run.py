"""The bundle's run.py: its answers against LiteRT's, and what it says of bad input."""

import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image
from scipy.special import softmax

from export.calibration import Calibrator
from export.converter import Converter, quantize_to_int8
from export.device import run
from export.graph import read_graph
from export.litert import LiteRTModel
from export.network import build_inference_network, write_single_picture_graph
from export.preprocessing import describe_preprocessing

HEIGHT, WIDTH = 6, 9  # unequal, so that a swapped axis shows
LABELS = ["cat", "sea lion", "Äffchen", "犬", "cat and dog"]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, HEIGHT, WIDTH, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, dict[str, bytes]]:
    """`logits` or `probabilities` -> name -> .tflite file of a tiny network."""
    keras.utils.set_random_seed(3)
    x = pixels = keras.Input((HEIGHT, WIDTH, 3), name="pixels")
    x = layers.Normalization(mean=[127.0] * 3, variance=[4096.0] * 3, name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_norm")(x)
    x = layers.Flatten(name="pool")(layers.ReLU(name="stem_relu")(x))
    x = layers.Dense(len(LABELS), kernel_initializer="he_normal", name="head")(x)
    trained = keras.Model(pixels, x, name="net")
    converted = {}
    for output in ("probabilities", "logits"):
        graph = tmp_path_factory.mktemp(output)
        network = build_inference_network(trained, output)
        write_single_picture_graph(network, graph)
        converter = Converter(graph, [layer.name for layer in network.layers])
        float32 = converter.float32()
        ranges = Calibrator(float32, IMAGES).full
        converted[output] = {
            "model_float32.tflite": float32,
            "model_int8.tflite": quantize_to_int8(float32, ranges),
        }
    # Other types of input and output are tried with logits alone.
    converted["logits"]["model_uint8.tflite"] = quantize_to_int8(float32, ranges, "uint8")
    converted["logits"]["model_int16.tflite"] = converter.int16(IMAGES)
    return converted


def write_bundle(folder: Path, models: dict[str, bytes], output: str) -> Path:
    folder.mkdir()
    for name, content in models.items():
        (folder / name).write_bytes(content)
    graphs = {name: read_graph(content) for name, content in models.items()}
    description = describe_preprocessing(graphs, output)
    (folder / "preprocessing.json").write_text(json.dumps(description))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), "utf-8")
    shutil.copy(run.__file__, folder / "run.py")
    return folder


@pytest.fixture
def bundle(files, tmp_path) -> Path:
    return write_bundle(tmp_path / "bundle", files["logits"], "logits")


@pytest.fixture
def pictures(tmp_path) -> list[Path]:
    """Pictures of the network's own size, so that nothing is resized."""
    paths = [tmp_path / f"{number:02d}.png" for number in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    return paths


def classify(bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, bundle / "run.py", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, encoding="utf-8")


def parse(output: str) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Split run.py's lines into paths, labels [pictures][K] and probabilities [pictures, K]."""
    rows = [line.split("\t") for line in output.splitlines()]
    chances = np.array([row[2::2] for row in rows], float)
    return [row[0] for row in rows], [row[1::2] for row in rows], chances


def save(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def assert_one_complaint(code: int, stdout: str, stderr: str, about: str) -> None:
    assert (code, stdout) == (2, "")
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert about in stderr


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        *(("logits", kind) for kind in ("float32", "int8", "uint8", "int16")),
        *(("probabilities", kind) for kind in ("float32", "int8")),
    ],
)
def test_answers_equal_litert(kind, output, files, pictures, tmp_path, monkeypatch, capsys):
    name = f"model_{kind}.tflite"
    monkeypatch.setattr(run, "FOLDER", write_bundle(tmp_path / "b", files[output], output))
    assert run.main(["--model", name, "--top", "5", *map(str, pictures)]) == 0
    paths, labels, chances = parse(capsys.readouterr().out)

    expected = LiteRTModel(files[output][name]).predict(IMAGES)
    if output == "logits":
        expected = softmax(expected, axis=1)
    order = np.argsort(-expected, axis=1, kind="stable")  # of equals the first, as argmax has it
    assert paths == list(map(str, pictures))
    assert labels == [[LABELS[index] for index in row] for row in order]
    assert len({row[0] for row in labels}) > 2  # else a constant answer would pass
    # Printed with four decimals; float32 softmax is off by far less.
    np.testing.assert_allclose(chances, np.take_along_axis(expected, order, 1), atol=5.1e-5)


def test_takes_the_int8_file_and_one_label_by_default(bundle, pictures):
    plain = classify(bundle, *pictures)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout == classify(bundle, "--model", "model_int8.tflite", *pictures).stdout
    _, labels, chances = parse(plain.stdout)
    assert np.shape(labels) == chances.shape == (len(pictures), 1)
    content = (bundle / "model_int8.tflite").read_bytes()
    expected = LiteRTModel(content).predict(IMAGES).argmax(1)
    assert [row[0] for row in labels] == [LABELS[index] for index in expected]


def test_takes_the_first_file_where_none_is_int8(files, pictures, tmp_path, monkeypatch, capsys):
    first = {"model_float32.tflite": files["logits"]["model_float32.tflite"]}
    monkeypatch.setattr(run, "FOLDER", write_bundle(tmp_path / "b", first, "logits"))
    assert run.main(list(map(str, pictures))) == 0
    _, labels, _ = parse(capsys.readouterr().out)
    expected = LiteRTModel(first["model_float32.tflite"]).predict(IMAGES).argmax(1)
    assert [row[0] for row in labels] == [LABELS[index] for index in expected]


def test_resizes_the_whole_picture_to_the_networks_shape(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "FOLDER", bundle)
    slopes = np.mgrid[0:120:0.5, 120:0:-0.25].transpose(1, 2, 0)
    large = np.concatenate([slopes, 2 * slopes[..., :1]], axis=-1).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    arguments = ["--top", "5", "--threads", "2", "--model", "model_float32.tflite"]
    assert run.main([*arguments, str(tmp_path / "large.png")]) == 0
    _, labels, chances = parse(capsys.readouterr().out)
    small = tf.image.resize(large, [HEIGHT, WIDTH], antialias=True)
    expected = softmax(
        LiteRTModel((bundle / arguments[-1]).read_bytes()).predict(small.numpy()[None])[0]
    )
    found = dict(zip(labels[0], chances[0], strict=True))
    # Rounding to levels moves a pixel by up to one of them, 1/64 of the network's deviation.
    np.testing.assert_allclose([found[label] for label in LABELS], expected, atol=0.01)


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8", "int16"])
def test_description_equals_what_litert_reads(kind, files):
    name = f"model_{kind}.tflite"
    model = LiteRTModel(files["logits"][name])
    description = describe_preprocessing({name: read_graph(files["logits"][name])}, "logits")
    described = json.loads(json.dumps(description))["models"][name]

    def numbers(tensor: dict) -> dict:
        scale, zero_point = tensor["quantization"]
        if kind == "float32":
            scale = zero_point = None
        return {"dtype": kind, "scale": scale, "zero_point": zero_point}

    picture = {"height": HEIGHT, "width": WIDTH, "channels": "RGB", "layout": "NHWC"}
    assert described["input"] == {**picture, **numbers(model.input)}
    assert described["output"] == {"scores": "logits", **numbers(model.output)}
    if kind == "int8":
        assert (described["input"]["scale"], described["input"]["zero_point"]) == (1, -128)


def test_folders_are_searched_at_any_depth_in_sorted_order(bundle, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "FOLDER", bundle)
    root = tmp_path / "photos"
    seen = ["a.PNG", "b/10.jpeg", "b/9.bmp", "b/c/x.gif", "c.jpg"]
    unseen = ["._a.png", ".cache/x.png", "b/notes.txt", "labels.csv"]
    for name in seen + unseen:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(save(IMAGES[0], "png"))  # the ending is no rule
    (root / "folder.png").mkdir()
    (root / "back").symlink_to(root)  # followed, it would never end
    single = root / "b/notes.txt"  # named by the user, so it is tried whatever its ending
    assert run.main([str(single), str(root)]) == 0
    paths, _, _ = parse(capsys.readouterr().out)
    assert paths == [str(single), *(str(root / name) for name in seen)]


def test_goes_on_past_pictures_that_cannot_be_read(bundle, pictures, tmp_path):
    good = save(IMAGES[0], "jpeg")
    contents = {
        "cut.jpg": good[: len(good) // 2],
        "empty.png": b"",
        "text.png": b"path,label\n",
        "other.jpg": save(IMAGES[0], "webp"),
        "noise.gif": b"GIF89a" + bytes(range(200)),
    }
    bad = [tmp_path / name for name in contents]
    for path in bad:
        path.write_bytes(contents[path.name])
    (tmp_path / "nothing").mkdir()
    bad += [tmp_path / "missing.png", tmp_path / "nothing"]
    result = classify(bundle, pictures[0], *bad, pictures[1])
    assert result.returncode == 1
    assert parse(result.stdout)[0] == [str(pictures[0]), str(pictures[1])]
    complaints = result.stderr.splitlines()
    assert len(complaints) == len(bad)
    for complaint, path in zip(complaints, bad, strict=True):
        assert complaint.startswith(f"error: {path}: ")
    assert "No such file" in complaints[-2]
    assert "a folder must hold pictures" in complaints[-1]


def rewrite(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        description = json.loads((folder / "preprocessing.json").read_text())
        change(description)
        (folder / "preprocessing.json").write_text(json.dumps(description))

    return spoil


def int8(description: dict) -> dict:
    return description["models"]["model_int8.tflite"]


SPOILED = {
    "no labels": (lambda folder: (folder / "labels.txt").unlink(), "labels.txt"),
    "a label too few": (lambda folder: (folder / "labels.txt").write_text("a\nb\n"), "received 2"),
    "labels in another encoding": (
        lambda folder: (folder / "labels.txt").write_bytes("Äffchen".encode("latin-1")),
        "UnicodeDecodeError",
    ),
    "no description": (lambda folder: (folder / "preprocessing.json").unlink(), "preprocessing"),
    "no JSON": (lambda folder: (folder / "preprocessing.json").write_text("{"), "JSONDecodeError"),
    "a list": (lambda folder: (folder / "preprocessing.json").write_text("[1]"), "TypeError"),
    "no models": (rewrite(lambda description: description["models"].clear()), "preprocessing.json"),
    "no output": (rewrite(lambda description: int8(description).pop("output")), "output"),
    "no scores": (rewrite(lambda description: int8(description)["output"].pop("scores")), "scores"),
    "no model": (lambda folder: (folder / "model_int8.tflite").unlink(), "model_int8.tflite"),
    "a model cut short": (
        lambda folder: os.truncate(folder / "model_int8.tflite", 999),
        "model_int8.tflite",
    ),
    "another model": (
        lambda folder: shutil.copy(folder / "model_int16.tflite", folder / "model_int8.tflite"),
        "does not fit",
    ),
    **{
        f"another {side} {key}": (
            rewrite(lambda whole, s=side, k=key, v=value: int8(whole)[s].update({k: v})),
            "does not fit",
        )
        for side, key, value in [
            ("input", "height", 7),
            ("input", "width", 7),
            ("input", "channels", "BGR"),
            ("input", "layout", "NCHW"),
            ("input", "scale", 2.0),
            ("input", "zero_point", 0),
            ("output", "scale", 2.0),
            ("output", "zero_point", 99),
            ("output", "dtype", "uint8"),
            ("output", "scores", "odds"),
        ]
    },
}


@pytest.mark.parametrize("spoiled", SPOILED)
def test_spoiled_bundles_take_one_line(spoiled, bundle, pictures, monkeypatch, capfd):
    spoil, about = SPOILED[spoiled]
    spoil(bundle)
    monkeypatch.setattr(run, "FOLDER", bundle)
    code = run.main([str(pictures[0])])
    assert_one_complaint(code, *capfd.readouterr(), about)


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        ([], "PICTURE_OR_FOLDER"),
        (["x.png", "--fast"], "--fast"),
        (["x.png", "--mod", "model_int8.tflite"], "--mod"),
        (["x.png", "--top", "0"], "from 1 to 5; received 0"),
        (["x.png", "--top", "6"], "from 1 to 5; received 6"),
        (["x.png", "--top", "all"], "'all'"),
        (["x.png", "--threads", "0"], "from 1 to 256; received 0"),
        (["x.png", "--threads", "257"], "from 1 to 256; received 257"),
        (["x.png", "--model", "model.onnx"], "must be one of model_float32.tflite, "),
    ],
)
def test_wrong_arguments_take_one_line(arguments, about, bundle, monkeypatch, capfd):
    monkeypatch.setattr(run, "FOLDER", bundle)
    assert_one_complaint(run.main(arguments), *capfd.readouterr(), about)


def test_missing_packages_take_one_line(bundle, pictures):
    without_packages = [sys.executable, "-I", "-S", bundle / "run.py", pictures[0]]
    result = subprocess.run(without_packages, capture_output=True, text=True)
    about = "pip install ai-edge-litert numpy pillow"
    assert_one_complaint(result.returncode, result.stdout, result.stderr, about)


def test_a_model_may_be_given_by_its_path(bundle, pictures, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (bundle / "model_float32.tflite").rename(tmp_path / "kept/model_float32.tflite")
    monkeypatch.chdir(tmp_path)
    result = classify(bundle, pictures[0], "--model", "kept/model_float32.tflite")
    assert result.returncode == 0, result.stderr


def test_any_name_is_printed_in_any_locale(bundle, tmp_path):
    picture = os.fsencode(tmp_path) + b"/caf\xe9.png"  # Latin-1, which is no UTF-8
    Path(os.fsdecode(picture)).write_bytes(save(IMAGES[0], "png"))
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, bundle / "run.py", "--top", "5", picture]
    result = subprocess.run(command, capture_output=True, env=plain)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(picture + b"\t")
    assert "\t犬\t".encode() in result.stdout


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_takes_one_line(bundle, pictures):
    command = [sys.executable, bundle / "run.py", pictures[0]]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert_one_complaint(result.returncode, "", result.stderr, "No space left")


def test_prints_each_line_at_once_and_ends_quietly_with_its_pipe(bundle, pictures, tmp_path):
    os.mkfifo(tmp_path / "waits")  # opening it waits for a writer
    # More lines than a pipe holds (64 KiB on Linux), so that it can't be done before the pipe ends.
    command = [bundle / "run.py", pictures[0], tmp_path / "waits", *[pictures[1]] * 3000]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": buffered}
    with subprocess.Popen([sys.executable, *command], **settings) as process:
        ready, _, _ = select.select([process.stdout], [], [], 30)
        if not ready:
            process.kill()
        assert ready, "no line before the second picture was there"
        assert process.stdout.readline().startswith(os.fsencode(pictures[0]))
        process.stdout.close()
        (tmp_path / "waits").write_bytes(b"no picture")
        complaints = process.stderr.read().splitlines()
    assert len(complaints) == 1
    assert b"waits" in complaints[0]
    assert process.returncode == -signal.SIGPIPE
