"""The error of each quantised layer: one worked by hand, and one that was planted to be found."""

import keras
import numpy as np
import pytest

from export.convert.converter import Range, quantize_to_int8
from export.quantize.layer_error import rank_layers
from export.quantize.ranges import Calibrator

FACTOR = 1000.0
"""By how much the planted channel is louder than its neighbours."""


@pytest.fixture(scope="module")
def images():
    """Images that differ in brightness and colour, as noise alone would not."""
    rng = np.random.default_rng(0)
    brightness = rng.uniform(0, 1, (32, 1, 1, 3))
    return (brightness * rng.integers(0, 256, (32, 8, 8, 3))).astype(np.uint8)


def rank(float32, images, ranges=None):
    ranges = Calibrator(float32, images).full if ranges is None else ranges
    return rank_layers(float32, ranges, images)


@pytest.fixture(scope="module")
def one_layer():
    """A convolution with a bias, of four channels that differ in size."""
    keras.utils.set_random_seed(0)
    conv = keras.layers.Conv2D(4, 3, bias_initializer="random_normal", name="conv1")
    pixels = keras.Input((8, 8, 3), name="pixels")
    network = keras.Model(pixels, conv(pixels), name="small")
    kernel, bias = conv.get_weights()
    conv.set_weights([kernel * np.array([0.1, 0.3, 1, 3]), 100 * bias])
    return network


@pytest.fixture(scope="module")
def one_layer_float32(one_layer, converter_of):
    return converter_of(one_layer).float32()


def convolve(images, kernel):
    windows = np.lib.stride_tricks.sliding_window_view(images.astype(float), (3, 3), (1, 2))
    return np.einsum("bhwcij,ijco->bhwo", windows, kernel)


def fake_quantize(values, low, high):
    """Round to the 256 levels of int8 between `low` and `high` (Jacob et al. 2018, eq. 1)."""
    scale = (high - low) / 255
    zero_point = np.rint(-128 - low / scale)
    return (np.clip(np.rint(values / scale) + zero_point, -128, 127) - zero_point) * scale


@pytest.mark.parametrize("share", [1.0, 0.5], ids=["full range", "clipped range"])
def test_signal_to_noise_of_a_convolution_worked_by_hand(one_layer, one_layer_float32, images, share):
    kernel, bias = one_layer.get_layer("conv1").get_weights()
    exact = convolve(images, kernel) + bias
    low, high = share * exact.min(), share * exact.max()
    # One scale a channel, symmetrical, 127 levels a side (TFLite 8-bit quantization specification);
    # pixels have scale 1 and are exact.
    scales = np.abs(kernel).max(axis=(0, 1, 2)) / 127
    sums = convolve(images, np.rint(kernel / scales) * scales) + np.rint(bias / scales) * scales
    noise = ((fake_quantize(sums, low, high) - exact) ** 2).sum(axis=(0, 1, 2))
    expected = -10 * np.log10(np.mean(noise / (exact**2).sum(axis=(0, 1, 2))))
    graph = one_layer_float32.graph
    ranges = {graph.input.name: Range(0.0, 255.0), graph.output.name: Range(low, high)}

    (error,) = rank(one_layer_float32, images, ranges)

    assert (error.layer, error.operation) == ("conv1", "CONV_2D")
    # TFLite rescales with a multiplier of 31 bits, so that of 4608 values a few near the middle
    # between two levels are rounded the other way.
    assert error.signal_to_noise_db == pytest.approx(expected, abs=0.01)


@pytest.fixture(scope="module")
def network():
    """Pixels, then conv1-norm1-relu1-conv2, then a head. Channel 7 of conv1 is dead.

    Without positive offsets: of a black image every layer computes zeros.
    """
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(pixels)
    x = keras.layers.BatchNormalization(name="norm1")(x)
    x = keras.layers.ReLU(name="relu1")(x)
    x = keras.layers.Conv2D(8, 3, padding="same", name="conv2")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, keras.layers.Dense(4, name="head")(x), name="small")
    rng = np.random.default_rng(0)
    gamma, beta = rng.uniform(0.5, 1.5, 8), rng.uniform(-0.2, 0.0, 8)
    gamma[7] = 0
    network.get_layer("norm1").set_weights([gamma, beta, np.zeros(8), np.full(8, 1e4)])
    return network


def with_loud_channel(network):
    """Make conv1's first channel louder and let conv2 listen to it less: the same function."""
    loud = keras.models.clone_model(network)
    loud.set_weights(network.get_weights())
    gamma, beta, *statistics = loud.get_layer("norm1").get_weights()
    gamma[0] *= FACTOR
    beta[0] *= FACTOR
    loud.get_layer("norm1").set_weights([gamma, beta, *statistics])
    kernel, bias = loud.get_layer("conv2").get_weights()
    kernel[:, :, 0] /= FACTOR
    loud.get_layer("conv2").set_weights([kernel, bias])
    return loud


@pytest.fixture(scope="module")
def float32(network, converter_of):
    return converter_of(network).float32()


@pytest.fixture(scope="module")
def loud(network):
    return with_loud_channel(network)


@pytest.fixture(scope="module")
def loud_float32(loud, converter_of):
    return converter_of(loud).float32()


def relative_error(float32, images):
    """Size of int8's errors beside the differences between images' scores."""
    exact = float32.predict(images)
    content = quantize_to_int8(float32, Calibrator(float32, images).full)
    off = content.predict(images) - exact
    return np.linalg.norm(off) / np.linalg.norm(exact - exact.mean(axis=0))


def test_a_loud_channel_ruins_the_int8_network_and_is_traced_to_its_layer(
    network, loud, float32, loud_float32, images
):
    pixels = images.astype(np.float32)
    before, after = (net.predict(pixels, verbose=0) for net in (network, loud))
    # Float32 adds up the same terms, in which one product of 1000 and 1/1000 is rounded.
    np.testing.assert_allclose(after, before, atol=1e-3)
    assert relative_error(float32, images) < 0.1
    assert relative_error(loud_float32, images) > 1  # Constant scores would do better.

    worst = rank(loud_float32, images)[0]

    assert (worst.layer, worst.operation) == ("conv1", "CONV_2D")


def test_a_loud_channel_does_not_hide_that_six_others_fell_silent(loud, loud_float32, images):
    (conv1,) = (e for e in rank(loud_float32, images) if e.layer == "conv1")

    # Of seven channels that are not dead six lose all they held, and the first next to nothing.
    # The allowance is the first's own error and what rounding up leaves of the others.
    assert conv1.signal_to_noise_db == pytest.approx(10 * np.log10(7 / 6), abs=0.05)


def test_layers_come_worst_first(network, float32, images):
    ratios = [error.signal_to_noise_db for error in rank(float32, images)]

    assert len(ratios) == len(float32.graph.operations)
    assert ratios == sorted(ratios)


def test_errors_of_the_layers_before_do_not_count(network, float32, images):
    ranges = Calibrator(float32, images).full
    (conv1,) = (name for name in ranges if "relu1" in name)
    cut = {**ranges, conv1: Range(0.0, ranges[conv1].high / 10)}

    ratios = {error.layer: error.signal_to_noise_db for error in rank(float32, images, cut)}

    # A clipped conv1 loses more than a tenth of its signal's power. 256 levels over a range that
    # was calibrated for the uncut signal still leave the other layers some 30 dB of their own.
    assert ratios.pop("conv1") < 10
    assert ratios.keys() == {"conv2", "pool", "head"}
    assert min(ratios.values()) > 20


def test_each_error_names_a_tensor_of_the_float_graph(network, float32, images):
    outputs = {operation.output.name for operation in float32.graph.operations}

    assert {error.tensor for error in rank(float32, images)} == outputs


def test_layers_without_signal_have_no_error(network, float32, images):
    ranges = Calibrator(float32, images).full

    errors = rank(float32, np.zeros_like(images[:1]), ranges)

    assert {error.signal_to_noise_db for error in errors} == {np.inf}
