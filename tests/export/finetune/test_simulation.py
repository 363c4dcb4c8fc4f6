"""The simulation rounds as the int8 file does: its steps, its kernels, its answers."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from export.convert.converter import quantize_to_int8
from export.finetune.simulation import Simulation, group_activations
from export.quantize.ranges import Calibrator
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter
from tests.export.finetune.samples import IMAGES


@pytest.fixture(scope="module")
def simulation(every_operation, observed) -> Simulation:
    """As after a training that moved every weight by some steps and every range by some percent."""
    simulation = Simulation(every_operation, observed)
    random = np.random.default_rng(0)
    for variable in (*simulation.weights, *simulation.growths):
        variable.assign_add(random.normal(scale=0.05, size=variable.shape))
    return simulation


@pytest.fixture(scope="module")
def int8(simulation) -> TFLiteFile:
    return quantize_to_int8(*simulation.trained())


def steps_of(file: TFLiteFile) -> list[dict]:
    """Scales and zero points of all tensors, as LiteRT reads them."""
    details = Interpreter(file.content)._interpreter.get_tensor_details()
    return [tensor["quantization_parameters"] for tensor in details]


def test_the_ranges_in_the_file_are_those_that_were_trained(simulation, int8, observed):
    """Jacob et al. 2018, section 3: r = S (q - Z), 255 steps from the least to the greatest value."""
    _, ranges = simulation.trained()
    steps, changed = steps_of(int8), 0
    for operation in int8.graph.operations[:-1]:
        trained, tensor = ranges[operation.output.name], steps[operation.output.index]
        scale = (trained.high - trained.low) / 255
        np.testing.assert_allclose(tensor["scales"], [scale], rtol=1e-6)
        assert tensor["zero_points"] == [round(-128 - trained.low / scale)]
        changed += not np.isclose(
            scale, (observed[operation.output.name].high - trained.low) / 255, rtol=1e-3
        )
    assert changed > 8
    pixels = steps[int8.graph.input.index]
    assert (pixels["scales"], pixels["zero_points"]) == ([1], [-128])


def test_a_kernel_has_127_steps_a_channel_to_its_greatest_weight(simulation, int8):
    trained, _ = simulation.trained()
    model, exact = Interpreter(int8.content), Interpreter(trained.content)
    steps, kernels = steps_of(int8), 0
    pairs = zip(int8.graph.operations, trained.graph.operations, strict=True)
    for rounded, operation in (pair for pair in pairs if pair[0].multiply_adds):
        axis = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}[operation.name]
        weights = np.moveaxis(exact.tensor(operation.inputs[1].index), axis, -1)
        scales = np.abs(weights).reshape(-1, weights.shape[-1]).max(axis=0) / 127
        np.testing.assert_allclose(steps[rounded.inputs[1].index]["scales"], scales, rtol=1e-6)
        levels = np.moveaxis(model.tensor(rounded.inputs[1].index), axis, -1)
        simulated = np.moveaxis(np.asarray(simulation._constant(operation.inputs[1].index)), axis, -1)
        np.testing.assert_allclose(simulated, levels * scales, atol=1e-6 * scales.max())
        kernels += 1
    assert kernels == 6


def test_the_simulation_answers_as_the_file(simulation, int8):
    """Float32 and integers round ties apart, those of means above all, which moves scores by a step.

    Without rounding they would be as far from the file's as int8 is from float32.
    """
    trained, _ = simulation.trained()
    exact, received = trained.predict(IMAGES), int8.predict(IMAGES)
    simulated = np.asarray(tf.nn.softmax(simulation.logits(IMAGES)))
    errors = [np.sqrt(np.mean((scores - received) ** 2)) for scores in (simulated, exact)]
    assert errors[0] < errors[1] / 3
    assert np.mean(simulated.argmax(axis=-1) == received.argmax(axis=-1)) >= 0.99


def test_what_has_one_scale_in_the_file_is_trained_as_one_range(every_operation):
    group = group_activations(every_operation.graph)
    layer_of = {op.output.name: (op.layer, op.name) for op in every_operation.graph.operations}
    together: dict[str, list] = {}
    for name, first in group.items():
        together.setdefault(first, []).append(layer_of.get(name, "pixels"))
    shared = sorted(sorted(members) for members in together.values() if len(members) > 1)
    assert shared == [
        [("add", "ADD"), ("padding", "PAD")],
        [
            ("both", "CONCATENATION"),
            ("conv2", "CONV_2D"),
            ("largest", "MAX_POOL_2D"),
            ("mean", "AVERAGE_POOL_2D"),
        ],
        [("head", "CONV_2D"), ("head", "RESHAPE")],
    ]


def test_a_channel_of_zeros_stays_zero(every_operation, observed):
    simulation = Simulation(every_operation, observed)
    kernel = simulation.weights[0]
    kernel.assign(kernel.numpy() * (np.arange(kernel.shape[0]) > 0).reshape(-1, 1, 1, 1))
    assert np.isfinite(np.asarray(simulation.logits(IMAGES[:2]))).all()
    assert not np.asarray(simulation._constant(next(iter(simulation._weights))))[0].any()


def test_a_convolution_without_a_bias_gets_none(converter_of):
    """Its zeros are one tensor in the file, which all convolutions of as many channels read."""
    pixels = keras.Input((9, 12, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv1")(pixels)
    x = keras.layers.Conv2D(4, 3, use_bias=False, name="conv2")(keras.layers.ReLU(name="relu")(x))
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    head = keras.layers.Dense(5, bias_initializer="ones", name="head")
    file = converter_of(keras.Model(pixels, head(x))).float32()
    simulation = Simulation(file, Calibrator(file, IMAGES[:2]).full)
    assert [weight.shape for weight in simulation.weights] == [(4, 3, 3, 3), (4, 3, 3, 4), (5, 1, 1, 4), (5,)]
    assert np.isfinite(np.asarray(simulation.logits(IMAGES[:2]))).all()


def test_the_gradient_passes_the_rounding_of_every_weight(converter_of):
    """Of a norm every weight is its channel's greatest, which 127 steps of some miss by a bit."""
    random = np.random.default_rng(0)
    pixels = keras.Input((9, 12, 3), name="pixels")
    x = keras.layers.Conv2D(2000, 1, name="conv")(pixels)
    depthwise = keras.layers.DepthwiseConv2D(1, name="norm")
    x = depthwise(keras.layers.ReLU(name="relu")(x))
    network = keras.Model(pixels, keras.layers.GlobalAveragePooling2D(name="pool")(x))
    depthwise.set_weights([random.normal(size=(1, 1, 2000, 1)), random.normal(size=2000)])
    file = converter_of(network).float32()
    simulation = Simulation(file, Calibrator(file, IMAGES[:2]).full)
    (kernel,) = (weight for weight in simulation.weights if weight.shape == (1, 1, 1, 2000))
    place = next(place for place, weight in simulation._weights.items() if weight is kernel)
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(simulation._constant(place))
    np.testing.assert_allclose(tape.gradient(total, kernel.value), simulation._units[place], rtol=1e-6)
