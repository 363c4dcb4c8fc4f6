"""Formats by their first bytes: written by Pillow where it can, else as their specifications begin."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.data.decoding.image_formats import ALL, BASIC, HEAD_BYTES, UNREAD, format_of, not_read

BEGINNINGS = {
    "HEIC": [b"\0\0\0\x18ftypheic", b"\0\0\0\x1cftypmif1", b"\0\0\0\x24ftyphevc"],
    "AVIF": [b"\0\0\0\x1cftypavif", b"\0\0\0\x2cftypavis"],
    "camera RAW": [
        *(b"\0\0\0\x18ftypcrx ", b"II*\0\x10\0\0\0CR\2\0", b"FUJIFILMCCD-RAW 0201", b"IIRO\x08\0\0\0"),
        *(b"IIU\0\x18\0\0\0", b"FOVb", b"\0MRM\0", b"II\x1a\0\0\0HEAPCCDR"),
    ],
    "SVG": [
        *(
            b"<svg xmlns=",
            b"\xef\xbb\xbf\n <svg>",
            b'<?xml version="1.0"?>\n<!-- made by hand -->\n<svg width=',
        ),
        b'<!DOCTYPE svg PUBLIC "-//W3C//DTD SVG 1.1//EN">\n<svg ',
    ],
    "Photoshop": [b"8BPS\0\1", b"8BPB\0\2"],
    "GIMP": [b"gimp xcf v011"],
    "JPEG XL": [b"\xff\x0a\x01", b"\0\0\0\x0cJXL \r\n\x87\n"],
    "OpenEXR": [b"\x76\x2f\x31\x01\2\0\0\0"],
    "DICOM": [bytes(128) + b"DICM\2\0"],
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_a_format_is_known_by_how_its_files_begin(name):
    for head in BEGINNINGS[name]:
        assert format_of(head + bytes(50), UNREAD) == name
        assert format_of(head + bytes(50)) is None
        # It begins so, or is another file that has it somewhere.
        assert format_of(b"x" + head + bytes(50), UNREAD) is None


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("AVIF", "AVIF"),
        ("WEBP", "WebP"),
        ("TIFF", "TIFF"),
        ("JPEG2000", "JPEG 2000"),
        ("ICO", "ICO"),
        ("PPM", "PNM"),
    ],
)
def test_what_pillow_writes_is_known(kind, name):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(buffer, kind)
    head = buffer.getvalue()[:HEAD_BYTES]
    assert format_of(head, UNREAD) == name
    assert format_of(head) == (kind if kind in ALL else None)
    assert format_of(head, BASIC) is None


@pytest.mark.parametrize(
    "head",
    [
        b"",
        b"path,label\n",
        b"<?xml version='1.0'?><annotation>",
        b"<html><body><svg>",
        b"P1 is the first",
        b"%PDF-1.7",
    ],
)
def test_what_is_no_image_has_no_name(head):
    assert format_of(head) is None
    assert format_of(head, UNREAD) is None


@pytest.mark.parametrize("kind", BASIC)
def test_what_an_earlier_version_read_is_read(kind):
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((16, 16, 3), np.uint8)).save(buffer, kind)
    head = buffer.getvalue()[:HEAD_BYTES]
    assert format_of(head) == format_of(head, BASIC) == kind
    assert format_of(head, UNREAD) is None


def test_the_remedy_names_the_files():
    says = "HEIC, which is not read (convert to JPEG, as ImageMagick's mogrify -format jpg *.heic does)"
    assert not_read("HEIC") == says
    assert "(convert to PNG, as ImageMagick's mogrify -format png *.psd does)" in not_read("Photoshop")
