"""What the bundle's run.py says of bundles, arguments and images that it cannot use."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.export.device.samples import IMAGES, assert_one_complaint, classify, main_of, parse, save


def test_goes_on_past_images_that_cannot_be_read(bundle, images, tmp_path):
    good = save(IMAGES[0], "jpeg")
    contents = {
        "cut.jpg": good[: len(good) // 2],
        "empty.png": b"",
        "text.png": b"path,label\n",
        "other.jpg": save(IMAGES[0], "ppm"),
        "noise.gif": b"GIF89a" + bytes(range(200)),
    }
    bad = [tmp_path / name for name in contents]
    for path in bad:
        path.write_bytes(contents[path.name])
    (tmp_path / "nothing").mkdir()
    bad += [tmp_path / "missing.png", tmp_path / "nothing"]
    result = classify(bundle, images[0], *bad, images[1])
    assert result.returncode == 1
    assert parse(result.stdout)[0] == [str(images[0]), str(images[1])]
    complaints = result.stderr.splitlines()
    assert len(complaints) == len(bad)
    for complaint, path in zip(complaints, bad, strict=True):
        assert complaint.startswith(f"error: {path}: ")
    assert "No such file" in complaints[-2]
    assert "a folder must hold a JPEG, PNG, GIF, BMP, WebP or TIFF image" in complaints[-1]


def test_a_name_with_an_escape_code_reaches_no_terminal_raw(bundle, tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "\x1b[31m.png").write_bytes(save(IMAGES[0], "png")[:60])
    (folder / "\x1b[2J.txt").write_text("notes")
    result = classify(bundle, folder)
    assert result.returncode == 1
    assert r"\x1b[31m.png" in result.stderr
    assert r"\x1b[2J.txt" in result.stderr
    assert "\x1b" not in result.stderr


def test_a_label_or_a_path_with_controls_stays_in_its_line_and_reaches_no_terminal_raw(bundle, tmp_path):
    (bundle / "labels.txt").write_text("".join(f"\x1b[2Jclass {number}\n" for number in range(5)))
    (tmp_path / "a\n\tb\x9b.png").write_bytes(save(IMAGES[0], "png"))
    result = classify(bundle, tmp_path / "a\n\tb\x9b.png")
    assert result.returncode == 0
    path, label, _ = result.stdout.removesuffix("\n").split("\t")
    assert path == str(tmp_path / r"a\n\tb\x9b.png")
    assert label.startswith(r"\x1b[2Jclass ")


def rewrite(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def spoil(folder: Path) -> None:
        description = json.loads((folder / "preprocessing.json").read_text())
        change(description)
        (folder / "preprocessing.json").write_text(json.dumps(description))

    return spoil


def int8(description: dict) -> dict:
    return description["models"]["model_int8.tflite"]


def put(folder: Path, name: str, value: object) -> None:
    """Let a part of the description be of another type."""

    def change(description: dict) -> None:
        if name == "models":
            description["models"] = value
        elif name == "model":
            description["models"]["model_int8.tflite"] = value
        else:
            int8(description)[name] = value

    rewrite(change)(folder)


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
    "no model": (lambda folder: (folder / "model_int8.tflite").unlink(), "the model must be readable"),
    "a model cut short": (lambda folder: os.truncate(folder / "model_int8.tflite", 999), "model_int8.tflite"),
    "another model": (
        lambda folder: shutil.copy(folder / "model_int16.tflite", folder / "model_int8.tflite"),
        "the model must be as it was exported, with the CRC-32 '0x",
    ),
    "no CRC-32": (rewrite(lambda description: int8(description).pop("crc32")), "KeyError 'crc32'"),
    "JSON 100,000 deep": (
        lambda folder: (folder / "preprocessing.json").write_text("[" * 100_000),
        "RecursionError",
    ),
    **{
        f"{name} is {value!r}": (lambda folder, n=name, v=value: put(folder, n, v), "json must")
        for name in ("models", "model", "input", "output")
        for value in (None, 3, "text", ["input", "output"], {})
    },
    **{
        f"labels are {content!r}": (
            lambda folder, c=content: (folder / "labels.txt").write_bytes(c),
            "labels.txt must",
        )
        for content in (b"", b"\0\n")
    },
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
def test_spoiled_bundles_take_one_line(spoiled, bundle, images, capfd):
    spoil, about = SPOILED[spoiled]
    spoil(bundle)
    code = main_of(bundle)([str(images[0])])
    assert_one_complaint(code, *capfd.readouterr(), about)


@pytest.mark.parametrize("name", ["model_int8.tflite", "model_float32.tflite"])
def test_a_model_with_a_wrong_byte_is_refused_wherever_it_is(name, bundle, images, capfd):
    content = (bundle / name).read_bytes()
    for place in np.linspace(0, len(content) - 1, 15).astype(int):
        altered = bytearray(content)
        altered[place] ^= 1
        (bundle / name).write_bytes(altered)
        code = main_of(bundle)(["--model", name, str(images[0])])
        assert_one_complaint(code, *capfd.readouterr(), "the model must be as it was exported")


@pytest.mark.parametrize(
    ("arguments", "about"),
    [
        ([], "IMAGE_OR_FOLDER"),
        (["x.png", "--fast"], "--fast"),
        (["x.png", "--mod", "model_int8.tflite"], "--mod"),
        (["x.png", "--top", "0"], "from 1 to 5; received 0"),
        (["x.png", "--top", "6"], "from 1 to 5; received 6"),
        (["x.png", "--top", "all"], "'all'"),
        (["x.png", "--threads", "0"], "from 1 to 256; received 0"),
        (["x.png", "--threads", "257"], "from 1 to 256; received 257"),
        (["x.png", "--model", "model.onnx"], "must be one of model_float32.tflite, "),
        (["x.png", "--model", ""], "must be one of model_float32.tflite, "),
        (["x.png", "--model", "no/model_int8.tflite"], "readable; no/model_int8.tflite: No such file"),
    ],
)
def test_wrong_arguments_take_one_line(arguments, about, bundle, capfd):
    assert_one_complaint(main_of(bundle)(arguments), *capfd.readouterr(), about)


def test_missing_packages_take_one_line(bundle, images):
    without_packages = [sys.executable, "-I", "-S", bundle / "run.py", images[0]]
    result = subprocess.run(without_packages, capture_output=True, text=True)
    about = "pip install ai-edge-litert numpy pillow"
    assert_one_complaint(result.returncode, result.stdout, result.stderr, about)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_takes_one_line(bundle, images):
    command = [sys.executable, bundle / "run.py", images[0]]
    with open("/dev/full", "w") as full:
        result = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert_one_complaint(result.returncode, "", result.stderr, "No space left")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("exif_orientation", 1),
        ("resize", "stretch"),
        ("crop_share", 0),
        ("crop_share", "all"),
        ("border", 256),
    ],
)
def test_a_way_of_reading_that_is_unknown_is_refused(name, value, bundle, images, capfd):
    rewrite(lambda whole: whole["image"].update({name: value}))(bundle)
    assert_one_complaint(main_of(bundle)([str(images[0])]), *capfd.readouterr(), "preprocessing.json must")


@pytest.mark.parametrize("name", ["exif_orientation", "resize", "crop_share", "border"])
def test_a_way_of_reading_that_is_left_open_is_refused(name, bundle, images, capfd):
    rewrite(lambda whole: whole["image"].pop(name))(bundle)
    assert_one_complaint(main_of(bundle)([str(images[0])]), *capfd.readouterr(), f"KeyError '{name}'")
