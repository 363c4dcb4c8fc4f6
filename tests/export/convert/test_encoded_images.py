"""Files that are decoded in a graph, against the decoder of training, which has Python beside it."""

import struct

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.convert.encoded_images import read_encoded
from pipeline.config.reading import READING, Reading
from pipeline.data.decoding.resize import read_image
from tests.encodings import ENCODED, enormous, save

SIZE = 16

NOT_SERVED = (
    "palette with alpha",
    *(f"{kind}, one hidden" for kind in ("1-bit grey", "2-bit grey", "4-bit grey", "16-bit RGB")),
)

UNEVEN = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 30, 3), dtype=np.uint8))


def reader(reading: Reading):
    """The graph, traced once: content -> uint8 [SIZE, SIZE, 3]."""
    signature = [tf.TensorSpec([], tf.string)]
    return tf.function(lambda content: read_encoded(content, SIZE, reading), input_signature=signature)


@pytest.fixture(scope="module")
def read():
    return reader(READING)


STORED = Reading(exif_orientation=False)


@pytest.fixture(scope="module")
def read_as_stored():
    return reader(STORED)


def difference(read, content: bytes, reading: Reading = READING) -> int:
    expected = read_image(tf.constant(content), SIZE, reading).numpy().astype(int)
    return np.abs(read(tf.constant(content)).numpy() - expected).max()


SERVED = [name for name in ENCODED if name.endswith((".png", ".jpg")) and not name.startswith(NOT_SERVED)]


def test_every_jpeg_and_png_is_what_training_saw(read):
    assert len(SERVED) > 20
    off = {name: difference(read, ENCODED[name]) for name in SERVED}
    assert {name: levels for name, levels in off.items() if levels > name.endswith(".png")} == {}


@pytest.mark.parametrize("name", [name for name in ENCODED if name not in SERVED])
def test_what_another_decoder_would_get_wrong_is_refused(name, read):
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"must be a JPEG or a PNG|8 bits a sample"):
        read(tf.constant(ENCODED[name]))


@pytest.mark.parametrize("order", ["II", "MM"])
@pytest.mark.parametrize("kind", ["jpeg", "png"])
@pytest.mark.parametrize("turned", range(1, 9))
def test_an_image_is_turned_upright(turned, kind, order, read, read_as_stored):
    """Pillow's own writer has the orientation first, ours behind another entry, in either byte order."""
    form = "<" if order == "II" else ">"
    entries = ((0x010F, 2, 4, b"abc\0"), (0x0112, 3, 1, struct.pack(form + "HH", turned, 0)))
    exif = b"Exif\0\0" + order.encode() + struct.pack(form + "HIH", 42, 8, len(entries))
    exif += b"".join(struct.pack(form + "HHI", *entry[:3]) + entry[3] for entry in entries) + bytes(4)
    content = save(UNEVEN, kind, exif=exif)
    assert difference(read, content) == 0
    assert difference(read_as_stored, content, STORED) == 0
    if turned > 1:
        turned_pixels, stored = read(tf.constant(content)), read(tf.constant(save(UNEVEN, kind)))
        assert (turned_pixels != stored).numpy().any()


def exif_of(*values: bytes) -> bytes:
    return save(UNEVEN, "jpeg", exif=b"Exif\0\0" + b"".join(values))


DAMAGED = {
    "empty": exif_of(),
    "no order": exif_of(b"XX*\0" + bytes(40)),
    "a directory beyond the end": exif_of(b"II*\0", struct.pack("<I", 10**6)),
    "a directory of 3 GB on": exif_of(b"II*\0", struct.pack("<I", 3 * 10**9)),
    "fewer entries than told": exif_of(b"II*\0", struct.pack("<IH", 8, 65535), bytes(30)),
    "orientation 9": exif_of(b"II*\0", struct.pack("<IHHHIHH", 8, 1, 0x0112, 3, 1, 9, 0)),
    "of another type": exif_of(b"II*\0", struct.pack("<IHHHII", 8, 1, 0x0112, 4, 1, 6)),
    "cut inside the value": exif_of(b"II*\0", struct.pack("<IHHHI", 8, 1, 0x0112, 3, 1), b"\x06"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damaged_exif_data_turn_nothing(name, read):
    assert difference(read, DAMAGED[name]) == 0


@pytest.mark.parametrize("way", ["crop", "pad"])
def test_an_image_is_cut_and_resized_as_the_contract_says(way):
    reading = Reading(resize=way, crop_share=0.7, border=3)
    assert difference(reader(reading), save(UNEVEN, "png"), reading) == 0


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"GIF89a",
        b"\xff\xd8\xff",
        b"\x89PNG\r\n\x1a\n",
        ENCODED["RGB plain.jpg"][:200],
        ENCODED["RGB.png"][:100],
        enormous("jpg"),
        enormous("png"),
    ],
    ids=[
        "empty",
        "a GIF",
        "JPEG head",
        "PNG head",
        "half a JPEG",
        "half a PNG",
        "enormous JPEG",
        "enormous PNG",
    ],
)
def test_what_is_no_image_is_an_invalid_argument(content, read):
    with pytest.raises(tf.errors.InvalidArgumentError):
        read(tf.constant(content))
