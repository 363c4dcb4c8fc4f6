"""TFLite Metadata in a .tflite file: what MediaPipe and Android's tools read of labels and pixels."""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import replace

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema
from flatbuffers.number_types import UOffsetTFlags

from export.convert.slim import AligningBuilder
from pipeline.tflite.file import TFLiteFile

NAME, IDENTIFIER, PARSER = "TFLITE_METADATA", b"M001", "1.0.0"

LABELS = "labels.txt"

# Values of the schema (tensorflow/lite/support metadata_schema.fbs, version 1.5.0).
_FEATURE_PROPERTIES, _IMAGE_PROPERTIES = 1, 2
_RGB = 1
_NORMALIZATION_OPTIONS = 1
_TENSOR_AXIS_LABELS = 2

Field = tuple[int, str, int]
"""Of a table: slot, `offset`, `int8` or `uint8`, and the value."""


def with_metadata(file: TFLiteFile, class_names: Sequence[str]) -> TFLiteFile:
    """Embed labels and normalisation in a file with float pixels as input; any other stays as it is.

    MediaPipe's image classifier refuses a float input of which the normalisation is not told, and an
    int8 or int16 input altogether; on a microcontroller nothing reads it. The labels lie behind the
    network, as an uncompressed zip archive that begins where the network ends.

    Args:
        file: input float32 [1, height, width, 3].
        class_names: label -> name.
    """
    if file.graph.input.dtype != "float32":
        return file
    model = schema.ModelT.InitFromPackedBuf(file.content)
    buffer = schema.BufferT()
    buffer.data = np.frombuffer(build_metadata(), np.uint8)
    model.buffers.append(buffer)
    entry = schema.MetadataT()
    entry.name, entry.buffer = NAME, len(model.buffers) - 1
    model.metadata = [*(model.metadata or []), entry]
    builder = AligningBuilder(file.size)
    builder.Finish(model.Pack(builder), b"TFL3")
    archive = io.BytesIO(bytes(builder.Output()))
    labels = "".join(f"{' '.join(name.split())}\n" for name in class_names)
    with zipfile.ZipFile(archive, "a") as files:
        files.writestr(zipfile.ZipInfo(LABELS), labels)  # which tells no time of its making
    return replace(file, content=archive.getvalue())


def build_metadata() -> bytes:
    """Build the metadata of a network of RGB pixels in [0, 255], which it normalises itself.

    real = (pixel - mean) / std, with mean 0 and std 1; the output's axis is named by `LABELS`.
    """
    builder = flatbuffers.Builder(512)
    zero, one, most = (_floats(builder, value) for value in (0, 1, 255))
    normalization = _table(builder, 2, (0, "offset", zero), (1, "offset", one))
    unit = _table(builder, 2, (0, "uint8", _NORMALIZATION_OPTIONS), (1, "offset", normalization))
    image = _table(builder, 2, (0, "int8", _RGB))
    content = _table(builder, 3, (0, "uint8", _IMAGE_PROPERTIES), (1, "offset", image))
    stats = _table(builder, 4, (0, "offset", most), (1, "offset", zero))
    pixels = _table(
        builder,
        7,
        (0, "offset", builder.CreateString("pixels")),
        (3, "offset", content),
        (4, "offset", _tables(builder, unit)),
        (5, "offset", stats),
    )
    labels = _table(builder, 5, (0, "offset", builder.CreateString(LABELS)), (2, "int8", _TENSOR_AXIS_LABELS))
    features = _table(builder, 3, (0, "uint8", _FEATURE_PROPERTIES), (1, "offset", _table(builder, 0)))
    scores = _table(
        builder,
        7,
        (0, "offset", builder.CreateString("scores")),
        (3, "offset", features),
        (6, "offset", _tables(builder, labels)),
    )
    ends = (2, "offset", _tables(builder, pixels)), (3, "offset", _tables(builder, scores))
    subgraph = _tables(builder, _table(builder, 10, *ends))
    parser = builder.CreateString(PARSER)
    builder.Finish(_table(builder, 8, (3, "offset", subgraph), (7, "offset", parser)), IDENTIFIER)
    return bytes(builder.Output())


def _table(builder: flatbuffers.Builder, slots: int, *fields: Field) -> int:
    builder.StartObject(slots)
    for slot, kind, value in fields:
        if kind == "offset":
            builder.PrependUOffsetTRelativeSlot(slot, UOffsetTFlags.py_type(value), 0)
        else:
            getattr(builder, f"Prepend{kind.capitalize()}Slot")(slot, value, 0)
    return builder.EndObject()


def _tables(builder: flatbuffers.Builder, table: int) -> int:
    """A vector of one table."""
    builder.StartVector(4, 1, 4)
    builder.PrependUOffsetTRelative(table)
    return builder.EndVector()


def _floats(builder: flatbuffers.Builder, value: float) -> int:
    return builder.CreateNumpyVector(np.array([value], np.float32))
