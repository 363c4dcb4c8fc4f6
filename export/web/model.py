"""The int8 file as LiteRT.js takes it."""

from dataclasses import replace

import numpy as np

from export.errors import ExportFailed
from export.quantize.strategies import Strategy
from pipeline.tflite.file import TFLiteFile


def with_uint8(int8: TFLiteFile, strategy: Strategy, float32: TFLiteFile, images: np.ndarray) -> TFLiteFile:
    """Return the int8 file with uint8 at both ends: LiteRT.js has no int8 tensors (version 2.5.3).

    Args:
        int8: the file that ships.
        strategy: how it was quantised.
        float32: what it was made from.
        images: uint8 [images, height, width, 3], on which both must give the same scores.

    Raises:
        ExportFailed: they do not.
    """
    if strategy.input_type == "uint8":
        return int8
    file = replace(strategy, input_type="uint8").quantize(float32, strategy.calibration.images)
    if not np.array_equal(file.predict(images), int8.predict(images)):
        raise ExportFailed("the file for browsers must give the int8 file's scores; it gives others")
    return file
