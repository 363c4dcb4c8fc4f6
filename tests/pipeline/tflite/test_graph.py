"""What a .tflite file is read as, against the Keras network it came from."""

from collections import Counter
from functools import partial

import flatbuffers
import keras
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from keras import layers

from export.convert.converter import Range, quantize_to_int8
from export.errors import ExportFailed
from export.verify.operations import verify_built_in, verify_integer_only
from pipeline.models.cost import multiply_adds
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import layer_of


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """A plain, a depthwise and a strided convolution, as if trained: no statistic is 0 or 1."""
    random = partial(keras.initializers.RandomUniform, 0.5, 1.5)
    norm = partial(
        layers.BatchNormalization,
        gamma_initializer=random(seed=0),
        beta_initializer=random(seed=1),
        moving_mean_initializer=random(seed=2),
        moving_variance_initializer=random(seed=3),
    )
    convolution = partial(layers.Conv2D, padding="same", use_bias=False)
    x = pixels = keras.Input((6, 9, 3), name="pixels")
    x = layers.Normalization(mean=[120.0] * 3, variance=[4096.0] * 3, name="normalization")(x)
    x = norm(name="stem_norm")(convolution(4, 3, name="stem_conv")(x))
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.DepthwiseConv2D(
        3, padding="same", depth_multiplier=2, use_bias=False, name="block1_depthwise"
    )(x)
    x = layers.ReLU(name="block1_relu1")(norm(name="block1_norm1")(x))
    x = norm(name="block1_norm2")(convolution(5, 3, strides=2, name="block1_conv2")(x))
    x = layers.ReLU(name="block1_relu2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Dense(7, name="head")(x), name="net")


@pytest.fixture(scope="module")
def names(network) -> list[str]:
    return [layer.name for layer in network.layers]


@pytest.fixture(scope="module")
def float32(network, converter_of) -> TFLiteFile:
    return converter_of(network).float32()


@pytest.fixture(scope="module")
def ranges(float32) -> dict[str, Range]:
    graph = float32.graph
    activations = {operation.output.name: Range(-8.0, 8.0) for operation in graph.operations}
    return {**activations, graph.input.name: Range(0.0, 255.0)}


@pytest.fixture(scope="module")
def files(float32, ranges) -> dict[str, TFLiteFile]:
    int8, uint8 = (quantize_to_int8(float32, ranges, kind) for kind in ("int8", "uint8"))
    return {"float32": float32, "int8": int8, "uint8": uint8}


def with_operation_replaced(file: TFLiteFile, old: str, new: str) -> TFLiteFile:
    """Say that each built-in operation `old` is `new`, which is a custom one if no built-in."""
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(file.content), 0))
    codes = vars(schema.BuiltinOperator)
    (code,) = (code for code in model.operatorCodes if code.builtinCode == codes[old])
    code.builtinCode = codes.get(new, codes["CUSTOM"])
    code.deprecatedBuiltinCode = min(code.builtinCode, 127)  # as the schema asks of newer codes
    code.customCode = None if new in codes else new
    builder = flatbuffers.Builder(file.size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return TFLiteFile(bytes(builder.Output()), file.layers)


@pytest.mark.parametrize("kind", ["float32", "int8"])
def test_operations_stand_in_order_under_their_layers(files, names, kind):
    operations = files[kind].graph.operations
    # Batch norm and ReLU vanish into the convolution before them.
    assert [(operation.name, operation.layer) for operation in operations] == [
        ("SUB", "normalization"),
        ("MUL", "normalization"),
        ("CONV_2D", "stem_conv"),
        ("DEPTHWISE_CONV_2D", "block1_depthwise"),
        ("CONV_2D", "block1_conv2"),
        ("MEAN", "pool"),
        ("CONV_2D", "head"),
        ("RESHAPE", "head"),
    ]
    assert not any(operation.custom for operation in operations)


@pytest.mark.parametrize("kind", ["float32", "int8", "uint8"])
def test_multiply_adds_are_the_keras_networks(files, network, names, kind):
    counted = Counter()
    for operation in files[kind].graph.operations:
        counted[operation.layer] += operation.multiply_adds
    assert +counted == multiply_adds(network)
    assert counted.total() == sum(multiply_adds(network).values())


def test_tensors_are_read_with_shape_type_and_quantisation(files, names):
    graph = files["int8"].graph
    assert (graph.input.shape, graph.input.dtype) == ((1, 6, 9, 3), "int8")
    assert (graph.output.shape, graph.output.dtype) == ((1, 7), "int8")
    activation, kernel, bias = graph.operations[4].inputs
    # TFLite's layout of a kernel is [channels out, height, width, channels in].
    assert (kernel.shape, kernel.dtype, kernel.constant) == ((5, 3, 3, 8), "int8", True)
    assert (bias.shape, bias.dtype, bias.constant) == ((5,), "int32", True)
    assert (activation.shape, activation.dtype, activation.constant) == ((1, 6, 9, 8), "int8", False)
    assert activation == graph.operations[3].output
    assert [len(tensor.scales) for tensor in (activation, kernel, bias)] == [1, 5, 5]
    np.testing.assert_array_equal(kernel.zero_points, np.zeros(5))
    # The range -8 ... 8 in 255 steps; float32 keeps 24 bits of the quotient.
    np.testing.assert_allclose(activation.scales, 16 / 255, rtol=2**-23)


def test_a_float_tensor_has_no_scale(float32):
    graph = float32.graph
    assert (graph.input.dtype, graph.output.dtype) == ("float32", "float32")
    assert len(graph.output.scales) == len(graph.output.zero_points) == 0


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("net_1/stem_conv_1/convolution", "stem_conv"),
        ("net/stem_conv/convolution", "stem_conv"),
        ("net_12/stem_conv_12/convolution", "stem_conv"),
        ("net_1/stem_relu_1/Relu;net_1/stem_norm_1/add_1;net_1/stem_conv_1/conv;", "stem_conv"),
        ("net_1/stem_relu_1/Relu;net_1/unknown_1/add_1", "stem_relu"),
        ("net_1/conv2d_1/convolution", "conv2d"),
        ("net_1/conv2d_1_1/convolution", "conv2d_1"),
        ("net/block_2/convolution", "block_2"),
        ("net_1/stem_conv2_1/convolution", None),
        ("StatefulPartitionedCall_1:0", None),
        ("", None),
    ],
)
def test_layer_of_a_tensorflow_name(name, layer):
    known = {"stem_conv", "stem_norm", "stem_relu", "conv2d", "conv2d_1", "block_2"}
    assert layer_of(name, known) == layer


def test_verify_built_in_names_a_custom_operation_and_its_layer(files, names):
    verify_built_in(files["float32"].graph)
    custom = with_operation_replaced(files["float32"], "MEAN", "FlexIgamma")
    with pytest.raises(ExportFailed, match="'pool' needs FlexIgamma"):
        verify_built_in(custom.graph)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_verify_integer_only_accepts_what_is_full_int8(files, names, kind):
    verify_integer_only(files[kind].graph)


def test_verify_integer_only_refuses_a_float_file(float32, names):
    with pytest.raises(ExportFailed, match="SUB of layer 'normalization' works on float32"):
        verify_integer_only(float32.graph)


@pytest.mark.parametrize("place", [3, 6], ids=["in the middle", "last"])
def test_verify_integer_only_refuses_one_layer_in_float(float32, ranges, names, place):
    kept = float32.graph.operations[place]
    mixed = quantize_to_int8(float32, ranges, keep_float=[kept.output.name])
    with pytest.raises(ExportFailed, match="works on float32"):
        verify_integer_only(mixed.graph)


def test_verify_integer_only_lets_only_the_named_layer_stay_in_float(float32, ranges, names):
    kept = float32.graph.operations[4]
    graph = quantize_to_int8(float32, ranges, keep_float=[kept.output.name]).graph
    verify_integer_only(graph, kept_float={"block1_conv2"})
    with pytest.raises(ExportFailed, match="'block1_conv2' works on float32"):
        verify_integer_only(graph, kept_float={"head"})


def test_verify_integer_only_refuses_a_conversion_between_layers(files, names):
    converted = with_operation_replaced(files["int8"], "MEAN", "QUANTIZE")
    with pytest.raises(ExportFailed, match="QUANTIZE stands after layer 'pool'"):
        verify_integer_only(converted.graph)
