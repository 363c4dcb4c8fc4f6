"""The folder micro/ of a bundle: built and run in TensorFlow Lite Micro, or as far as it goes without."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.bundle.micro_folder import write_micro_folder
from export.convert.converter import quantize_to_int8
from export.device import run
from export.quantize.ranges import Calibrator
from export.verify.micro import MicroResult
from pipeline.config.reading import Reading
from tests.commands import ROOT
from tests.prediction_samples import digits

LABELS = ('say "0"', "back\\slash", "what??/", "Tür", "two\n lines", *"56789")

ARENA = 64 * 1024
"""Ample for a network of digits."""

STRICT = ("-Wall", "-Wextra", "-Wpedantic", "-Werror")


@pytest.fixture(scope="module")
def int8(digits_float32):
    return quantize_to_int8(digits_float32, Calibrator(digits_float32, digits()[0]).full)


@pytest.fixture(scope="module")
def folder(int8, tmp_path_factory) -> Path:
    place = tmp_path_factory.mktemp("bundle") / "micro"
    micro = MicroResult(1, ARENA, 1)
    write_micro_folder(int8, micro, digits()[0][:3], LABELS, place, "door_int8", Reading(resize="pad"))
    return place


def compiled(*command: str | Path) -> None:
    if shutil.which(str(command[0])) is None:
        pytest.skip(f"no {command[0]} to compile the folder with")
    subprocess.run(command, check=True)


@pytest.mark.parametrize("language", ["gcc -std=c99 -xc", "g++ -std=c++17 -xc++"])
def test_the_headers_compile_without_a_warning_and_hold_the_numbers(language, folder, int8, tmp_path):
    """Printed by a program that includes nothing but them."""
    (tmp_path / "print.c").write_text(
        '#include <stdio.h>\n#include "door_int8_golden.h"\n#include "door_int8_image.h"\n'
        '#include "door_int8_labels.h"\nint main(void) {\n'
        '  for (int i = 0; i < kDoorInt8Classes; i++) printf("%s\\n", kDoorInt8Labels[i]);\n'
        "  fwrite(kDoorInt8GoldenInput, 1, sizeof kDoorInt8GoldenInput, stderr);\n"
        "  fwrite(kDoorInt8GoldenOutput, 1, sizeof kDoorInt8GoldenOutput, stderr);\n"
        "  const PreprocessInput *how = &kDoorInt8Image;\n"
        "  return how->side != 8 || how->resize != PREPROCESS_PAD || how->crop_numerator != 7 ||\n"
        "         how->crop_denominator != 8 || how->border != 128 || how->zero_point != -128 ||\n"
        "         kDoorInt8GoldenVectors != 3 || sizeof kDoorInt8GoldenLevels != kDoorInt8InputBytes ||\n"
        "         sizeof kDoorInt8GoldenRgb888 != 8100 || sizeof kDoorInt8GoldenRgb565 != 5400;\n}\n"
    )
    compiled(*language.split(), *STRICT, "-I", folder, tmp_path / "print.c", "-o", tmp_path / "print")
    printed = subprocess.run([tmp_path / "print"], check=True, capture_output=True)
    expected = ('say "0"', "back\\slash", "what??/", "Tür", "two lines", *"56789")
    assert printed.stdout.decode().splitlines() == list(expected)
    inputs, outputs = np.frombuffer(printed.stderr, np.int8)[: 3 * 192], printed.stderr[3 * 192 :]
    # Scale 1 and zero point -128.
    np.testing.assert_array_equal(inputs.reshape(3, 8, 8, 3).astype(int) + 128, digits()[0][:3])
    scores = np.frombuffer(outputs, np.int8).reshape(3, 10)
    assert (scores.argmax(axis=1) == int8.predict(digits()[0][:3]).argmax(axis=1)).all()


def array(text: str, name: str) -> np.ndarray:
    values = re.search(rf"{name}\[[^=]*= \{{(.*?)\}};", text, re.DOTALL)
    return np.array([int(number) for number in re.findall(r"-?\d+", values[1])])


def test_the_golden_image_is_one_image_in_two_formats(folder):
    text = (folder / "door_int8_golden.h").read_text()
    seen = array(text, "GoldenRgb888").reshape(45, 60, 3)
    high, low = array(text, "GoldenRgb565").reshape(45, 60, 2).transpose(2, 0, 1)
    for channel, (bits, top) in enumerate(
        ((high >> 3, 31), ((high & 7) << 3 | low >> 5, 63), (low & 31, 31))
    ):
        assert np.abs(seen[..., channel] - bits * 255 / top).max() < 1
    how = {"resize": "pad", "crop_share": 0.875, "border": 128}
    fitted = run.fit(Image.fromarray(seen.astype(np.uint8)), 8, 8, how)
    np.testing.assert_array_equal(array(text, "GoldenLevels").reshape(8, 8, 3) + 128, fitted)


def test_an_arena_that_was_not_measured_is_in_the_program(int8, tmp_path):
    folder = tmp_path / "micro"
    write_micro_folder(int8, "not installed", digits()[0][:1], LABELS, folder, "door_int8", Reading())
    declared = "constexpr int kDoorInt8ArenaBytes = "
    assert declared + "1024 * 1024;  // not measured" in (folder / "main.cc").read_text()
    assert declared not in (folder / "door_int8.h").read_text()


def test_nothing_is_left_to_fill_in(folder):
    for path in folder.rglob("*.*"):
        if path.is_file():
            assert not re.search(r"@\w+@", path.read_text()), path


STAND_IN = Path(__file__).with_name("tflm_stand_in.h")

INCLUDED = (
    *("micro/micro_interpreter", "micro/micro_log", "micro/micro_mutable_op_resolver", "micro/system_setup"),
    "schema/schema_generated",
)
"""Headers of TensorFlow Lite Micro that the folder includes."""


@pytest.fixture(scope="module")
def stand_in(folder, tmp_path_factory) -> Path:
    """Headers that the folder compiles with where there is no TensorFlow Lite Micro."""
    headers = tmp_path_factory.mktemp("tflm")
    added = set(re.findall(r"resolver\.(Add\w+)", (folder / "door_int8.h").read_text()))
    methods = " ".join(f"TfLiteStatus {method}() {{ return Added(); }}" for method in added)
    (headers / "tflm.h").write_text(STAND_IN.read_text().replace("METHODS", methods))
    for name in INCLUDED:
        header = headers / "tensorflow" / "lite" / f"{name}.h"
        header.parent.mkdir(parents=True, exist_ok=True)
        header.write_text('#include "tflm.h"\n')
    return headers


@pytest.fixture(scope="module")
def program(folder, stand_in) -> Path:
    """What the folder builds, with the stand-in."""
    sources = [folder / name for name in ("main.cc", "door_int8.cc")]
    compiled("gcc", "-std=c99", *STRICT, "-c", folder / "preprocess.c", "-o", stand_in / "preprocess.o")
    include = ["-I", stand_in, "-I", folder]
    linked = [stand_in / "preprocess.o", "-o", stand_in / "program"]
    compiled("g++", "-std=c++17", *STRICT, *include, *sources, *linked)
    return stand_in / "program"


@pytest.mark.parametrize(
    ("step", "what"),
    [
        ("none", "PASS"),
        ("version", "FAIL: the file is of another version of TFLite"),
        ("register", "FAIL: an operation cannot be registered"),
        ("allocate", "FAIL: the arena must be larger"),
        ("input", "FAIL: the input has another size"),
        ("output", "FAIL: the output has another size"),
        ("invoke", "FAIL: the scores are others"),
        ("scores", "FAIL: the scores are others"),
    ],
)
def test_the_program_checks_every_step(step, what, program):
    done = subprocess.run([program], env={"FAILS": step}, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == what
    assert done.returncode == (what != "PASS")
    assert ("FAIL: the network does not run" in done.stdout) == (step == "invoke")


def test_the_program_names_the_class_that_the_network_finds(program, int8):
    printed = subprocess.run([program], env={}, capture_output=True, text=True).stdout
    found = re.findall(r"golden input \d: class (.*), up to 0 levels off", printed)
    best = int8.predict(digits()[0][:3]).argmax(axis=1)
    assert found == [" ".join(LABELS[label].split()) for label in best]


def test_the_snippet_of_the_page_compiles(folder, stand_in, tmp_path):
    page = (ROOT / "docs" / "deploy" / "microcontroller.md").read_text()
    (snippet,) = re.findall(r"```c\+\+\n(.*?)```", page, re.DOTALL)
    snippet = snippet.replace("digits_int8", "door_int8").replace("DigitsInt8", "DoorInt8")
    (tmp_path / "snippet.cc").write_text(snippet)
    include = ["-I", stand_in, "-I", folder]
    compiled("g++", "-std=c++17", *STRICT, *include, "-fsyntax-only", tmp_path / "snippet.cc")


def test_the_folder_builds_and_passes_in_tensorflow_lite_micro(folder, tmp_path):
    if "TFLM_DIR" not in os.environ:
        pytest.skip("TFLM_DIR does not name a checkout of TensorFlow Lite Micro with its library")
    if shutil.which("cmake") is None:
        pytest.skip("no cmake to build the folder with")
    tflm = f"-DTFLM_DIR={os.environ['TFLM_DIR']}"
    command = ["cmake", "-S", folder, "-B", tmp_path, tflm, "-DCMAKE_CXX_FLAGS=-Werror"]
    subprocess.run(command, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", tmp_path], check=True, capture_output=True)
    done = subprocess.run([tmp_path / "door_int8"], capture_output=True, text=True)
    printed = done.stdout + done.stderr
    assert (done.returncode, printed.splitlines()[-1]) == (0, "PASS"), printed
    assert printed.count("up to 0 levels off") >= 3
