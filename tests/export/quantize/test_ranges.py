"""Activation ranges against Keras' own activations, and what quantisation makes of them."""

from functools import partial

import keras
import numpy as np
import pytest

from export.convert.converter import Range, quantize_to_int8
from export.convert.network import build_inference_network
from export.quantize.ranges import BINS, Calibrator, clip_by_percentile, clip_by_squared_error
from pipeline.tflite.interpreter import Interpreter

KERAS_LAYERS = {
    "CONV_2D conv1": "norm1",
    "CONV_2D conv2": "relu2",
    "ADD add": "add",
    "MEAN pool": "pool",
    "CONV_2D head": "head",
    "RESHAPE head": "head",
}
"""Operation and layer of the .tflite file -> the Keras layer that has the same output."""


@pytest.fixture(scope="module")
def network():
    """A residual net of signed activations whose block is dead: its ReLU gives only zeros."""
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    norms = {
        "norm1": [rng.uniform(0.5, 1.5, 8), rng.normal(0, 0.2, 8), np.zeros(8), np.full(8, 9e3)],
        "norm2": [np.zeros(8), np.full(8, -1.0), np.zeros(8), np.ones(8)],
    }
    conv = partial(keras.layers.Conv2D, 8, 3, padding="same", use_bias=False)
    pixels = keras.Input((8, 8, 3), name="pixels")
    shortcut = keras.layers.BatchNormalization(name="norm1")(conv(name="conv1")(pixels))
    x = keras.layers.BatchNormalization(name="norm2")(conv(name="conv2")(shortcut))
    x = keras.layers.Add(name="add")([shortcut, keras.layers.ReLU(name="relu2")(x)])
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, keras.layers.Dense(4, name="head")(x), name="small")
    for name, weights in norms.items():
        network.get_layer(name).set_weights(weights)
    kernel, bias = network.get_layer("head").get_weights()
    # Scores of different size, some below zero and some above.
    network.get_layer("head").set_weights([kernel, bias + np.array([-3, -0.5, 1, 5])])
    return network


@pytest.fixture(scope="module")
def images():
    """Images that differ in brightness and contrast, so that extremes are rare."""
    rng = np.random.default_rng(1)
    contrast = rng.uniform(0, 1, (24, 1, 1, 3))
    return (contrast * rng.integers(0, 256, (24, 8, 8, 3))).astype(np.uint8)


@pytest.fixture(scope="module")
def float32(network, converter_of):
    return converter_of(network).float32()


@pytest.fixture(scope="module")
def calibrator(float32, images):
    return Calibrator(float32, images)


@pytest.fixture(scope="module")
def activations(network, float32, images):
    """Name of each tensor that an operation writes -> all its values, as Keras computes them."""
    operations = float32.graph.operations
    layers = [KERAS_LAYERS[f"{operation.name} {operation.layer}"] for operation in operations]
    outputs = [network.get_layer(layer).output for layer in layers]
    values = keras.Model(network.input, outputs).predict(images.astype(np.float32), verbose=0)
    return {operation.output.name: v for operation, v in zip(operations, values, strict=True)}


def test_full_ranges_are_the_extremes_of_keras_activations(calibrator, activations):
    assert len(activations) == len(KERAS_LAYERS)
    for name, values in activations.items():
        # Folding the norm into the convolution rounds float32 differently, sums of 27 to 72 terms.
        tolerance = 1e-5 * float(np.abs(values).max())
        assert calibrator.full[name].low == pytest.approx(values.min(), abs=tolerance)
        assert calibrator.full[name].high == pytest.approx(values.max(), abs=tolerance)


def test_range_of_the_input_is_that_of_pixels_whatever_the_images_hold(calibrator, float32, images):
    pixels = float32.graph.input.name
    dark = Calibrator(float32, images // 4)

    for calibrated in (calibrator, dark):
        assert calibrated.full[pixels] == Range(0.0, 255.0)
        for clip in (clip_by_percentile, clip_by_squared_error):
            assert calibrated.clipped(clip)[pixels] == Range(0.0, 255.0)


def test_histograms_are_those_of_keras_activations(calibrator, activations):
    seen = []

    def keep(counts, full):
        seen.append((counts, full))
        return full

    calibrator.clipped(keep)

    assert len(seen) >= 3  # conv1, add and pool.
    for counts, full in seen:
        values = next(v for name, v in activations.items() if calibrator.full[name] == full)
        expected = np.histogram(values, BINS, (full.low, full.high))[0]
        assert counts.sum() == values.size
        # Float32 rounds a value near an edge to either side of it.
        assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 2


def test_clipping_replaces_the_ranges_of_hidden_layers_that_are_alive(calibrator, activations):
    clipped = calibrator.clipped(lambda counts, full: Range(-1.0, full.high / 2))

    assert clipped.keys() == calibrator.full.keys()
    conv1, dead, add, pool = list(activations)[:4]
    assert clipped[dead] == Range(0.0, 0.0)
    for name in (conv1, add, pool):
        assert clipped[name] == Range(-1.0, calibrator.full[name].high / 2)


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_scores_are_never_clipped_whatever_follows_them(network, images, converter_of, output):
    exported = build_inference_network(network, output)
    content = converter_of(exported).float32()
    graph = content.graph
    scores = [o.output.name for o in graph.operations if o.layer in ("head", output)]
    calibrator = Calibrator(content, images)

    clipped = calibrator.clipped(lambda counts, full: Range(full.low / 2, full.high / 2))

    assert graph.output.name in scores
    assert {name: clipped[name] for name in scores} == {name: calibrator.full[name] for name in scores}


def test_a_dead_activation_survives_quantisation(calibrator, float32, network, images):
    ranges = calibrator.clipped(clip_by_percentile)
    assert Range(0.0, 0.0) in ranges.values()

    model = Interpreter(quantize_to_int8(float32, ranges).content)

    expected = network.predict(images.astype(np.float32), verbose=0)
    # Two levels of 255: one for rounding the scores, one for what conv1, add and pool lose.
    scale, _ = model.output["quantization"]
    np.testing.assert_allclose(model.predict(images), expected, atol=2 * scale)


def test_int8_levels_of_a_positive_activation_reach_down_to_zero(float32, calibrator):
    (name,) = (o.output.name for o in float32.graph.operations if o.name == "MEAN")
    content = quantize_to_int8(float32, {**calibrator.full, name: Range(5.0, 10.0)})

    (pool,) = (o.output for o in content.graph.operations if o.output.name == name)

    # (10 - 0) / 255 and not (10 - 5) / 255; float32.
    assert pool.scales[0] == pytest.approx(10 / 255, rel=1e-6)
    assert pool.zero_points[0] == -128
