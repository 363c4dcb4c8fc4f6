"""A network that int8 ruins, and every strategy for it."""

import keras
import numpy as np
import pytest
from keras import layers

from export.quantize.strategies import Strategy, list_remedies
from pipeline.data.batches import Examples
from pipeline.data.table import ArrayImages, Source
from pipeline.tflite.file import TFLiteFile
from tests.export.quantize.samples import IMAGES, ROWS, draw_more, images

LOUD = 1000.0
"""By how much the planted channel of conv1 is louder than its neighbours."""


@pytest.fixture(scope="session")
def network() -> keras.Model:
    """Normalised pixels, conv1, whose first channel is far too loud, two that read it, a head.

    What reads the loud channel turns it down again: quantisation of conv1 alone is the trouble.
    """
    keras.utils.set_random_seed(0)
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="conv1")(pixels)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    readers = [layers.Conv2D(8, 3, padding="same", name=name) for name in ("conv2", "conv3")]
    x = layers.Add(name="add")([reader(x) for reader in readers])
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(4, name="head")(x), name="small")
    gamma = np.float32([LOUD, 1, 1, 1, 1, 1, 1, 1])
    network.get_layer("norm1").set_weights([gamma, np.zeros(8), np.zeros(8), np.full(8, 1e4)])
    for reader in readers:
        kernel, bias = reader.get_weights()
        kernel[:, :, 0] /= LOUD
        reader.set_weights([kernel, bias])
    # Scores of the mean image are alike, so that each class is the answer to some images.
    kernel, bias = network.get_layer("head").get_weights()
    mean_scores = network.predict(IMAGES.astype(np.float32), verbose=0).mean(axis=0)
    network.get_layer("head").set_weights([kernel, bias - mean_scores])
    return network


@pytest.fixture(scope="session")
def float32(network, converter_of) -> TFLiteFile:
    return converter_of(network).float32()


@pytest.fixture(scope="session")
def strategies(float32) -> list[Strategy]:
    return list(list_remedies(float32, Strategy(images(10), "int8"), draw_more))


@pytest.fixture(scope="session")
def split(network) -> Examples:
    """Images of which the network gets about two of three right."""
    random = np.random.default_rng(1)
    guesses = random.integers(0, 4, len(IMAGES))
    known = random.uniform(size=len(IMAGES)) < 0.6
    answers = network.predict(IMAGES.astype(np.float32), verbose=0).argmax(axis=-1)
    labels = np.where(known, answers, guesses).astype(np.int64)
    digests = np.zeros((len(IMAGES), 1), np.uint8)
    source = Source("made up", tuple("abcd"), labels, digests, ArrayImages(IMAGES), {})
    return Examples(source, ROWS, 8)
