"""A slim file: what computes is as it was, and nothing lies twice or between."""

import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from export.convert.slim import slim_down
from pipeline.tflite.file import TFLiteFile
from tests.export.convert.samples import buffers

FORMATS = ("float32", "int8", "int16")

# TFLite's schema.fbs: slot -> a table, [tables], text, or the type of a vector's numbers; numbers
# lie in the table itself.
TENSOR = {0: "i", 3: str, 4: {0: "f", 1: "f", 2: "f", 3: "q"}, 7: "i"}
OPERATOR = {1: "i", 2: "i", 4: {}}
SUBGRAPH = {0: [TENSOR], 1: "i", 2: "i", 3: [OPERATOR], 4: str}
SIGNATURE = {0: [{0: str}], 1: [{0: str}], 2: str}
MODEL = {1: [{1: str}], 2: [SUBGRAPH], 3: str, 4: [{0: "B"}], 6: [{0: str}], 7: [SIGNATURE]}


class Parts:
    """What a FlatBuffer is made of, by its published format ("FlatBuffer Internals") alone.

    Attributes:
        spans: begin and end of each table, its list of fields, and each vector.
        vectors: begin of each text and each vector of numbers -> what it holds.
    """

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.spans = {(0, 8)}  # where the root is, and the file's identifier
        self.vectors: dict[int, tuple[Any, bytes]] = {}
        self._table(self._follow(0), MODEL)

    def _read(self, kind: str, place: int) -> int:
        return struct.unpack_from(f"<{kind}", self._content, place)[0]

    def _follow(self, place: int) -> int:
        return place + self._read("I", place)

    def _table(self, place: int, kinds: dict[int, Any]) -> None:
        fields = place - self._read("i", place)
        count = self._read("H", fields) // 2 - 2
        self.spans |= {(fields, fields + 4 + 2 * count), (place, place + self._read("H", fields + 2))}
        for slot, kind in kinds.items():
            if slot < count and (inside := self._read("H", fields + 4 + 2 * slot)):
                self._part(self._follow(place + inside), kind)

    def _part(self, place: int, kind: Any) -> None:
        if isinstance(kind, dict):
            return self._table(place, kind)
        count, start = self._read("I", place), place + 4
        if isinstance(kind, list):
            self.spans.add((place, start + 4 * count))
            for step in range(count):
                self._table(self._follow(start + 4 * step), kind[0])
            return None
        end = start + count * (1 if kind is str else struct.calcsize(kind))
        self.vectors[place] = kind, self._content[start:end]
        self.spans.add((place, end + (kind is str)))  # a text ends in a zero
        return None


def model_of(file: TFLiteFile) -> schema.ModelT:
    return schema.ModelT.InitFromPackedBuf(file.content)


def plain(part: Any) -> Any:
    """Objects of the schema as dictionaries, arrays as lists."""
    if isinstance(part, list):
        return [plain(each) for each in part]
    if isinstance(part, np.ndarray):
        return part.dtype.str, part.tolist()
    return {name: plain(field) for name, field in vars(part).items()} if hasattr(part, "Pack") else part


def what_computes(file: TFLiteFile) -> Any:
    """All that is in a file but names, metadata, and which buffer a tensor's values lie in."""
    model = model_of(file)
    for subgraph in model.subgraphs:
        subgraph.name = None
        for tensor in subgraph.tensors:
            tensor.name, tensor.buffer = None, plain(model.buffers[tensor.buffer])
    model.description = model.metadata = model.buffers = None
    return plain(model)


def names_of(file: TFLiteFile) -> list[tuple[str, ...]]:
    """As this program reads them."""
    operations = file.graph.operations
    return [(op.name, op.layer, op.output.name, *(i.name for i in op.inputs)) for op in operations]


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_changes_but_names_and_metadata(files, name):
    slim = slim_down(files[name])
    assert what_computes(slim) == what_computes(files[name])
    assert names_of(slim) == names_of(files[name])
    assert slim_down(slim) == slim


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_lies_between_the_parts_and_no_vector_lies_twice(files, name):
    content = slim_down(files[name]).content
    parts = Parts(content)
    spans = [*sorted(parts.spans), (len(content), len(content))]
    # What follows a part may have to begin at a multiple of 16.
    assert all(0 <= start - end < 16 for (_, end), (start, _) in pairwise(spans))
    assert len(set(parts.vectors.values())) == len(parts.vectors)


@pytest.mark.parametrize("name", FORMATS)
def test_its_vectors_are_those_of_before_but_names_and_metadata(files, name):
    """Each once: with the tables that point to them they are the whole file, by the test above."""
    model, before = model_of(files[name]), Parts(files[name].content).vectors.values()
    metadata = {model.buffers[each.buffer].data.tobytes() for each in model.metadata}
    numbers = {(kind, held) for kind, held in before if kind is not str and held not in metadata}
    signature = {(str, text) for text in (b"pixels", b"scores", b"serving_default")}
    after = Parts(slim_down(files[name]).content).vectors.values()
    assert set(after) == numbers | signature
    assert len(metadata) == 2
    assert len(before) > len(numbers) + len(model.subgraphs[0].tensors)


def test_buffers_lie_at_multiples_of_16_and_hold_what_they_held(files):
    slim = slim_down(files["int8"])
    before, after = (buffers(file.content) for file in (files["int8"], slim))
    assert {start % 16 for start, _ in before} != {0}
    assert {start % 16 for start, _ in after} == {0}
    values = [held for _, held in after]
    # The last two are metadata.
    assert sorted(values) == sorted(held for _, held in before[:-2])
    # The first is empty, and no other.
    assert len(model_of(slim).buffers) == 1 + len(values)


def test_input_and_output_have_the_names_of_the_signature(files):
    slim = slim_down(files["int8"])
    interpreter = Interpreter(model_content=slim.content)
    names = [tensor["name"] for tensor in interpreter.get_tensor_details()]
    assert [name for name in names if name] == ["pixels", "scores"]
    (takes,), (gives,) = interpreter.get_input_details(), interpreter.get_output_details()
    assert (takes["name"], gives["name"]) == ("pixels", "scores")
    assert interpreter.get_signature_list() == {
        "serving_default": {"inputs": ["pixels"], "outputs": ["scores"]}
    }
    # As it is read from a disk.
    read = names_of(TFLiteFile(slim.content))
    assert {name for _, _, *tensors in read for name in tensors} == {"", "pixels", "scores"}
