"""Constants of a .tflite file: as LiteRT sees them, and replaced by others."""

import numpy as np
import pytest

from pipeline.tflite.constants import read_constants, replace_constants
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter


@pytest.fixture(scope="module")
def file(trained, converter_of) -> TFLiteFile:
    return converter_of(trained).float32()


def test_constants_are_those_that_litert_sees(file):
    model = Interpreter(file.content)
    constants = read_constants(file.content)
    read = {t.index: t.dtype for op in file.graph.operations for t in op.inputs if t.constant}
    assert constants.keys() >= read.keys()
    assert set(read.values()) == {"float32", "int32"}
    for place, dtype in read.items():
        np.testing.assert_array_equal(constants[place], model.tensor(place))
        assert constants[place].dtype == dtype


def test_other_values_answer_as_others_and_all_else_stays(file):
    """The head's bias is added to the scores, in float32."""
    head = next(op for op in file.graph.operations if op.layer == "head")
    bias = head.inputs[2].index
    constants = read_constants(file.content)
    moved = replace_constants(file.content, {bias: constants[bias] + np.float32([1, 2, 3, 4])})
    images = np.random.default_rng(0).integers(0, 256, (3, 6, 9, 3)).astype(np.uint8)
    off = TFLiteFile(moved).predict(images) - file.predict(images)
    np.testing.assert_allclose(off, [[1, 2, 3, 4]] * 3, atol=1e-6)
    for place, values in read_constants(moved).items():
        if place != bias:
            np.testing.assert_array_equal(values, constants[place])
