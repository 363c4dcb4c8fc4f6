"""LiteRT's answers against Keras, and its integers against exact fractions."""

import subprocess
import sys
from fractions import Fraction

import keras
import numpy as np
import pytest

from export.convert.converter import Range, quantize_to_int8
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter, dequantize, quantize
from tests.commands import ROOT

IMAGES = np.random.default_rng(0).integers(0, 256, (12, 6, 9, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def float32(trained, converter_of) -> TFLiteFile:
    return converter_of(trained).float32()


@pytest.fixture(scope="module")
def ranges(float32) -> dict[str, Range]:
    graph = float32.graph
    centred, *others = (operation.output.name for operation in graph.operations)
    ends = {graph.input.name: Range(0.0, 255.0), centred: Range(-120.0, 135.0)}
    return {**dict.fromkeys(others, Range(-4.0, 4.0)), **ends}


STEPS = [(1.0, -128, np.int8), (0.0625, 3, np.int8), (0.3, 0, np.uint8), (0.0047, 0, np.int16)]


@pytest.mark.parametrize(("scale", "zero_point", "dtype"), STEPS)
def test_quantize_rounds_to_the_nearest_level(scale, zero_point, dtype):
    values = np.random.default_rng(1).uniform(-300, 300, 500).astype(np.float32)
    levels = quantize(values, scale, zero_point, dtype)
    assert levels.dtype == dtype
    limits = np.iinfo(dtype)
    for value, level in zip(values, levels, strict=True):
        exact = Fraction(float(value)) / Fraction(float(np.float32(scale))) + zero_point
        exact = min(max(exact, limits.min), limits.max)
        # Float32 keeps 24 bits of the quotient, so only so near a tie the other level may win.
        assert abs(int(level) - exact) <= Fraction(1, 2) + abs(exact - zero_point) / 2**23


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int16])
def test_quantize_clips_at_both_ends(dtype):
    limits = np.iinfo(dtype)
    ends = np.array([limits.min, limits.max], np.float64)
    beyond = np.array([-1e6, limits.min - 1, limits.max + 1, 1e6])
    np.testing.assert_array_equal(quantize(ends, 1.0, 0, dtype), ends)
    expected = [limits.min, limits.min, limits.max, limits.max]
    np.testing.assert_array_equal(quantize(beyond, 1.0, 0, dtype), expected)


@pytest.mark.parametrize(("scale", "zero_point", "dtype"), STEPS)
def test_dequantize_is_the_exact_fraction(scale, zero_point, dtype):
    limits = np.iinfo(dtype)
    levels = np.linspace(limits.min, limits.max, 256).astype(dtype)
    values = dequantize(levels, scale, zero_point)
    assert values.dtype == np.float32
    for level, value in zip(levels, values, strict=True):
        exact = (int(level) - zero_point) * Fraction(float(np.float32(scale)))
        # One rounding of a product to 24 bits.
        assert abs(Fraction(float(value)) - exact) <= abs(exact) / 2**24


def test_every_pixel_survives_the_input_of_scale_1():
    pixels = np.arange(256, dtype=np.uint8)
    levels = quantize(pixels, 1.0, -128, np.int8)
    np.testing.assert_array_equal(levels, np.arange(-128, 128))
    np.testing.assert_array_equal(dequantize(levels, 1.0, -128), pixels)


@pytest.mark.parametrize("options", [{}, {"reference": True}, {"keep_tensors": True}], ids=str)
def test_predict_gives_keras_scores(trained, float32, options):
    scores = Interpreter(float32.content, **options).predict(IMAGES)
    assert (scores.shape, scores.dtype) == ((12, 4), np.float32)
    # Sums of up to 54 products in another order; scores are of the order of 1.
    np.testing.assert_allclose(scores, trained.predict(IMAGES, verbose=0), atol=1e-4)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_predict_encodes_pixels_and_decodes_scores(trained, float32, ranges, kind):
    model = Interpreter(quantize_to_int8(float32, ranges, kind).content)
    assert model.input["dtype"] == model.output["dtype"] == np.dtype(kind)
    offset = 128 if kind == "int8" else 0
    np.testing.assert_array_equal(model.encode(IMAGES).astype(int) + offset, IMAGES)
    # Four activations and two kernels are each rounded to a level; one of -4 ... 4 is 0.031.
    expected = trained.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(model.predict(IMAGES), expected, atol=4 * 8 / 255)


def test_reference_kernels_differ_by_one_level_at_most(float32, ranges):
    int8 = quantize_to_int8(float32, ranges)
    optimised, reference = Interpreter(int8.content, threads=2), Interpreter(int8.content, reference=True)
    encoded = [optimised.encode(image[None]) for image in IMAGES]
    scores = np.stack([optimised.run(levels) for levels in encoded]).astype(int)
    assert len(np.unique(scores)) > 12  # the images are told apart
    others = np.stack([reference.run(levels) for levels in encoded]).astype(int)
    assert np.abs(scores - others).max() <= 1


def test_notices_of_native_code_reach_no_terminal(float32, tmp_path):
    # LiteRT gives its notice once a process.
    (tmp_path / "model.tflite").write_bytes(float32.content)
    code = (
        "import sys; from pipeline.tflite.interpreter import *; Interpreter(open(sys.argv[1], 'rb').read())"
    )
    command = [sys.executable, "-c", code, tmp_path / "model.tflite"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_kept_tensors_are_what_keras_layers_give(trained, float32):
    model = Interpreter(float32.content, keep_tensors=True)
    # A fused ReLU ends the convolution; normalisation and head are two operations each.
    between = ["normalization", "stem_relu", "pool", "head"]
    keras_model = keras.Model(trained.input, [trained.get_layer(name).output for name in between])
    for image in IMAGES[:2]:
        model.run(model.encode(image[None]))
        outputs = [operation.output.index for operation in float32.graph.operations]
        centred, normalised, convolved, pooled, scores, reshaped = map(model.tensor, outputs)
        np.testing.assert_array_equal(centred[0], image - np.float32(120))
        kept = [normalised, convolved, pooled.reshape(1, -1), scores.reshape(1, -1)]
        expected = keras_model.predict(image[None], verbose=0)
        for values, reference in zip([*kept, reshaped], [*expected, expected[-1]], strict=True):
            # Sums of up to 54 products in another order; values are of the order of 1.
            np.testing.assert_allclose(values, reference, atol=1e-4)
