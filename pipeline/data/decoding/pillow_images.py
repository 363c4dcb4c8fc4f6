"""What Pillow decodes to RGB, as the bundle's run.py does: what TensorFlow decodes in part or not at all."""

import io
import warnings

import numpy as np
from PIL import Image

from pipeline.data.decoding.image_formats import HEAD_BYTES, READ, format_of, not_read

MAX_PIXELS = 178_956_970
"""Half a GiB of RGB: of a larger image, which may be a small file, nothing is decoded."""

# Its own limits, a warning and an error, are these.
Image.MAX_IMAGE_PIXELS = None
# What it warns about it decodes all the same.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")

TIFF_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "I;16", "I;16B")
"""Pillow's modes of the TIFFs that are read: grey, palettes, colours and inks of up to 16 bits."""

DNG_VERSION, SUBFILE, PHOTOMETRIC, LINEAR_RAW = 50706, 254, 262, 34892
"""Tags that tell a camera's raw file from an image, and a value (TIFF 6.0, section 8; Adobe DNG 1.6)."""


def decode_with_pillow(content: bytes) -> np.ndarray:
    """Decode a GIF, BMP, WebP or TIFF (of several images the first) or a PNG; uint8 [height, width, 3].

    Raises:
        ValueError: not such a file, or a damaged one; TensorFlow turns it into
            InvalidArgumentError.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("BMP", "GIF", "PNG", "WEBP", "TIFF")) as image:
            verify_fit(image, content[:HEAD_BYTES])
            return np.asarray(_to_rgb(image, bits=content[24]))
    except Exception as error:  # Pillow's readers let many kinds through: struct.error, EOFError...
        raise ValueError(f"not a readable {READ} image: {error}") from None


def verify_fit(image: Image.Image, head: bytes) -> None:
    """Hold an opened image to what is decoded; `head` is how its file begins.

    Raises:
        ValueError: it has too many pixels, is the preview in a camera's raw file, or a TIFF with
            samples of another kind.
    """
    check_size(*image.size)
    if image.format != "TIFF":
        return
    tags = image.tag_v2  # type: ignore[attr-defined]  # of a TIFF
    is_reduced, is_linear_raw = tags.get(SUBFILE, 0) & 1, tags.get(PHOTOMETRIC) == LINEAR_RAW
    if format_of(head) is None or DNG_VERSION in tags or is_reduced or is_linear_raw:
        raise ValueError(not_read("camera RAW"))
    if image.mode not in TIFF_MODES:
        raise ValueError(f"a TIFF must have up to 16 bits a sample, grey, RGB or CMYK; received {image.mode}")


def check_size(width: int, height: int) -> None:
    """Hold an image to `MAX_PIXELS`.

    Raises:
        ValueError: it has more.
    """
    if width * height > MAX_PIXELS:
        raise ValueError(f"{width:,} x {height:,} pixels are more than {MAX_PIXELS:,}")


def _to_rgb(image: Image.Image, bits: int) -> Image.Image:
    """Composite over white, as export/device/run.py does; `bits` a sample is for PNG."""
    hidden = image.info.get("transparency")
    if image.mode.startswith("I"):
        samples = np.asarray(image)
        shown = samples >> 8 if hidden is None else np.where(samples == hidden, 255, samples >> 8)
        return Image.fromarray(shown.astype(np.uint8)).convert("RGB")
    if hidden is not None and image.format == "PNG":
        # A colour stands for transparent in the file's own bits, which Pillow compares with 8.
        if image.mode in ("1", "L") and bits < 8:
            image = image.convert("L")
            image.info["transparency"] = hidden * (255 // (2**bits - 1))
        elif image.mode == "RGB" and bits == 16:
            image.info["transparency"] = tuple(sample >> 8 for sample in hidden)
    if image.mode in ("RGB", "L", "CMYK", "YCbCr", "RGBX") and "transparency" not in image.info:
        return image.convert("RGB")
    rgba = image.convert("RGBA")
    if image.format == "BMP" and not np.asarray(rgba)[..., 3].any():
        # The fourth byte is unused, whatever the header says, or nothing would be seen.
        return rgba.convert("RGB")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")
