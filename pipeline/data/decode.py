"""Encoded files into RGB pixels, and pixels into squares of the model's size."""

import io
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.data.image_formats import JPEG, PNG
from pipeline.errors import UserError

RGB, GREY_ALPHA, RGB_ALPHA = 2, 4, 6
"""Colour types of PNG."""

MAX_PIXELS = 178_956_970
"""Half a GiB of RGB: of a larger image, which may be a small file, nothing is decoded."""

# Its own limits, a warning and an error, are these.
Image.MAX_IMAGE_PIXELS = None


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def decode_image(content: tf.Tensor) -> tf.Tensor:
    """Decode a JPEG, PNG, GIF (its first frame) or BMP file, recognised by its first bytes.

    Grey and palette images become RGB; 16-bit samples keep their high byte; transparent pixels
    are composited over white, the paper that cut-out images are drawn for (their hidden colour
    is arbitrary, often black). An EXIF orientation is not applied. The bundle's run.py decodes to
    the same pixels, a JPEG's up to rounding.

    Args:
        content: string scalar, the encoded file.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        tf.errors.InvalidArgumentError: another format, or truncated or corrupt content. Damage
            that leaves a valid stream (a changed byte inside a JPEG or BMP) cannot be seen.
    """

    def jpeg() -> tf.Tensor:
        # The default transform is a faster one that is up to 5 levels off.
        return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")

    def png() -> tf.Tensor:
        rgba = tf.io.decode_png(content, channels=4)
        # Most images are opaque, and blending costs as much as decoding.
        opaque = tf.reduce_min(rgba[..., 3]) == 255
        return tf.cond(opaque, lambda: rgba[..., :3], lambda: transparent_png(rgba))

    def transparent_png(rgba: tf.Tensor) -> tf.Tensor:
        # A colour that stands for transparent is Pillow's part.
        has_alpha = (kind == GREY_ALPHA) | (kind == RGB_ALPHA)
        return tf.cond(has_alpha, lambda: _over_white(rgba), other)

    def other() -> tf.Tensor:
        # TensorFlow ignores a BMP's palette and shows a GIF's transparent pixels black. Declared
        # stateless: deterministic tf.data runs a map that holds a stateful op on one thread.
        return tf.numpy_function(_decode_with_pillow, [content], tf.uint8, stateful=False)

    # Of a PNG, bytes 24 and 25 are the bit depth and the colour type (ISO 15948, 11.2.2).
    header = tf.io.decode_raw(tf.strings.substr(content, 0, 26), tf.uint8)
    depth, kind = header[24], header[25]
    # Of few bits TensorFlow gets the alpha wrong, of deep RGB Pillow sees the high bytes alone.
    is_plain = (depth == 8) | ((depth == 16) & (kind != RGB))
    formats = [(_starts_with(content, JPEG), jpeg), (_starts_with(content, PNG) & is_plain, png)]
    return tf.ensure_shape(tf.case(formats, default=other), [None, None, 3])


def resize_image(image: tf.Tensor, size: int) -> tf.Tensor:
    """Resize the whole image to a square, whatever its shape: all that a device has to do.

    Bilinear; when shrinking, the triangle kernel is widened by the scale (antialiasing).

    Args:
        image: uint8 [height, width, 3], or a batch of such.
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3], or a batch of such, rounded to the nearest level.
    """
    resized = tf.image.resize(image, [size, size], method="bilinear", antialias=True)
    return tf.cast(tf.round(resized), tf.uint8)


def crop_and_resize_image(image: tf.Tensor, box: tf.Tensor, size: int) -> tf.Tensor:
    """Cut out a box and resize it like `resize_image`.

    Args:
        image: uint8 [height, width, 3].
        box: float32 [4], (y1, x1, y2, x2) as shares of height and width in [0, 1]. Edges are
            rounded to whole pixels; the cut is at least one pixel high and wide.
        size: side of the square in pixels.

    Returns:
        uint8 [size, size, 3].
    """
    extent = tf.shape(image)[:2]
    corners = tf.reshape(box, [2, 2]) * tf.cast(extent, tf.float32)
    first, last = tf.unstack(tf.cast(tf.round(corners), tf.int32))
    first = tf.clip_by_value(first, 0, extent - 1)
    last = tf.clip_by_value(last, first + 1, extent)
    return resize_image(image[first[0] : last[0], first[1] : last[1]], size)


def _starts_with(content: tf.Tensor, signature: bytes) -> tf.Tensor:
    # Of an empty string substr raises InvalidArgumentError, which is the answer for an empty file.
    return tf.strings.substr(content, 0, len(signature)) == signature


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """Composite uint8 RGBA over white: round(255 + (colour - 255) * alpha / 255)."""
    colour, alpha = image[..., :3], image[..., 3:]

    opacity = tf.cast(alpha, tf.float32) / 255.0
    blended = 255.0 + (tf.cast(colour, tf.float32) - 255.0) * opacity
    return tf.cast(tf.round(blended), tf.uint8)


def _decode_with_pillow(content: bytes) -> np.ndarray:
    """Decode a GIF, BMP or PNG; uint8 [height, width, 3].

    Raises:
        ValueError: not such a file, or a damaged one; TensorFlow turns it into
            InvalidArgumentError.
    """
    try:
        with Image.open(io.BytesIO(content), formats=("BMP", "GIF", "PNG")) as image:
            check_size(*image.size)
            return np.asarray(_to_rgb(image, bits=content[24]))
    except Exception as error:  # Pillow's readers let many kinds through: struct.error, EOFError...
        raise ValueError(f"not a readable JPEG, PNG, GIF or BMP image: {error}") from None


class DeepRange(NamedTuple):
    """Least and largest sample of a 16-bit image."""

    low: int
    high: int


MIN_DEEP_RANGE = 2**14
"""Least difference of the darkest and the brightest 16-bit sample of an image: 64 of 256 shades."""


def verify_deep_ranges(ranges: Collection[DeepRange], of: str) -> None:
    """Refuse 16-bit images of which most lie in a small part of the range, as of a 12-bit camera.

    Their high bytes, all that is kept, would be one shade or a few.

    Args:
        ranges: of every image of 16 bits a sample, in a folder or set.
        of: what the images are, for the message.

    Raises:
        UserError: more than half of them span less than `MIN_DEEP_RANGE` each.
    """
    narrow = [found for found in ranges if found.high - found.low < MIN_DEEP_RANGE]
    if 2 * len(narrow) > len(ranges):
        low, high = min(found.low for found in narrow), max(found.high for found in narrow)
        raise UserError(
            f"most 16-bit images must span at least {MIN_DEEP_RANGE:,} of 0 to 65,535, as their high byte "
            f"alone is kept; received {low:,} to {high:,} in {len(narrow):,} of {len(ranges):,} of {of} "
            "(stretch them first, and in the same way what the device will see: ImageMagick's mogrify -level "
            f"{low},{max(high, low + 1)})"
        )


def deep_range(content: bytes) -> DeepRange | None:
    """Measure the colours of a PNG of 16 bits a sample, alpha aside; None of any other file.

    Raises:
        tf.errors.InvalidArgumentError: truncated or corrupt content.
    """
    if not content.startswith(PNG) or content[24] != 16:
        return None
    colours = 3 if content[25] & RGB else 1
    samples = tf.io.decode_png(content, dtype=tf.uint16).numpy()[..., :colours]
    return DeepRange(int(samples.min()), int(samples.max()))


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
    rgba = image.convert("RGBA")
    if image.format == "BMP" and not np.asarray(rgba)[..., 3].any():
        # The fourth byte is unused, whatever the header says, or nothing would be seen.
        return rgba.convert("RGB")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")
