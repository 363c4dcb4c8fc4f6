"""The C++ source: compiled, linked and run, with a stand-in for the op resolver."""

import re
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest

from export.bundle.c_source import write_c_source
from export.errors import ExportFailed
from pipeline.config.reading import Reading
from pipeline.tflite.graph import Graph, Operation, Tensor

CONTENT = bytes(range(256)) * 3 + b"not a whole line"

# Written by hand from tensorflow/lite/micro/micro_mutable_op_resolver.h; the second row holds
# those whose spelling follows no rule.
METHODS = {
    "CONV_2D": "AddConv2D",
    "DEPTHWISE_CONV_2D": "AddDepthwiseConv2D",
    "ADD": "AddAdd",
    "FULLY_CONNECTED": "AddFullyConnected",
    "MAX_POOL_2D": "AddMaxPool2D",
    "MEAN": "AddMean",
    "AVERAGE_POOL_2D": "AddAveragePool2D",
    "SOFTMAX": "AddSoftmax",
    "PAD": "AddPad",
    "RESHAPE": "AddReshape",
    "QUANTIZE": "AddQuantize",
    "DEQUANTIZE": "AddDequantize",
    "SUB": "AddSub",
    "MUL": "AddMul",
    "RELU": "AddRelu",
    "HARD_SWISH": "AddHardSwish",
    "LOGISTIC": "AddLogistic",
    "CONCATENATION": "AddConcatenation",
    "SUM": "AddSum",
    "PADV2": "AddPadV2",
    "CUMSUM": "AddCumSum",
    "BATCH_MATMUL": "AddBatchMatMul",
    "RELU6": "AddRelu6",
    "SPLIT_V": "AddSplitV",
    "L2_NORMALIZATION": "AddL2Normalization",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "AddUnidirectionalSequenceLSTM",
}

MAIN = """
#include <cstdint>
#include <cstdio>
#include "model_int8.h"
int main() {
  tflite::MicroMutableOpResolver<kModelInt8Operations> resolver;
  if (RegisterModelInt8Operations(resolver) != kTfLiteOk) return 1;
  std::fprintf(stderr, "misaligned=%d\\n",
               static_cast<int>(reinterpret_cast<std::uintptr_t>(model_int8) % 16));
  std::fprintf(stderr, "arena=%d shape=%d,%d,%d,%d scale=%a zero=%d\\n", kModelInt8ArenaBytes,
               kModelInt8InputShape[0], kModelInt8InputShape[1], kModelInt8InputShape[2],
               kModelInt8InputShape[3], kModelInt8InputScale, kModelInt8InputZeroPoint);
  std::fprintf(stderr, "classes=%d scale=%a zero=%d\\n", kModelInt8OutputShape[1],
               kModelInt8OutputScale, kModelInt8OutputZeroPoint);
  return std::fwrite(model_int8, 1, kModelInt8Bytes, stdout) != kModelInt8Bytes;
}
"""


def tensor(shape, scale, zero_point):
    return Tensor(0, "", shape, "int8", np.array([scale]), np.array([zero_point]), False)


def file_of(*names: str, custom=False):
    """CONTENT, as if it held these operations."""
    pixels, scores = tensor((1, 8, 6, 3), 1.0, -128), tensor((1, 10), np.float32(1 / 300), 7)
    operations = [Operation(name, custom, "head", (pixels,), scores, 0) for name in names]
    return SimpleNamespace(content=CONTENT, size=len(CONTENT), graph=Graph(tuple(operations), pixels, scores))


def put_stand_in(folder):
    """Let it stand in for TensorFlow Lite Micro: it says what is registered, and how many may be."""
    stand_in = folder / "tensorflow/lite/micro/micro_mutable_op_resolver.h"
    stand_in.parent.mkdir(parents=True)
    methods = "".join(
        f'  TfLiteStatus {method}() {{ std::fprintf(stderr, "{method} of %u\\n", N); return kTfLiteOk; }}\n'
        for method in METHODS.values()
    )
    stand_in.write_text(
        "#pragma once\n#include <cstdio>\nenum TfLiteStatus { kTfLiteOk, kTfLiteError };\n"
        "#define TF_LITE_ENSURE_STATUS(a) do { if ((a) != kTfLiteOk) return kTfLiteError; } "
        "while (0)\nnamespace tflite {\ntemplate <unsigned int N>\n"
        f"struct MicroMutableOpResolver {{\n{methods}}};\n}}\n"
    )


def run(folder):
    """Compile and run MAIN; what the array holds, and the lines about everything else."""
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the source with")
    put_stand_in(folder)
    (folder / "main.cc").write_text(MAIN)
    sources = [folder / "main.cc", folder / "model_int8.cc"]
    flags = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic", "-I", folder]
    subprocess.run([compiler, *flags, *sources, "-o", folder / "main"], check=True)
    finished = subprocess.run([folder / "main"], check=True, capture_output=True)
    return finished.stdout, finished.stderr.decode().splitlines()


def test_the_compiled_source_holds_the_file_its_constants_and_its_operations(tmp_path):
    names = ["CONV_2D", "PAD", "CONV_2D", "ADD", "CONV_2D", "ADD", "MEAN", "FULLY_CONNECTED"]
    write_c_source(file_of(*names), 1808, tmp_path, "model_int8")
    content, lines = run(tmp_path)
    assert content == CONTENT
    *registered, alignment, pixels, scores = lines
    # Each once, and the resolver has room for just as many.
    assert registered == [
        f"{METHODS[name]} of 5" for name in ("CONV_2D", "PAD", "ADD", "MEAN", "FULLY_CONNECTED")
    ]
    assert alignment == "misaligned=0"
    assert pixels == "arena=1808 shape=1,8,6,3 scale=0x1p+0 zero=-128"
    # Printed in hexadecimal, so that the last bit of the float32 counts.
    printed = re.fullmatch(r"classes=10 scale=(\S+) zero=7", scores)
    assert float.fromhex(printed[1]) == np.float32(1 / 300)


@pytest.mark.parametrize("name", METHODS)
def test_each_operation_is_registered_by_its_own_method(tmp_path, name):
    write_c_source(file_of(name), None, tmp_path, "model_int8")
    header = (tmp_path / "model_int8.h").read_text()
    assert re.findall(r"resolver\.(\w+)\(\)", header) == [METHODS[name]]


def test_the_array_is_aligned_by_declaration_and_not_by_luck(tmp_path):
    write_c_source(file_of("ADD"), None, tmp_path, "model_int8")
    assert "alignas(16) const unsigned char model_int8[" in (tmp_path / "model_int8.cc").read_text()


def test_the_header_says_that_an_arena_is_a_multiple_of_16(tmp_path):
    write_c_source(file_of("ADD"), 1808, tmp_path, "model_int8")
    words = " ".join((tmp_path / "model_int8.h").read_text().replace("//", "").split())
    assert "rounded up to a multiple of 16." in words
    assert "keep to multiples of 16, a Cortex-M refuses others" in words


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (Reading(), "Training saw each image resized as a whole, bilinear and antialiased"),
        (
            Reading(resize="crop"),
            "Training saw the square in the middle, 0.875 of the shorter side, bilinear",
        ),
        (Reading(resize="pad"), "Training saw each image as a whole in a border of level 128, bilinear"),
    ],
)
def test_the_header_says_what_is_made_of_an_image(reading, words, tmp_path):
    write_c_source(file_of("ADD"), None, tmp_path, "model_int8", reading)
    header = (tmp_path / "model_int8.h").read_text()
    assert words in " ".join(header.replace("//", "").split())
    assert max(map(len, header.splitlines())) <= 110


def test_an_arena_that_was_not_measured_is_no_constant(tmp_path):
    write_c_source(file_of("ADD"), None, tmp_path, "model_int8")
    header = (tmp_path / "model_int8.h").read_text()
    assert "constexpr int kModelInt8ArenaBytes" not in header
    assert "not measured" in header


@pytest.mark.parametrize("names", [("door", "window"), ("net1", "net_1")])
def test_two_networks_fit_in_one_program(names, tmp_path):
    compiler = shutil.which("g++")
    if compiler is None:
        pytest.skip("no g++ to compile the source with")
    put_stand_in(tmp_path)
    for name in names:
        write_c_source(file_of("ADD"), 1600, tmp_path, f"{name}_int8")
    one, other = (f"{name}_int8" for name in names)
    (tmp_path / "main.cc").write_text(
        f'#include "{one}.h"\n#include "{other}.h"\nint main() {{ return {one} == {other}; }}\n'
    )
    sources = [tmp_path / name for name in ("main.cc", f"{one}.cc", f"{other}.cc")]
    subprocess.run([compiler, "-std=c++17", "-I", tmp_path, *sources, "-o", tmp_path / "main"], check=True)
    subprocess.run([tmp_path / "main"], check=True)


def test_another_name_names_files_array_and_constants(tmp_path):
    write_c_source(file_of("ADD"), 1600, tmp_path, "model_int16")
    assert {path.name for path in tmp_path.iterdir()} == {"model_int16.h", "model_int16.cc"}
    for path in tmp_path.iterdir():
        assert not re.search("model_?int8", path.read_text().lower())


@pytest.mark.parametrize(("name", "custom"), [("TOPK_V2", False), ("CONV_2D", True)])
def test_an_operation_that_micro_lacks_is_refused_and_nothing_written(tmp_path, name, custom):
    with pytest.raises(ExportFailed, match=f"every operation.*'head' needs {name}"):
        write_c_source(file_of(name, custom=custom), 1600, tmp_path, "model_int8")
    assert not list(tmp_path.iterdir())
