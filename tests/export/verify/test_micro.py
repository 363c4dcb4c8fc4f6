"""TensorFlow Lite Micro against LiteRT, and the arena that a file needs."""

import subprocess
import sys

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.convert.converter import quantize_to_int8
from export.errors import ExportFailed
from export.quantize.ranges import Calibrator
from export.verify import micro
from export.verify.micro import MicroResult, measure_arena, to_reserve, verify_on_micro
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter

pytest.importorskip(
    "tflite_micro.python.tflite_micro.runtime", reason="the package tflite_micro is not installed"
)

IMAGES = np.random.default_rng(1).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def files(converter_of):
    """A small net as .tflite files, by format.

    Its convolution has more than 1,024 weights, from where on the converter makes them dynamic.
    """
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(8, 7, strides=2, padding="same", name="stem_conv")(pixels)
    x = keras.layers.BatchNormalization(name="stem_norm")(x)
    x = keras.layers.ReLU(name="stem_relu")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, keras.layers.Dense(10, name="head")(x))
    converter = converter_of(network)
    float32 = converter.float32()
    ranges = Calibrator(float32, IMAGES[:8]).full
    return {
        "float32": float32,
        "float16": converter.float16(),
        "dynamic": converter.dynamic(),
        "int8": quantize_to_int8(float32, ranges),
        "uint8": quantize_to_int8(float32, ranges, "uint8"),
    }


def allocates(file: TFLiteFile, arena_bytes: int) -> bool:
    """In a process of its own, for an arena that is too small can end it."""
    program = (
        "import sys\n"
        "from tflite_micro.python.tflite_micro.runtime import Interpreter\n"
        "Interpreter.from_bytes(sys.stdin.buffer.read(), arena_size=int(sys.argv[1]))\n"
    )
    command = [sys.executable, "-c", program, str(arena_bytes)]
    return subprocess.run(command, input=file.content, capture_output=True).returncode == 0


def changed(file: TFLiteFile, change) -> TFLiteFile:
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(file.content), 0))
    change(model)
    builder = flatbuffers.Builder(file.size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return TFLiteFile(bytes(builder.Output()))


def flip_weight_byte(model) -> None:
    subgraph = model.subgraphs[0]
    weights = subgraph.tensors[subgraph.operators[0].inputs[1]]
    model.buffers[weights.buffer].data[7] ^= 0x40


@pytest.mark.parametrize("name", ["int8", "float32"])
def test_every_image_gives_the_bits_that_litert_gives(files, name):
    assert verify_on_micro(files[name], IMAGES).images == len(IMAGES)


@pytest.mark.parametrize("name", ["int8", "uint8"])
def test_the_arena_is_the_least_and_an_eighth(files, name):
    result = verify_on_micro(files[name], IMAGES[:2])
    assert result.arena_bytes % 16 == 0
    assert measure_arena(files[name]) == result.arena_bytes
    assert allocates(files[name], result.arena_bytes)
    # An eighth is added to the least; those before it that give the same sum are too small.
    least = max(size for size in range(0, result.arena_bytes, 16) if size * 9 / 8 <= result.arena_bytes)
    assert allocates(files[name], least)
    assert not allocates(files[name], least - 32)


@pytest.mark.parametrize(("least", "reserved"), [(1600, 1808), (1280, 1440), (17976, 20224), (17984, 20240)])
def test_an_eighth_is_reserved_beside_the_least_and_rounded_up(least, reserved):
    assert to_reserve(least) == reserved


def test_activations_need_at_least_input_and_first_output_at_once(files):
    result = verify_on_micro(files["int8"], IMAGES[:1])
    both = 8 * 8 * 3 + 4 * 4 * 8
    # The planner keeps 16-byte alignment and at most a small scratch buffer beside them.
    assert both <= result.activation_bytes <= both + 256
    assert result.activation_bytes < result.arena_bytes


@pytest.mark.parametrize("name", ["int8", "float32"])
def test_a_flipped_weight_byte_is_reported(files, monkeypatch, name):
    other = changed(files[name], flip_weight_byte)
    monkeypatch.setattr(
        micro, "Interpreter", lambda content, **options: Interpreter(other.content, **options)
    )
    with pytest.raises(ExportFailed, match="bit for bit"):
        verify_on_micro(files[name], IMAGES)


def test_a_difference_is_counted_in_images_and_levels(files, monkeypatch):
    class OtherScores(Interpreter):
        def run(self, encoded):
            scores = super().run(encoded)
            if encoded[0, 0, 0, 0] > 0:
                # Its two low bits flipped: 3 levels off where they were alike, else 1.
                scores[0, 0] ^= np.int8(3)
            return scores

    # The input's zero point is -128, so level 0 is pixel 128.
    differing = int(np.sum(IMAGES[:, 0, 0, 0] > 128))
    assert 1 < differing < len(IMAGES)
    monkeypatch.setattr(micro, "Interpreter", OtherScores)
    expected = f"scores of {differing} of 40 images differ, by up to 3 levels"
    with pytest.raises(ExportFailed, match=expected):
        verify_on_micro(files["int8"], IMAGES)


def test_litert_computes_with_reference_kernels(files, monkeypatch):
    kernels = []

    def watched(content, reference=False):
        kernels.append(reference)
        return Interpreter(content, reference=reference)

    monkeypatch.setattr(micro, "Interpreter", watched)
    verify_on_micro(files["int8"], IMAGES[:1])
    assert kernels == [True]


@pytest.mark.parametrize(
    ("name", "reason"), [("dynamic", "Hybrid models are not supported"), ("float16", "DEQUANTIZE")]
)
def test_a_file_without_kernels_gives_the_reason_and_prints_nothing(files, capfd, name, reason):
    answer = verify_on_micro(files[name], IMAGES[:1])
    assert isinstance(answer, str)
    assert reason in answer
    assert "\n" not in answer
    assert capfd.readouterr() == ("", "")


def test_a_file_that_runs_prints_nothing(files, capfd):
    assert isinstance(verify_on_micro(files["int8"], IMAGES[:1]), MicroResult)
    assert capfd.readouterr() == ("", "")


def test_without_the_package_there_is_a_reason(files, tmp_path, monkeypatch):
    (tmp_path / "tflite_micro.py").write_text("raise ImportError('no such wheel')")
    monkeypatch.syspath_prepend(tmp_path)
    assert "no such wheel" in verify_on_micro(files["int8"], IMAGES[:1])


def test_a_file_that_ends_the_process_is_a_failed_check(files):
    def point_nowhere(model):
        operator = model.subgraphs[0].operators[0]
        operator.inputs = np.full_like(operator.inputs, 2**30)

    with pytest.raises(ExportFailed, match="must survive the file"):
        verify_on_micro(changed(files["int8"], point_nowhere), IMAGES[:1])
