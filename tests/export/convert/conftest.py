"""One small network in three formats, as the converter leaves them."""

import keras
import pytest
from keras import layers

from export.convert.converter import quantize_to_int8
from export.quantize.ranges import Calibrator
from pipeline.tflite.file import TFLiteFile
from tests.export.convert.samples import IMAGES


@pytest.fixture(scope="session")
def files(converter_of) -> dict[str, TFLiteFile]:
    """One network, of sizes that are no multiples of 16, as float32, int8 and int16."""
    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(5, 3, use_bias=False, name="conv1")(x)
    x = layers.ReLU(name="relu1")(layers.BatchNormalization(name="norm1")(x))
    x = layers.Conv2D(5, 3, padding="same", activation="relu", name="conv2")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(3, name="head")(x), name="small")
    converter = converter_of(network)
    float32 = converter.float32()
    int8 = quantize_to_int8(float32, Calibrator(float32, IMAGES).full)
    return {"float32": float32, "int8": int8, "int16": converter.int16(IMAGES)}
