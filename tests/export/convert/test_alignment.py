"""Aligned files: every buffer at a multiple of 16 bytes, and the same scores bit for bit."""

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.convert import alignment
from export.convert.alignment import align_weights
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter
from tests.export.convert.samples import IMAGES, buffers

micro = pytest.importorskip(
    "tflite_micro.python.tflite_micro.runtime", reason="the package tflite_micro is not installed"
)


@pytest.mark.parametrize("name", ["float32", "int8", "int16"])
def test_every_buffer_lies_at_a_multiple_of_16(files, name):
    before, after = buffers(files[name].content), buffers(align_weights(files[name]).content)
    assert {start % 16 for start, _ in after} == {0}
    assert [held for _, held in after] == [held for _, held in before]
    # Otherwise nothing would have had to be moved.
    assert {start % 16 for start, _ in before} != {0}


@pytest.mark.parametrize("name", ["float32", "int8", "int16"])
def test_nothing_else_changes(files, name):
    aligned = align_weights(files[name])
    before, after = (schema.ModelT.InitFromPackedBuf(each.content) for each in (files[name], aligned))
    for one, other in zip(before.subgraphs[0].tensors, after.subgraphs[0].tensors, strict=True):
        assert (one.name, one.type, list(one.shape)) == (other.name, other.type, list(other.shape))
    operations = [[op.name for op in c.graph.operations] for c in (files[name], aligned)]
    assert operations[0] == operations[1]
    # At most 15 bytes of padding a buffer, and what a table takes more.
    assert aligned.size - files[name].size < 32 * len(after.buffers) + 256


def micro_scores(file: TFLiteFile, encoded: list[np.ndarray]) -> list[bytes]:
    interpreter = micro.Interpreter.from_bytes(file.content, arena_size=2**20)
    scores = []
    for levels in encoded:
        interpreter.set_input(levels, 0)
        interpreter.invoke()
        scores.append(interpreter.get_output(0).tobytes())
    return scores


@pytest.mark.parametrize("name", ["float32", "int8", "int16"])
def test_scores_are_the_same_bits_in_litert_and_on_micro(files, name):
    before, after = files[name], align_weights(files[name])
    models = [Interpreter(file.content, reference=True) for file in (before, after)]
    encoded = [models[0].encode(image[None]) for image in IMAGES]
    litert = [[model.run(levels).tobytes() for levels in encoded] for model in models]
    assert litert[0] == litert[1]
    assert len(set(litert[0])) > 1
    assert micro_scores(after, encoded) == micro_scores(before, encoded) == litert[0]


def test_an_aligned_file_stays_as_it_is(files):
    aligned = align_weights(files["int8"])
    assert align_weights(aligned) == aligned


def test_without_tensorflow_lite_micro_the_file_stays_as_it_is(files, monkeypatch):
    monkeypatch.setattr(alignment, "find_spec", lambda name: None)
    assert align_weights(files["int8"]) is files["int8"]
