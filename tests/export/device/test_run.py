"""The bundle's run.py: its answers against LiteRT's, and how it prints them."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from scipy.special import softmax

from export.bundle.preprocessing import describe_preprocessing
from pipeline.config.reading import READING
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter
from tests.export.device.samples import (
    HEIGHT,
    IMAGES,
    LABELS,
    WIDTH,
    classify,
    main_of,
    parse,
    save,
    write_bundle,
)


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        *(("logits", kind) for kind in ("float32", "int8", "uint8", "int16")),
        *(("probabilities", kind) for kind in ("float32", "int8")),
    ],
)
def test_answers_equal_litert(kind, output, files, images, tmp_path, capsys):
    name = f"model_{kind}.tflite"
    assert (
        main_of(write_bundle(tmp_path / "b", files[output], output))(
            ["--model", name, "--top", "5", *map(str, images)]
        )
        == 0
    )
    paths, labels, chances = parse(capsys.readouterr().out)

    expected = files[output][name].predict(IMAGES)
    if output == "logits":
        expected = softmax(expected, axis=1)
    order = np.argsort(-expected, axis=1, kind="stable")  # of equals the first, as argmax has it
    assert paths == list(map(str, images))
    assert labels == [[LABELS[index] for index in row] for row in order]
    assert len({row[0] for row in labels}) > 2  # else a constant answer would pass
    # Printed with four decimals; float32 softmax is off by far less.
    np.testing.assert_allclose(chances, np.take_along_axis(expected, order, 1), atol=5.1e-5)


def test_takes_the_int8_file_and_one_label_by_default(bundle, images):
    plain = classify(bundle, *images)
    assert (plain.returncode, plain.stderr) == (0, "")
    assert plain.stdout == classify(bundle, "--model", "model_int8.tflite", *images).stdout
    _, labels, chances = parse(plain.stdout)
    assert np.shape(labels) == chances.shape == (len(images), 1)
    int8 = TFLiteFile((bundle / "model_int8.tflite").read_bytes())
    expected = int8.predict(IMAGES).argmax(1)
    assert [row[0] for row in labels] == [LABELS[index] for index in expected]


def test_takes_the_first_file_where_none_is_int8(files, images, tmp_path, capsys):
    first = {"model_float32.tflite": files["logits"]["model_float32.tflite"]}
    assert main_of(write_bundle(tmp_path / "b", first, "logits"))(list(map(str, images))) == 0
    _, labels, _ = parse(capsys.readouterr().out)
    expected = first["model_float32.tflite"].predict(IMAGES).argmax(1)
    assert [row[0] for row in labels] == [LABELS[index] for index in expected]


def test_resizes_the_whole_image_to_the_networks_shape(bundle, tmp_path, capsys):
    slopes = np.mgrid[0:120:0.5, 120:0:-0.25].transpose(1, 2, 0)
    large = np.concatenate([slopes, 2 * slopes[..., :1]], axis=-1).astype(np.uint8)
    Image.fromarray(large).save(tmp_path / "large.png")
    arguments = ["--top", "5", "--threads", "2", "--model", "model_float32.tflite"]
    assert main_of(bundle)([*arguments, str(tmp_path / "large.png")]) == 0
    _, labels, chances = parse(capsys.readouterr().out)
    small = tf.image.resize(large, [HEIGHT, WIDTH], antialias=True)
    expected = softmax(TFLiteFile((bundle / arguments[-1]).read_bytes()).predict(small.numpy()[None])[0])
    found = dict(zip(labels[0], chances[0], strict=True))
    # Rounding to levels moves a pixel by up to one of them, 1/64 of the network's deviation.
    np.testing.assert_allclose([found[label] for label in LABELS], expected, atol=0.01)


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8", "int16"])
def test_description_equals_what_litert_reads(kind, files):
    name = f"model_{kind}.tflite"
    model = Interpreter(files["logits"][name].content)
    description = describe_preprocessing({name: files["logits"][name]}, "logits", READING)
    described = json.loads(json.dumps(description))["models"][name]

    def numbers(tensor: dict) -> dict:
        scale, zero_point = tensor["quantization"]
        if kind == "float32":
            scale = zero_point = None
        return {"dtype": kind, "scale": scale, "zero_point": zero_point}

    image = {"height": HEIGHT, "width": WIDTH, "channels": "RGB", "layout": "NHWC"}
    assert described["input"] == {**image, **numbers(model.input)}
    assert described["output"] == {"scores": "logits", **numbers(model.output)}
    if kind == "int8":
        assert (described["input"]["scale"], described["input"]["zero_point"]) == (1, -128)


def test_folders_are_searched_at_any_depth_in_sorted_order(bundle, tmp_path, capsys):
    root = tmp_path / "photos"
    kinds = {"a.PNG": "png", "b/10.jfif": "jpeg", "b/9": "bmp", "b/c/x.txt": "gif", "c.jpg": "png"}
    unseen = {"._a.png": "png", ".cache/x.png": "png"}
    for name, kind in (kinds | unseen).items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(save(IMAGES[0], kind))  # the ending is no rule
    for name, content in {"b/notes.png": b"notes", "labels.csv": b"", "photo.heic": b"....ftypheic"}.items():
        (root / name).write_bytes(content)
    (root / "folder.png").mkdir()
    (root / "back").symlink_to(root)  # followed, it would never end
    os.mkfifo(root / "pipe.png")  # opened, it would wait
    single = root / "b/c/x.txt"  # named by the user, so it is tried whatever its ending
    assert main_of(bundle)([str(single), str(root)]) == 0
    printed, said = capsys.readouterr()
    paths, _, _ = parse(printed)
    assert paths == [str(single), *(str(root / name) for name in kinds)]
    passed_over = f"{root / 'b/notes.png'}, {root / 'labels.csv'}, {root / 'photo.heic'}, ..."
    rule = "none of them a JPEG, PNG, GIF, BMP, WebP or TIFF image"
    assert said == f"passed over 4 files, {rule}: {passed_over}\n"


def test_a_model_may_be_given_by_its_path(bundle, images, tmp_path, monkeypatch):
    (tmp_path / "kept").mkdir()
    (bundle / "model_float32.tflite").rename(tmp_path / "kept/model_float32.tflite")
    monkeypatch.chdir(tmp_path)
    result = classify(bundle, images[0], "--model", "kept/model_float32.tflite")
    assert result.returncode == 0, result.stderr


def test_any_name_is_printed_in_any_locale(bundle, tmp_path):
    image = os.fsencode(tmp_path) + b"/caf\xe9.png"  # Latin-1, which is no UTF-8
    Path(os.fsdecode(image)).write_bytes(save(IMAGES[0], "png"))
    plain = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
    command = [sys.executable, bundle / "run.py", "--top", "5", image]
    result = subprocess.run(command, capture_output=True, env=plain)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(image + b"\t")
    assert "\t犬\t".encode() in result.stdout


def test_prints_each_line_at_once_and_ends_quietly_with_its_pipe(bundle, images):
    # More lines than a pipe holds (64 KiB on Linux), so that it can't be done before the pipe ends.
    command = [sys.executable, bundle / "run.py", *[images[1]] * 3000]
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    settings = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "env": buffered}
    with subprocess.Popen(command, **settings) as process:
        first = os.read(process.stdout.fileno(), 1 << 16)
        process.stdout.close()
        complaints = process.stderr.read()
    # Python's own buffer would come full, 8 KiB, its last line cut.
    assert first.endswith(b"\n")
    assert len(first) < 8192
    assert (complaints, process.returncode) == (b"", -signal.SIGPIPE)


@pytest.mark.parametrize("closed", ["stdin", "stdout", "stderr"])
def test_runs_where_a_stream_is_closed(bundle, images, closed):
    number = ("stdin", "stdout", "stderr").index(closed)
    command = ["sh", "-c", f'"$0" "$@" {number}>&-', sys.executable, bundle / "run.py", images[0]]
    result = subprocess.run(command, capture_output=True)
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout.startswith(b"" if closed == "stdout" else os.fsencode(images[0]))


def test_runs_where_all_but_stdout_is_closed_and_prints_nothing_but_answers_there(bundle, images):
    command = ["sh", "-c", '"$0" "$@" <&- 2>&-', sys.executable, bundle / "run.py", "missing.png", images[0]]
    result = subprocess.run(command, capture_output=True)
    assert result.returncode == 1
    assert result.stdout.startswith(os.fsencode(images[0]))
    assert result.stdout.count(b"\n") == 1


def test_a_pipe_or_a_device_is_not_opened(bundle, tmp_path):
    os.mkfifo(tmp_path / "pipe.png")  # opened, it would wait
    result = classify(bundle, tmp_path / "pipe.png", "/dev/zero")
    complaints = [f"error: {path}: must be a regular file" for path in (tmp_path / "pipe.png", "/dev/zero")]
    assert (result.returncode, result.stderr.splitlines()) == (1, complaints)


@pytest.mark.parametrize("name", ["labels.txt", "preprocessing.json", "model_int8.tflite"])
@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_a_pipe_or_a_folder_in_the_place_of_a_file_is_told(bundle, images, name, put, monkeypatch, capsys):
    (bundle / name).unlink()
    put(bundle / name)
    monkeypatch.chdir(bundle)  # where a model is looked for as well
    assert main_of(bundle)([str(images[0])]) == 2
    assert capsys.readouterr() == ("", f"error: {name} must be a regular file\n")


@pytest.mark.parametrize("put", [os.mkfifo, os.mkdir])
def test_a_model_by_its_path_is_a_regular_file_too(bundle, images, tmp_path, put, capsys):
    put(tmp_path / "model_float32.tflite")
    (bundle / "model_float32.tflite").unlink()
    assert main_of(bundle)([str(images[0]), "--model", str(tmp_path / "model_float32.tflite")]) == 2
    assert capsys.readouterr().err == "error: model_float32.tflite must be a regular file\n"
