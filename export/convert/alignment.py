"""Weights at addresses that a microcontroller can read in place."""

import tempfile
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

from pipeline.console.quiet_start import hold_back_notices
from pipeline.tflite.file import TFLiteFile


def align_weights(file: TFLiteFile) -> TFLiteFile:
    """Move each buffer of a .tflite file to a multiple of 16 bytes; nothing else changes.

    The converter leaves them at multiples of 4. A device that runs the file where it lies in flash
    reads them there: slower by unaligned access, or not at all where biases are of 64 bits. The
    tool comes with TensorFlow Lite Micro; where that is not installed, the file stays as it is.
    """
    if not find_spec("tflite_micro"):
        return file
    from tflite_micro.tensorflow.lite.micro.tools import tflite_flatbuffer_align_wrapper

    with tempfile.TemporaryDirectory() as folder, hold_back_notices():
        source, target = Path(folder, "source.tflite"), Path(folder, "target.tflite")
        source.write_bytes(file.content)
        tflite_flatbuffer_align_wrapper.align_tflite_model(str(source), str(target))
        return replace(file, content=target.read_bytes())
