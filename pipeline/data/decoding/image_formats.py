"""Image formats by their first bytes: those that are read, and those that are known and are not."""

import re

JPEG, PNG, GIF, BMP = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM"
TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

BASIC = {"JPEG": re.escape(JPEG), "PNG": re.escape(PNG), "GIF": re.escape(GIF), "BMP": re.escape(BMP)}
ALL = {**BASIC, "WEBP": rb"RIFF....WEBP", "TIFF": rb"(II\*\0|MM\0\*)(?!....CR)|II\+\0|MM\0\+"}
"""Format that is read, by Pillow's name -> how its files begin. An earlier version knew the `BASIC` ones."""

READ = "JPEG, PNG, GIF, BMP, WebP or TIFF"

HEAD_BYTES = 1024
"""As many first bytes of a file tell its format, at most."""

UNREAD = {
    # Brands of the ISO base media file format (ISO 23008-12, B.4; AV1 Image File Format, 6).
    "HEIC": rb"....ftyp(hei[cxms]|hev[cx]|mif1|msf1)",
    "AVIF": rb"....ftypavi[fs]",
    "camera RAW": rb"....ftypcrx |(II\*\0|MM\0\*)....CR|FUJIFILMCCD-RAW|IIR[OS]|MMOR|IIU\0|FOVb|\0MRM"
    rb"|II\x1a\0\0\0HEAPCCDR",
    "SVG": rb"(\xef\xbb\xbf)?\s*(<\?xml|<!--|<!DOCTYPE\s+svg)?(?(2)[^\0]*?)<svg[\s>]",
    "Photoshop": rb"8BP[SB]",
    "GIMP": rb"gimp xcf",
    "JPEG XL": rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n",
    "JPEG 2000": rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51",
    "OpenEXR": rb"\x76\x2f\x31\x01",
    "ICO": rb"\0\0\x01\0",
    "DICOM": rb".{128}DICM",
    "PNM": rb"P[1-6]\s+(#[^\n]*\s+)*\d",
    **{{"WEBP": "WebP"}.get(name, name): begins for name, begins in ALL.items() if name not in BASIC},
}
"""Format -> how its files begin, the first that fits; all are known, and not read unless `ALL` has them."""

_ENDING = {"camera RAW": "dng", "Photoshop": "psd", "GIMP": "xcf", "JPEG XL": "jxl", "JPEG 2000": "jp2"}
"""How the names of files end where that is not the format's own."""

_PHOTOGRAPHS = ("HEIC", "AVIF", "camera RAW", "JPEG XL")

_COMPILED = {begins: re.compile(begins, re.DOTALL) for begins in (*ALL.values(), *UNREAD.values())}


def format_of(head: bytes, formats: dict[str, bytes] = ALL) -> str | None:
    """Name the format of a file, one of `formats`.

    Args:
        head: its first `HEAD_BYTES`, or all of it.
        formats: name -> how its files begin.
    """
    return next((name for name, begins in formats.items() if _COMPILED[begins].match(head)), None)


def not_read(name: str) -> str:
    """Say that a format of `UNREAD` is not read, and what to do."""
    target, wanted = ("JPEG", "jpg") if name in _PHOTOGRAPHS else ("PNG", "png")
    ending = _ENDING.get(name, name.lower())
    how = f"convert to {target}, as ImageMagick's mogrify -format {wanted} *.{ending} does"
    return f"{name}, which is not read ({how})"


NOT_READ = {not_read(name): name for name in UNREAD}
"""What is said of an image in a format that is known and not read -> the format."""
