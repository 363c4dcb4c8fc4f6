"""A .tflite file without what no device reads."""

from dataclasses import replace

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from pipeline.tflite.file import TFLiteFile

BUFFER_ALIGNMENT = 16
"""Bytes, of what a buffer holds: `force_align` of `Buffer.data` in TFLite's schema.fbs."""


def slim_down(file: TFLiteFile) -> TFLiteFile:
    """Write a file anew, smaller, with the same operations, weights, scales and zero points.

    Left out are the names of tensors, which are kept beside the content; input and output take those
    of the signature. Left out are the description and the metadata too: the converter's version, and
    the runtime's, which follows from the versions of the operations. Tensors without values share
    buffer 0, which is empty by the schema. Equal vectors are written once: LiteRT wants as many zero
    points as scales, but those of a kernel are all 0. Buffers lie at multiples of `BUFFER_ALIGNMENT`.

    A slim file stays as it is.
    """
    model = schema.ModelT.InitFromPackedBuf(file.content)
    (subgraph,) = model.subgraphs
    names = tuple(tensor.name.decode() if tensor.name else "" for tensor in subgraph.tensors)
    for tensor in subgraph.tensors:
        tensor.name = None
    for signature in model.signatureDefs:
        for end in (*signature.inputs, *signature.outputs):
            subgraph.tensors[end.tensorIndex].name = end.name
    subgraph.name = model.description = model.metadata = None
    _keep_filled_buffers(model)
    builder = AligningBuilder(file.size)
    builder.Finish(model.Pack(builder), b"TFL3")
    return replace(file, content=bytes(builder.Output()), tensor_names=file.tensor_names or names)


def _keep_filled_buffers(model: schema.ModelT) -> None:
    """Keep buffer 0 and those that hold a tensor's values."""
    places = {0: 0}
    for tensor in model.subgraphs[0].tensors:
        filled = model.buffers[tensor.buffer].data is not None
        tensor.buffer = places.setdefault(tensor.buffer, len(places)) if filled else 0
    model.buffers = [model.buffers[place] for place in places]


class AligningBuilder(flatbuffers.Builder):
    """Writes equal vectors and strings once, and aligns what the schema's `force_align` is for.

    Python's generated code does neither.
    """

    __slots__ = ("_written",)

    def __init__(self, size: int) -> None:
        super().__init__(size)
        self._written: dict[tuple[str, bytes], int] = {}

    def StartVector(self, elemSize: int, numElems: int, alignment: int) -> int:
        """Begin a vector, at a multiple of `BUFFER_ALIGNMENT` if of bytes: only buffers hold such."""
        return super().StartVector(elemSize, numElems, BUFFER_ALIGNMENT if elemSize == 1 else alignment)

    def CreateNumpyVector(self, x: np.ndarray) -> int:
        """Write a vector, or find where an equal one was written."""
        key = x.dtype.str, x.tobytes()
        if key not in self._written:
            self._written[key] = super().CreateNumpyVector(x)
        return self._written[key]

    def CreateString(self, s: bytes) -> int:
        """Write a string, or find where an equal one was written."""
        key = "string", s
        if key not in self._written:
            self._written[key] = super().CreateString(s)
        return self._written[key]
