"""Each conversion against arithmetic on the Keras network's own weights."""

from collections.abc import Callable

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from export.convert.converter import Converter, Range, quantize_beside_float, quantize_to_int8
from export.errors import ExportFailed
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Operation
from pipeline.tflite.interpreter import Interpreter

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 6, 9, 3), dtype=np.uint8)
CONVOLUTIONS = {"stem_conv": "stem_norm", "depthwise": "depthwise_norm", "conv2": "norm2"}
EPSILON = 1e-3
OPERATIONS = 8  # of normalisation and head two each, of the other layers one


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Three kinds of convolution, each with batch statistics of its own, and a head."""
    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((6, 9, 3), name="pixels")
    x = layers.Normalization(mean=[128.0] * 3, variance=[4096.0] * 3, name="normalization")(x)
    convolutions = (
        layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv"),
        layers.DepthwiseConv2D(3, padding="same", use_bias=False, name="depthwise"),
        # The dynamic format keeps kernels of fewer than 1,024 weights in float.
        layers.Conv2D(16, 3, 2, padding="same", use_bias=False, name="conv2"),
    )
    for convolution, norm in zip(convolutions, CONVOLUTIONS.values(), strict=True):
        x = layers.BatchNormalization(epsilon=EPSILON, name=norm)(convolution(x))
        x = layers.ReLU(name=f"{norm}_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(5, name="head")(x), name="net")
    random = np.random.default_rng(1)
    for norm in map(network.get_layer, CONVOLUTIONS.values()):
        shape = norm.gamma.shape
        gamma, variance = random.uniform(0.5, 2.0, shape), random.uniform(0.3, 3.0, shape)
        norm.set_weights([gamma, random.normal(size=shape), random.normal(size=shape), variance])
    return network


@pytest.fixture(scope="module")
def converter(network, converter_of) -> Converter:
    return converter_of(network)


@pytest.fixture(scope="module")
def float32(converter) -> TFLiteFile:
    return converter.float32()


@pytest.fixture(scope="module")
def ranges(float32) -> dict[str, Range]:
    """The least and the greatest value of each activation over the images."""
    graph, model = float32.graph, Interpreter(float32.content, keep_tensors=True)
    observed = {operation.output.name: [] for operation in graph.operations}
    for image in IMAGES:
        model.run(model.encode(image[None]))
        for operation in graph.operations:
            observed[operation.output.name].append(model.tensor(operation.output.index).copy())
    found = {name: Range(float(np.min(v)), float(np.max(v))) for name, v in observed.items()}
    return {**found, graph.input.name: Range(0.0, 255.0)}


@pytest.fixture(scope="module")
def int8(float32, ranges) -> TFLiteFile:
    return quantize_to_int8(float32, ranges)


def folded(network: keras.Model) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernel, channels out last, and bias of each layer with its batch norm multiplied in."""
    found = {"head": tuple(network.get_layer("head").get_weights())}
    for name, norm in CONVOLUTIONS.items():
        gamma, beta, mean, variance = network.get_layer(norm).get_weights()
        factor = gamma / np.sqrt(variance + EPSILON)
        kernel = network.get_layer(name).kernel.numpy().reshape(3, 3, -1, factor.size)
        found[name] = kernel * factor, beta - mean * factor
    return found


def int8_scale(kernel: np.ndarray) -> np.ndarray:
    """One a channel: its greatest weight takes level 127 (TFLite's quantisation specification)."""
    return np.abs(kernel).reshape(-1, kernel.shape[-1]).max(axis=0) / 127


def rounded_to_int8(kernel: np.ndarray) -> np.ndarray:
    return np.rint(kernel / int8_scale(kernel)) * int8_scale(kernel)


def scores_with_kernels(network: keras.Model, change: Callable) -> np.ndarray:
    """Keras' scores where each folded kernel is replaced by `change(kernel)`."""
    changed = keras.models.clone_model(network)
    for name, (kernel, bias) in folded(network).items():
        layer, kernel = changed.get_layer(name), change(kernel)
        if name == "head":
            layer.set_weights([kernel, bias])
            continue
        layer.set_weights([kernel.reshape(layer.kernel.shape)])
        one = np.ones_like(bias)
        norm = changed.get_layer(CONVOLUTIONS[name])
        norm.set_weights([one, bias, 0 * one, (1 - EPSILON) * one])
    return changed.predict(IMAGES, verbose=0)


def weighted(content: TFLiteFile) -> dict[str, Operation]:
    """Name of each layer with a kernel -> its operation; they stand in the layers' order."""
    operations = (o for o in content.graph.operations if o.multiply_adds)
    return dict(zip([*CONVOLUTIONS, "head"], operations, strict=True))


def test_float16_rounds_the_weights_to_half_precision(network, converter):
    content = converter.float16()
    weights = [o.inputs[0] for o in content.graph.operations if o.name == "DEQUANTIZE"]
    assert {tensor.dtype for tensor in weights} == {"float16"}
    expected = scores_with_kernels(network, lambda k: k.astype(np.float16))
    # The biases too are rounded, to 11 bits: three layers' biases of up to 3, at 2**-11 each.
    np.testing.assert_allclose(content.predict(IMAGES), expected, atol=9 * 2**-11)


def test_dynamic_rounds_large_kernels_to_int8(network, converter):
    content = converter.dynamic()
    graph, operations = content.graph, weighted(content)
    dtypes = {name: operation.inputs[1].dtype for name, operation in operations.items()}
    assert dtypes == {name: "int8" if name == "conv2" else "float32" for name in dtypes}
    assert (graph.input.dtype, graph.output.dtype) == ("float32", "float32")
    expected = scores_with_kernels(network, lambda k: rounded_to_int8(k) if k.size > 1024 else k)
    # One activation is rounded to 1/255 of its range, which the layers after it may amplify.
    close = 4 * np.ptp(expected) / 255
    np.testing.assert_allclose(content.predict(IMAGES), expected, atol=close)


def test_int16_rounds_the_weights_and_hardly_the_activations(network, converter):
    content = converter.int16(IMAGES)
    graph = content.graph
    assert (graph.input.dtype, graph.output.dtype) == ("int16", "int16")
    assert all(o.inputs[1].dtype == "int8" for o in weighted(content).values())
    expected = scores_with_kernels(network, rounded_to_int8)
    # Seven activations are rounded to 1/32767 of their range, which the layers may amplify.
    close = 4 * 7 * np.ptp(expected) / 32767
    np.testing.assert_allclose(content.predict(IMAGES), expected, atol=close)


def test_int8_rounds_weights_and_activations(network, int8):
    expected = scores_with_kernels(network, rounded_to_int8)
    # Seven activations are rounded to 1/255 of their range.
    close = 7 * np.ptp(expected) / 255
    np.testing.assert_allclose(int8.predict(IMAGES), expected, atol=close)


def test_uint8_differs_from_int8_by_128_exactly(float32, ranges, int8):
    uint8 = quantize_to_int8(float32, ranges, "uint8")
    signed, unsigned = Interpreter(int8.content), Interpreter(uint8.content)
    assert unsigned.input["quantization"] == (1.0, 0)
    for image in IMAGES:
        scores = unsigned.run(image[None])
        assert scores.dtype == np.uint8
        expected = signed.run(signed.encode(image[None])).astype(int) + 128
        np.testing.assert_array_equal(scores, expected)


def test_int8_weights_have_the_scale_of_each_channels_greatest(network, int8):
    kernels = folded(network)
    for name, operation in weighted(int8).items():
        activation, weights, *bias = operation.inputs
        # Folding in another order changes the last of float32's 24 bits, a few times over.
        scale = int8_scale(kernels[name][0])
        np.testing.assert_allclose(weights.scales, scale, rtol=1e-6)
        assert not weights.zero_points.any()
        for tensor in bias:
            np.testing.assert_allclose(tensor.scales, activation.scales * scale, rtol=1e-6)


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    # The specification: real = (level - zero_point) * scale, low at -128, high at 127, and a
    # level for 0 exactly, for which a range without it is widened.
    [
        (-1.0, 3.0, -64),  # -128 + 255 / 4 = -64.25
        (-5.0, 2.0, 54),  # -128 + 255 * 5 / 7 = 54.14
        (0.0, 6.0, -128),
        (0.5, 2.0, -128),
        (-2.0, -0.5, 127),
    ],
)
def test_activations_have_the_scale_of_their_range(float32, ranges, low, high, zero_point):
    name = float32.graph.operations[1].output.name
    content = quantize_to_int8(float32, {**ranges, name: Range(low, high)})
    tensor = content.graph.operations[1].output
    # Float32 keeps 24 bits of the quotient.
    expected = (max(high, 0) - min(low, 0)) / 255
    np.testing.assert_allclose(tensor.scales, [expected], rtol=2**-23)
    np.testing.assert_array_equal(tensor.zero_points, [zero_point])


def test_the_input_has_scale_1_and_zero_point_minus_128(int8):
    pixels = int8.graph.input
    assert (pixels.scales.tolist(), pixels.zero_points.tolist()) == ([1.0], [-128])


@pytest.mark.parametrize("place", range(OPERATIONS))
def test_keep_float_leaves_that_operation_alone_in_float(float32, ranges, place):
    kept = float32.graph.operations[place]
    mixed = quantize_to_int8(float32, ranges, keep_float=[kept.output.name]).graph
    computing = [o for o in mixed.operations if o.name not in ("QUANTIZE", "DEQUANTIZE")]
    in_float = [o.output.dtype == "float32" for o in computing]
    assert in_float == [other == place for other in range(OPERATIONS)]
    assert computing[place].name == kept.name
    assert computing[place].inputs[0].dtype == "float32"


def test_quantize_beside_float_pairs_twins_on_the_same_input(float32, ranges):
    originals = float32.graph.operations
    operations = quantize_beside_float(float32, ranges).graph.operations
    writer = {operation.output.index: operation for operation in operations}
    pairs = [o.inputs for o in operations if o.custom]
    assert len(pairs) == len(originals)
    for original, (levels, values) in zip(originals, pairs, strict=True):
        quantised, twin = writer[levels.index], writer[values.index]
        assert quantised.name == twin.name == original.name
        assert (levels.dtype, values.dtype) == ("int8", "float32")
        widened = writer[twin.inputs[0].index]
        assert (widened.name, widened.inputs[0]) == ("DEQUANTIZE", quantised.inputs[0])
        if original is not originals[-1]:  # the graph's output keeps its name on the int8 side
            assert (values.name, levels.name) == (original.output.name, original.output.name + "1")


@pytest.mark.parametrize(
    ("function", "operation"),
    # TensorFlow's own kernels could compute the second in a TFLite file, but not the first.
    [(lambda x: tf.math.igamma(tf.ones_like(x), x), "tf.Igamma"), (tf.math.sinh, "tf.Sinh")],
    ids=["igamma", "sinh"],
)
def test_an_operation_without_a_built_in_form_is_refused(converter_of, function, operation):
    pixels = keras.Input((6, 9, 3), name="pixels")
    x = layers.GlobalAveragePooling2D(name="pool")(pixels)
    network = keras.Model(pixels, layers.Lambda(function, name="gamma_2")(x), name="net")
    with pytest.raises(ExportFailed, match=f"layer 'gamma_2' needs {operation}$"):
        converter_of(network).float32()
