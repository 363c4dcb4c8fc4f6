"""The constants in a .tflite file, weights among them: read, and replaced by others."""

from collections.abc import Mapping

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_TYPES = {schema.TensorType.FLOAT32: np.float32, schema.TensorType.INT32: np.int32}


def pack(model: schema.ModelT) -> bytes:
    """Write the objects of the schema as a .tflite file."""
    builder = flatbuffers.Builder(1 << 20)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def read_constants(content: bytes) -> dict[int, np.ndarray]:
    """Read all constants of float32 and of int32: place of the tensor -> values, in its shape."""
    model = schema.ModelT.InitFromPackedBuf(content)
    constants = {}
    for place, tensor in enumerate(model.subgraphs[0].tensors):
        data = model.buffers[tensor.buffer].data
        if data is not None and len(data) and tensor.type in _TYPES:
            constants[place] = np.frombuffer(bytes(data), _TYPES[tensor.type]).reshape(tensor.shape)
    return constants


def replace_constants(content: bytes, values: Mapping[int, np.ndarray]) -> bytes:
    """Return the file with other values in some of its constants.

    Args:
        content: the file.
        values: place of the tensor -> values, of the shape and type that it has.
    """
    model = schema.ModelT.InitFromPackedBuf(content)
    for place, array in values.items():
        # In a buffer of its own, for others may hold the same values and have shared one.
        model.subgraphs[0].tensors[place].buffer = len(model.buffers)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(array).tobytes(), np.uint8)
        model.buffers.append(buffer)
    return pack(model)
