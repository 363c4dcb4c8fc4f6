"""Image formats by their first bytes: those that are read, and those that are known and are not."""

import re

JPEG, PNG, GIF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
SIGNATURES = (JPEG, PNG, GIF, BMP)
"""First bytes of every format that is read."""

READ = "JPEG, PNG, GIF or BMP"

HEAD_BYTES = 1024
"""As many first bytes of a file tell its format, at most."""

UNREAD = {
    # Brands of the ISO base media file format (ISO 23008-12, B.4; AV1 Image File Format, 6).
    "HEIC": rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)",
    "AVIF": rb"....ftypavi[fs]",
    "camera RAW": rb"....ftypcrx |(II\*\0|MM\0\*)....CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM"
    rb"|II\x1a\0\0\0HEAPCCDR",
    "TIFF": rb"II\*\0|MM\0\*|II\+\0|MM\0\+",
    "WebP": rb"RIFF....WEBP",
    "SVG": rb"(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE\s+svg)?(?(2)[^\0]*?)<svg[\s>]",
    "Photoshop": rb"8BP[SB]",
    "GIMP": rb"gimp xcf",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "ICO": rb"\0\0\x01\0",
    "DICOM": rb".{128}DICM",
    "PNM": rb"P[1-6]\s+(#[^\n]*\s+)*\d",
}
"""Format -> how its files begin, the first that fits; all of them are known and not read."""

_BEGINS = {name: re.compile(beginning, re.DOTALL) for name, beginning in UNREAD.items()}

_ENDING = {"camera RAW": "dng", "Photoshop": "psd", "GIMP": "xcf", "JPEG XL": "jxl", "JPEG 2000": "jp2"}
"""How the names of files end where that is not the format's own."""

_PHOTOGRAPHS = ("HEIC", "AVIF", "camera RAW", "JPEG XL")


def unread_format(head: bytes) -> str | None:
    """Name the format of a file that is an image and is not read.

    Args:
        head: its first `HEAD_BYTES`, or all of it.
    """
    return next((name for name, begins in _BEGINS.items() if begins.match(head)), None)


def remedy(name: str) -> str:
    """Say what to do with images of one of the formats of `UNREAD`."""
    target, wanted = ("JPEG", "jpg") if name in _PHOTOGRAPHS else ("PNG", "png")
    ending = _ENDING.get(name, name.lower())
    return f"convert to {target}, as ImageMagick's mogrify -format {wanted} *.{ending} does"
