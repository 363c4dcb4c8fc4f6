"""Formats by their first bytes: written by Pillow where it can, else as their specifications begin."""

import io

import numpy as np
import pytest
from PIL import Image

from pipeline.data.image_formats import HEAD_BYTES, READ, SIGNATURES, remedy, unread_format

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
        assert unread_format(head + bytes(50)) == name
        # It begins so, or is another file that has it somewhere.
        assert unread_format(b"x" + head + bytes(50)) is None


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
    assert unread_format(buffer.getvalue()[:HEAD_BYTES]) == name


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
    assert unread_format(head) is None


def test_no_format_is_read_and_unread():
    assert not [signature for signature in SIGNATURES if unread_format(signature + bytes(200))]
    assert READ == "JPEG, PNG, GIF or BMP"


def test_the_remedy_names_the_files():
    assert remedy("HEIC") == "convert to JPEG, as ImageMagick's mogrify -format jpg *.heic does"
    assert remedy("SVG") == "convert to PNG, as ImageMagick's mogrify -format png *.svg does"
