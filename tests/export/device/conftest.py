"""A tiny network's files, a bundle of them, and images to classify."""

from pathlib import Path

import keras
import pytest
from keras import layers
from PIL import Image

from export.convert.converter import quantize_to_int8
from export.convert.network import build_inference_network
from export.quantize.ranges import Calibrator
from pipeline.tflite.file import TFLiteFile
from tests.export.device.samples import HEIGHT, IMAGES, LABELS, WIDTH, write_bundle


@pytest.fixture(scope="session")
def files(converter_of) -> dict[str, dict[str, TFLiteFile]]:
    """`logits` or `probabilities` -> name -> .tflite file of a tiny network."""
    keras.utils.set_random_seed(3)
    x = pixels = keras.Input((HEIGHT, WIDTH, 3), name="pixels")
    x = layers.Normalization(mean=[127.0] * 3, variance=[4096.0] * 3, name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(name="stem_norm")(x)
    x = layers.Flatten(name="pool")(layers.ReLU(name="stem_relu")(x))
    x = layers.Dense(len(LABELS), kernel_initializer="he_normal", name="head")(x)
    trained = keras.Model(pixels, x, name="net")
    converted = {}
    for output in ("probabilities", "logits"):
        converter = converter_of(build_inference_network(trained, output))
        float32 = converter.float32()
        ranges = Calibrator(float32, IMAGES).full
        converted[output] = {
            "model_float32.tflite": float32,
            "model_int8.tflite": quantize_to_int8(float32, ranges),
        }
    # Other types of input and output are tried with logits alone.
    converted["logits"]["model_uint8.tflite"] = quantize_to_int8(float32, ranges, "uint8")
    converted["logits"]["model_int16.tflite"] = converter.int16(IMAGES)
    return converted


@pytest.fixture
def bundle(files, tmp_path) -> Path:
    return write_bundle(tmp_path / "bundle", files["logits"], "logits")


@pytest.fixture
def images(tmp_path) -> list[Path]:
    """Images of the network's own size, so that nothing is resized."""
    paths = [tmp_path / f"{number:02d}.png" for number in range(len(IMAGES))]
    for path, image in zip(paths, IMAGES, strict=True):
        Image.fromarray(image).save(path)
    return paths
