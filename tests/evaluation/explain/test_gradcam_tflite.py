"""Grad-CAM of .tflite files against that of the Keras network they were made from."""

from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers

from evaluation.explain.gradcam import GradCAM
from evaluation.explain.gradcam_tflite import TFLiteGradCAM
from export.convert.converter import Converter
from export.convert.network import write_single_image_graph
from export.quantize.calibration_images import CalibrationImages
from export.quantize.strategies import Strategy
from pipeline.tflite.file import TFLiteFile
from tests.evaluation.explain.two_blocks import build_two_blocks


def _images(count: int, seed: int) -> np.ndarray:
    """Squares of random colours, as noise alone averages out to one flat map."""
    coarse = np.random.default_rng(seed).integers(0, 256, (count, 4, 4, 3), dtype=np.uint8)
    return coarse.repeat(4, axis=1).repeat(4, axis=2)


IMAGES = _images(20, seed=0)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    return build_two_blocks(size=16, classes=5, pixel_std=70, seed=0)


@pytest.fixture(scope="module")
def classes(network) -> np.ndarray:
    """The most probable and the second in turn: nothing speaks for the last."""
    ranked = np.argsort(-network.predict(IMAGES.astype(np.float32), verbose=0))
    return ranked[np.arange(len(IMAGES)), np.arange(len(IMAGES)) % 2]


@pytest.fixture(scope="module")
def expected(network, classes) -> np.ndarray:
    maps = GradCAM(network).maps(IMAGES, classes)
    # Flat maps would agree with anything.
    assert maps.std(axis=(1, 2)).min() > 0.1
    return maps


@pytest.fixture(scope="module")
def converter(network, tmp_path_factory) -> Converter:
    graph = tmp_path_factory.mktemp("graph")
    write_single_image_graph(network, graph)
    return Converter(graph, [layer.name for layer in network.layers])


@pytest.fixture(scope="module")
def float32(converter) -> TFLiteFile:
    return converter.float32()


def test_float32_file_gives_the_maps_of_keras(float32, classes, expected):
    found = TFLiteGradCAM(float32).maps(IMAGES, classes)
    # Sums of up to 144 products in float32, on a scale of 1.
    np.testing.assert_allclose(found, expected, atol=1e-5)
    assert found.dtype == np.float32


def test_float16_file_gives_nearly_the_maps_of_keras(converter, classes, expected):
    found = TFLiteGradCAM(converter.float16()).maps(IMAGES, classes)
    # Weights of four convolutions in a row and of the head, each rounded by up to 2**-11.
    np.testing.assert_allclose(found, expected, atol=5 / 2**11)


@pytest.mark.parametrize("input_type", ["int8", "uint8"])
def test_int8_file_gives_similar_maps(float32, classes, expected, input_type):
    images = _images(32, seed=1)
    strategy = Strategy(CalibrationImages(images, fingerprint="", left_out=0), input_type)
    found = TFLiteGradCAM(strategy.quantize(float32, images)).maps(IMAGES, classes)
    similar = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(expected, found, strict=True)]
    # A level of 1 / 255 of the range in each of five tensors in a row, where the head's weights
    # let feature maps cancel; seen: 0.9975.
    assert min(similar) > 0.98


def test_a_file_without_global_average_pooling_is_refused(tmp_path: Path):
    pixels = keras.Input((4, 4, 3), name="pixels")
    maps = layers.Conv2D(2, 3, activation="relu", name="conv")(pixels)
    logits = layers.Dense(2, name="head")(layers.Flatten(name="flatten")(maps))
    network = keras.Model(pixels, logits, name="net")
    write_single_image_graph(network, tmp_path)
    content = Converter(tmp_path, ["conv", "head"]).float32()
    with pytest.raises(ValueError, match="received CONV_2D and CONV_2D"):
        TFLiteGradCAM(content).maps(np.zeros((1, 4, 4, 3), np.uint8), np.zeros(1, int))
