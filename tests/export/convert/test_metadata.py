"""TFLite Metadata: what MediaPipe asks for is there, and the network is as it was."""

import io
import struct
import zipfile

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from export.convert.metadata import with_metadata
from tests.export.convert.samples import IMAGES, buffers

NAMES = ["cat", "sea  lion", "犬"]


def follow(content: bytes, *slots: int) -> int:
    """Walk a FlatBuffer from its root, by its published format; vectors of tables give their first.

    Returns:
        Place of the last slot, 0 where a table has none.
    """
    place = struct.unpack_from("<I", content, 0)[0]
    for step, slot in enumerate(slots):
        if step:
            place += struct.unpack_from("<I", content, place)[0]
            if slot < 0:  # into a vector of tables
                place += 4
                continue
        fields = place - struct.unpack_from("<i", content, place)[0]
        inside = struct.unpack_from("<H", content, fields + 4 + 2 * slot)[0]
        if not inside:
            return 0
        place += inside
    return place


def metadata_of(content: bytes) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(content)
    (place,) = [entry.buffer for entry in model.metadata if entry.name == b"TFLITE_METADATA"]
    return bytes(model.buffers[place].data)


def text(content: bytes, place: int) -> str:
    start = place + struct.unpack_from("<I", content, place)[0]
    return content[start + 4 :][: struct.unpack_from("<I", content, start)[0]].decode()


def number(content: bytes, place: int) -> float:
    """The only number of a vector of floats."""
    start = place + struct.unpack_from("<I", content, place)[0]
    assert struct.unpack_from("<I", content, start)[0] == 1
    return struct.unpack_from("<f", content, start + 4)[0]


INSIDE = -1
PIXELS, SCORES = (3, INSIDE, 2, INSIDE), (3, INSIDE, 3, INSIDE)


def test_normalisation_and_labels_are_told_as_the_schema_has_it(files):
    metadata = metadata_of(with_metadata(files["float32"], NAMES).content)
    assert metadata[4:8] == b"M001"
    assert text(metadata, follow(metadata, 7)) == "1.0.0"
    assert text(metadata, follow(metadata, *PIXELS, 0)) == "pixels"
    assert metadata[follow(metadata, *PIXELS, 3, 0)] == 2  # image properties
    assert metadata[follow(metadata, *PIXELS, 3, 1, 0)] == 1  # RGB
    assert metadata[follow(metadata, *PIXELS, 4, INSIDE, 0)] == 1  # normalisation
    mean, deviation = (follow(metadata, *PIXELS, 4, INSIDE, 1, slot) for slot in (0, 1))
    assert (number(metadata, mean), number(metadata, deviation)) == (0, 1)
    most, least = (follow(metadata, *PIXELS, 5, slot) for slot in (0, 1))
    assert (number(metadata, least), number(metadata, most)) == (0, 255)
    assert text(metadata, follow(metadata, *SCORES, 6, INSIDE, 0)) == "labels.txt"
    assert metadata[follow(metadata, *SCORES, 6, INSIDE, 2)] == 2  # names along the axis


def test_labels_lie_uncompressed_behind_the_network(files):
    content = with_metadata(files["float32"], NAMES).content
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        (entry,) = archive.infolist()
        assert (entry.filename, entry.compress_type) == ("labels.txt", zipfile.ZIP_STORED)
        assert archive.read(entry).decode() == "cat\nsea lion\n犬\n"


def test_scores_and_weights_are_the_same_bits(files):
    file = files["float32"]
    told = with_metadata(file, NAMES)
    np.testing.assert_array_equal(told.predict(IMAGES), file.predict(IMAGES))
    kept = {values for _, values in buffers(told.content)}
    assert {values for _, values in buffers(file.content)} <= kept
    assert with_metadata(file, NAMES).content == told.content  # and no clock in it


@pytest.mark.parametrize("name", ["int8", "int16"])
def test_a_file_of_integers_stays_as_it_is(files, name):
    assert with_metadata(files[name], NAMES) is files[name]
