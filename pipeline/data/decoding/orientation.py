"""The EXIF orientation of an image: found in its file, and undone."""

import io
import struct

import numpy as np
from PIL import Image

TAG, SHORT = 0x0112, 3
"""Orientation and its type (EXIF 2.3, 4.6.2 and 4.6.4 A)."""


def find_orientation(content: bytes) -> int:
    """Return how the pixels of a file are stored, from 1 (upright) to 8; see `turn_upright`.

    A PNG's EXIF chunk counts where it comes before the pixels, as far as a decoder looks ahead. A
    TIFF is 1 in any case: it says itself how its rows lie, and Pillow decodes it so.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("JPEG", "PNG", "WEBP")) as image:
            return orientation_in(image.info.get("exif", b""))
    except Exception:  # of what has no EXIF data or is damaged Pillow raises nearly every kind
        return 1


def orientation_in(exif: bytes) -> int:
    """Read the orientation from EXIF data, of its first directory as in TIFF 6.0, section 2.

    Returns:
        From 1 to 8; 1 where there is none, or it is none of these.
    """
    data = exif.removeprefix(b"Exif\0\0")
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(data[:4])
    try:
        (start,) = struct.unpack_from(f"{order}I", data, 4)
        (entries,) = struct.unpack_from(f"{order}H", data, start)
        for entry in range(entries):
            tag, kind, _, value = struct.unpack_from(f"{order}HHIH", data, start + 2 + 12 * entry)
            if tag == TAG:
                return value if kind == SHORT and 1 <= value <= 8 else 1
    except struct.error:
        pass
    return 1


def turn_upright(image: np.ndarray, orientation: int) -> np.ndarray:
    """Undo an orientation.

    From 5 on rows are columns. The first row is below with 3, 4, 7 and 8, the first column on the right
    with 2, 3, 6 and 7 (EXIF 2.3, 4.6.4 A, after the exchange of rows and columns).

    Args:
        image: uint8 [height, width, 3], as it is stored.
        orientation: from 1 to 8.

    Returns:
        uint8 [height, width, 3], or [width, height, 3] from 5 on.
    """
    if orientation == 1:
        return image
    pixels = image.view("V3")[..., 0]  # three bytes at once are copied faster than one by one
    pixels = pixels.T if orientation >= 5 else pixels
    below, right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    pixels = pixels[:: -1 if below else 1, :: -1 if right else 1]
    return np.ascontiguousarray(pixels)[..., np.newaxis].view(np.uint8)
