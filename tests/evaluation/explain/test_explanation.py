"""Explanations: which network is asked for which class of which image."""

import keras
import numpy as np
import pytest
from keras import layers

from evaluation.explain.explanation import build_explainers, draw_overlays, explained_layer
from evaluation.explain.gradcam import overlay
from evaluation.networks.deployed import DeployedFile
from export.convert.converter import Converter
from export.convert.network import write_single_image_graph
from pipeline.tflite.file import TFLiteFile

RED, BLUE = 0, 1


def red_and_blue_halves() -> np.ndarray:
    """Row 0 is red on the left and blue on the right, row 1 the other way round."""
    images = np.zeros((2, 4, 4, 3), np.uint8)
    images[0, :, :2, 0] = images[0, :, 2:, 2] = 200
    images[1] = images[0, :, ::-1]
    return images


IMAGES = red_and_blue_halves()


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Class 0 is the mean of red, class 1 that of blue."""
    pixels = keras.Input((4, 4, 3), name="pixels")
    identity = keras.initializers.Constant(np.eye(3).reshape(1, 1, 3, 3))
    maps = layers.Conv2D(3, 1, kernel_initializer=identity, use_bias=False, name="colours")(pixels)
    x = layers.GlobalAveragePooling2D(name="pool")(maps)
    chosen = keras.initializers.Constant([[1, 0], [0, 0], [0, 1]])
    return keras.Model(pixels, layers.Dense(2, kernel_initializer=chosen, name="head")(x))


@pytest.fixture(scope="module")
def swapped(network, tmp_path_factory) -> TFLiteFile:
    """A file in which class 0 is blue and class 1 red, so that it can be told from Keras."""
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    copy.get_layer("head").set_weights([np.float32([[0, 1], [0, 0], [1, 0]]), np.zeros(2)])
    folder = tmp_path_factory.mktemp("graph")
    write_single_image_graph(copy, folder)
    return Converter(folder, [layer.name for layer in copy.layers]).float32()


def halves(left: int) -> np.ndarray:
    """A map that is 1 on one side and 0 on the other."""
    return np.repeat(np.float32([[left, left, 1 - left, 1 - left]]), 4, axis=0)


def assert_drawn(drawn: np.ndarray, rows: list[int], left: list[int]) -> None:
    np.testing.assert_array_equal(drawn, overlay(IMAGES[rows], np.stack(list(map(halves, left)))))


def test_each_view_asks_its_network_for_its_class_of_each_image(network, swapped):
    file = DeployedFile("float32", "", swapped, "logits")
    assert explained_layer(network) == "colours"
    drawn = draw_overlays(
        build_explainers(network, [file]),
        IMAGES[[1, 0, 0]],
        {
            "its answer": ("keras", np.array([RED, RED, BLUE])),
            "its label": ("keras", np.array([BLUE, RED, RED])),
            "float32": ("float32", np.array([RED, RED, BLUE])),
        },
    )
    assert list(drawn) == ["its answer", "its label", "float32"]
    # Red is on the right of row 1 and on the left of row 0.
    assert_drawn(drawn["its answer"], [1, 0, 0], [0, 1, 0])
    assert_drawn(drawn["its label"], [1, 0, 0], [1, 1, 1])
    assert_drawn(drawn["float32"], [1, 0, 0], [1, 0, 1])


def test_a_network_that_is_not_known_is_left_out(network):
    classes = {"keras": ("keras", np.array([RED])), "int8": ("int8", np.array([RED]))}
    drawn = draw_overlays(build_explainers(network, []), IMAGES[:1], classes)
    assert list(drawn) == ["keras"]


def test_a_file_that_cannot_be_explained_is_left_out(tmp_path):
    pixels = keras.Input((4, 4, 3), name="pixels")
    x = layers.Conv2D(4, 3, padding="same", name="conv")(pixels)
    flat = keras.Model(pixels, layers.Dense(2, name="head")(layers.Flatten(name="flat")(x)))
    write_single_image_graph(flat, tmp_path)
    content = Converter(tmp_path, [layer.name for layer in flat.layers]).float32()
    files = [DeployedFile("float32", "", content, "logits")]
    both = {name: (name, np.array([RED, BLUE])) for name in ("keras", "float32")}
    drawn = draw_overlays(build_explainers(flat, files), IMAGES, both)
    assert {view: images.shape for view, images in drawn.items()} == {"keras": (2, 4, 4, 3)}


def test_a_file_whose_last_maps_are_of_another_layer_is_left_out(tmp_path):
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(4, 3, 2, padding="same", name="four_by_four")(pixels)
    x = layers.Conv2D(4, 3, 2, padding="same", name="two_by_two")(x)
    logits = layers.Dense(2, name="head")(layers.GlobalAveragePooling2D(name="pool")(x))
    network = keras.Model(pixels, logits)
    write_single_image_graph(network, tmp_path)
    content = Converter(tmp_path, [layer.name for layer in network.layers]).float32()
    assert explained_layer(network) == "four_by_four"
    assert list(build_explainers(network, [DeployedFile("float32", "", content, "logits")])) == ["keras"]


def test_a_perceptron_has_nothing_to_show(swapped):
    pixels = keras.Input((4, 4, 3))
    perceptron = keras.Model(pixels, layers.Dense(2)(layers.Flatten()(pixels)))
    assert explained_layer(perceptron) is None
    assert build_explainers(perceptron, [DeployedFile("int8", "", swapped, "")]) == {}


def test_no_image(network):
    classes = {"keras": ("keras", np.zeros(0, np.int64))}
    assert draw_overlays(build_explainers(network, []), IMAGES[:0], classes) == {}
