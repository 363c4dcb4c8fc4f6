"""The int8 file of a network before it is trained: as large and as fast as it will be."""

import contextlib
import io
import tempfile
from pathlib import Path

import keras
import numpy as np

from export.convert.converter import Converter
from export.convert.network import build_inference_network, write_single_image_graph
from export.quantize.calibration_images import CalibrationImages
from export.quantize.strategies import Strategy
from pipeline.tflite.file import TFLiteFile


def preview_int8(network: keras.Model, images: np.ndarray) -> TFLiteFile:
    """Make the int8 file that `python -m export` would make of an untrained network.

    Its size and latency are those of the trained network's file; its scores mean nothing.

    Args:
        network: stock layers in float32, pixels to logits; it is left as it is.
        images: uint8 [images, height, width, 3], real and un-augmented; a few are enough.

    Raises:
        ExportFailed: TFLite has no built-in operation for a layer.
    """
    network = build_inference_network(_with_distinct_vectors(network), "logits")
    layers = [operation.name for operation in network.operations]
    with tempfile.TemporaryDirectory() as scratch:
        write_single_image_graph(network, Path(scratch))
        float32 = Converter(Path(scratch), layers).float32()
    plain = Strategy(CalibrationImages(images, fingerprint="", left_out=0), input_type="int8")
    # Calibration shows its progress, which would tear that of whoever compares many networks.
    with contextlib.redirect_stdout(io.StringIO()):
        return plain.quantize(float32, images)


def _with_distinct_vectors(network: keras.Model) -> keras.Model:
    """Copy a network, with random numbers in its biases and in its norms' scales and statistics.

    They start as zeros and ones, and of constants that are equal the converter keeps one: the file
    would be smaller than after training. Kernels start at random and stay as they are.
    """
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    random = np.random.default_rng(0)
    for weight in copy.weights:
        if len(weight.shape) == 1:
            # Positive, as a variance is, and near one, so that activations keep their magnitude.
            weight.assign(random.uniform(0.5, 1.5, weight.shape))
    return copy
