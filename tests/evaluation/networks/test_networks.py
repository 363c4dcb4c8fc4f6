"""Networks: the order of answers, what files answer, mirror images, and what is counted."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from scipy.special import log_softmax, softmax

from evaluation.networks.deployed import DeployedFile
from evaluation.networks.networks import Network, answer, deployed_network, keras_network, with_mirror_image
from export.convert.converter import Converter
from export.convert.network import build_inference_network, write_single_image_graph
from export.quantize.calibration_images import CalibrationImages
from export.quantize.strategies import Strategy
from pipeline.console.progress import Progress
from pipeline.tflite.file import TFLiteFile
from tests.evaluation.made_up import images_of, table_network

IMAGES = np.random.default_rng(1).integers(0, 256, (40, 4, 4, 3), np.uint8)


def predict_by_hand(images: np.ndarray) -> np.ndarray:
    """Mean of red, of green and of blue, in tenths."""
    return images.mean(axis=(1, 2)) / 10


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """The same as layers."""
    pixels = keras.Input((4, 4, 3), name="pixels")
    head = layers.Dense(3, kernel_initializer=keras.initializers.Identity(0.1), name="head")
    return keras.Model(pixels, head(layers.GlobalAveragePooling2D(name="pool")(pixels)))


def convert(network: keras.Model, output: str, folder: Path) -> TFLiteFile:
    network = build_inference_network(network, output)
    write_single_image_graph(network, folder)
    return Converter(folder, [layer.name for layer in network.layers]).float32()


@pytest.fixture(scope="module")
def files(network, tmp_path_factory) -> dict[tuple[str, str], bytes]:
    """(output, numbers) -> file."""
    made = {}
    for output in ("logits", "probabilities"):
        made[output, "float32"] = convert(network, output, tmp_path_factory.mktemp("graph"))
        for kind in ("int8", "uint8"):
            strategy = Strategy(CalibrationImages(IMAGES, "", 0), kind)
            made[output, kind] = strategy.quantize(made[output, "float32"], IMAGES)
    return made


def predict_deployed(file: TFLiteFile, output: str, images: np.ndarray) -> np.ndarray:
    return deployed_network(DeployedFile("some", "some.tflite", file, output)).predict(images)


def test_answers_are_in_the_order_of_the_table_and_each_batch_is_made_once():
    images, labels = images_of(7), np.arange(7) % 3
    first, second = np.random.default_rng(0).normal(size=(2, 7, 3)).astype(np.float32)
    networks, made = [table_network(first, "first"), table_network(second, "second")], []

    def batches():
        for at in (0, 3, 6):
            made.append(at)
            yield images[at : at + 3]

    progress = Progress(14, "", "")
    answered = answer(networks, batches(), labels, progress)
    assert made == [0, 3, 6]
    for answers, expected in zip(answered, (first, second), strict=True):
        np.testing.assert_array_equal(answers.logits, expected)
        np.testing.assert_array_equal(answers.labels, labels)
    assert progress.done == 7 * 2


def test_keras_takes_pixels_of_eight_bits_and_returns_logits(network):
    made = keras_network(network, "model.keras")
    assert (made.name, made.file) == ("keras", "model.keras")
    # Float32 adds 16 pixels of up to 255; 1e-4 of scores up to 25 is far above its rounding.
    np.testing.assert_allclose(made.predict(IMAGES), predict_by_hand(IMAGES), atol=1e-4)


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_a_float32_file_answers_as_keras(files, output):
    answers = predict_deployed(files[output, "float32"], output, IMAGES)
    assert answers.dtype == np.float32
    expected = predict_by_hand(IMAGES)
    # Logarithms of probabilities are the logits but for a constant of each image; 1e-4 as above.
    np.testing.assert_allclose(log_softmax(answers, -1), log_softmax(expected, -1), atol=1e-4)
    if output == "logits":
        np.testing.assert_allclose(answers, expected, atol=1e-4)


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_integer_files_take_pixels_and_return_what_their_integers_mean(files, kind):
    expected = predict_by_hand(IMAGES)
    logits = predict_deployed(files["logits", kind], "logits", IMAGES)
    assert logits.dtype == np.float32
    # Scores spread over less than 16 in 256 levels: half a level each for input, pool and head.
    np.testing.assert_allclose(logits, expected, atol=1.5 * 16 / 256)
    answers = predict_deployed(files["probabilities", kind], "probabilities", IMAGES)
    # Where logits are wrong by d, a probability p is by 2 p (1 - p) d at most; then half a step.
    found = np.exp(answers)
    np.testing.assert_allclose(found, softmax(expected, -1), atol=1.5 * 16 / 256 / 2 + 1 / 512)
    # Steps of 1/256 as they are, and half a step for none; float32 has 24 bits.
    steps = 256 * found
    np.testing.assert_allclose(steps, np.maximum(np.rint(steps - 1e-3), 0.5), rtol=1e-5)


def red_and_black() -> np.ndarray:
    """Two images; of the red one, green and blue are e^25 times less probable."""
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[0, ..., 0] = 250
    return images


@pytest.mark.parametrize("kind", ["int8", "uint8"])
def test_a_probability_of_zero_is_read_as_half_a_step(files, kind):
    # TFLite's quantised softmax counts in steps of 1/256 (its int8 quantisation specification).
    answers = predict_deployed(files["probabilities", kind], "probabilities", red_and_black())
    np.testing.assert_allclose(answers[0, 1:], np.log(1 / 512), atol=1e-6)
    # 255/256, or 256/256 in a file that can say so.
    assert answers[0, 0] == pytest.approx(0, abs=1 / 250)
    assert np.isfinite(answers).all()


def test_a_float_probability_of_zero_is_read_as_the_least_float(network, tmp_path):
    sharp = keras.models.clone_model(network)
    sharp.get_layer("head").set_weights([np.eye(3) * 10, np.zeros(3)])
    # e^-2500 is 0 in any float.
    answers = predict_deployed(convert(sharp, "probabilities", tmp_path), "probabilities", red_and_black())
    np.testing.assert_allclose(answers[0], [0, *2 * [np.log(2.0**-126)]], rtol=1e-6)


@pytest.mark.parametrize("output", ["logits", "probabilities"])
def test_a_file_keeps_its_name_and_the_temperature_that_is_folded_in(files, output):
    file = DeployedFile("float32", "some.tflite", files[output, "float32"], output, 1.5)
    made = deployed_network(file)
    flipped = with_mirror_image(made)
    for each in (made, flipped):
        assert (each.name, each.file, each.folded_temperature) == ("float32", "some.tflite", 1.5)


def corners() -> np.ndarray:
    """One image whose top left is 0, top right 1, bottom left 2, bottom right 3."""
    image = np.zeros((1, 2, 5, 3), np.uint8)
    image[0, 0, -1], image[0, 1, 0], image[0, 1, -1] = 1, 2, 3
    return image


def test_mirror_images_average_probabilities_and_not_logits():
    chances = np.float32([[0.25, 0.75], [0.9, 0.1], [0.5, 0.5], [0.5, 0.5]])
    contiguous = []

    def predict(images):
        contiguous.append(images.flags.c_contiguous)
        return np.log(chances[images[:, 0, 0, 0]])

    flipped = with_mirror_image(Network("int8", "some.tflite", predict))
    assert (flipped.name, flipped.file) == ("int8", "some.tflite")
    # (0.25 + 0.9) / 2 and (0.75 + 0.1) / 2; of logits it would be 0.634, upside down 0.375.
    answers = flipped.predict(corners())
    np.testing.assert_allclose(np.exp(answers), [[0.575, 0.425]], atol=1e-6)
    assert all(contiguous)


def test_mirror_images_of_a_network_that_is_entirely_sure():
    logits = np.float32([[0, 2000], [0, 2000]])
    flipped = with_mirror_image(Network("keras", "", lambda images: logits[: len(images)]))
    answers = flipped.predict(corners())
    assert np.isfinite(answers).all()
    assert answers.argmax() == 1
