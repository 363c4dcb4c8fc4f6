"""The network of all operations in float32, and what its activations take."""

import pytest

from export.convert.converter import Range
from export.quantize.ranges import Calibrator
from pipeline.tflite.file import TFLiteFile
from tests.export.finetune.samples import IMAGES, build_network


@pytest.fixture(scope="session")
def every_operation(converter_of) -> TFLiteFile:
    return converter_of(build_network()).float32()


@pytest.fixture(scope="session")
def observed(every_operation) -> dict[str, Range]:
    return Calibrator(every_operation, IMAGES[:20]).full
