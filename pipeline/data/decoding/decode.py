"""Encoded files into RGB pixels."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf

from pipeline.data.decoding.image_formats import JPEG, PNG
from pipeline.data.decoding.orientation import find_orientation, turn_upright
from pipeline.data.decoding.pillow_images import decode_with_pillow

GREY, RGB, GREY_ALPHA, RGB_ALPHA = 0, 2, 4, 6
"""Colour types of PNG."""


def decode_image(content: tf.Tensor, *, upright: bool = True) -> tf.Tensor:
    """Decode a JPEG, PNG, GIF, BMP, WebP or TIFF file, of several images in it the first.

    Grey and palette images become RGB; 16-bit samples keep their high byte; transparent pixels
    are composited over white, the paper that cut-out images are drawn for (their hidden colour
    is arbitrary, often black). The bundle's run.py decodes to the same pixels, a JPEG's up to rounding.

    Args:
        content: string scalar, the encoded file.
        upright: turn the image as its EXIF orientation says.

    Returns:
        uint8 [height, width, 3], RGB.

    Raises:
        tf.errors.InvalidArgumentError: another format, or truncated or corrupt content. Damage
            that leaves a valid stream (a changed byte inside a JPEG or BMP) cannot be seen.
    """
    return _decode_upright(content) if upright else _decode_as_stored(content)


HEADER_BYTES = 91
"""As many first bytes of a file tell whether it can have EXIF data."""

_ANY = -1


def _beginning(head: bytes, at: dict[int, bytes]) -> list[int]:
    """First bytes of a file: `head`, what `at` has from each place on, and otherwise `_ANY`."""
    row = [*head, *[_ANY] * (HEADER_BYTES - len(head))]
    for place, values in at.items():
        row[place : place + len(values)] = values
    return row


_JPEG_WITHOUT_EXIF = (
    _beginning(b"\xff\xd8\xff\xdb", {}),
    _beginning(b"\xff\xd8\xff\xe0\x00\x10", {20: b"\xff\xdb"}),
)
"""A table of quantisation follows the start or JFIF's segment of 16 bytes; EXIF's would come before it
(EXIF 2.3, 4.5.4)."""

_PNG_WITHOUT_EXIF = (
    *(_beginning(PNG, {24: bytes([16, kind]), 37: b"IDAT"}) for kind in (GREY, GREY_ALPHA, RGB_ALPHA)),
    _beginning(PNG, {24: b"\x08", 37: b"IDAT"}),
    _beginning(PNG, {24: b"\x08", 37: b"pHYs", 58: b"IDAT"}),
    _beginning(PNG, {24: b"\x08", 37: b"sRGB", 50: b"IDAT"}),
    _beginning(PNG, {24: b"\x08", 37: b"sRGB", 50: b"pHYs", 71: b"IDAT"}),
    _beginning(PNG, {24: b"\x08", 37: b"sRGB", 50: b"gAMA", 66: b"IDAT"}),
    _beginning(PNG, {24: b"\x08", 37: b"sRGB", 50: b"gAMA", 66: b"pHYs", 87: b"IDAT"}),
    _beginning(PNG, {24: b"\x08", 37: b"gAMA", 53: b"IDAT"}),
)
"""The pixels follow the header, or what most writers put between. Its bytes 24 and 25 are depth and colour
type, of those that TensorFlow reads."""

_BEGINNINGS = np.array([*_JPEG_WITHOUT_EXIF, *_PNG_WITHOUT_EXIF])


def _fit_beginnings(content: tf.Tensor, beginnings: np.ndarray) -> tf.Tensor:
    """Compare a file with int [n, HEADER_BYTES]; bool [n]."""
    header = tf.strings.substr(content, 0, HEADER_BYTES)
    header = tf.io.decode_raw(header, tf.uint8, fixed_length=HEADER_BYTES)
    return tf.reduce_all((header == beginnings.astype(np.uint8)) | (beginnings == _ANY), axis=1)


def is_jpeg(content: tf.Tensor) -> tf.Tensor:
    """Whether a file (string scalar) begins like a JPEG: bool scalar."""
    return _starts_with(content, JPEG)


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def jpeg_orientation(content: tf.Tensor) -> tf.Tensor:
    """Find how the pixels of a JPEG (string scalar) are stored: int32 scalar, see `find_orientation`."""

    def look() -> tf.Tensor:
        found = tf.numpy_function(
            lambda file: np.int32(find_orientation(file)), [content], tf.int32, stateful=False
        )
        return tf.ensure_shape(found, [])

    has_none = tf.reduce_any(_fit_beginnings(content, np.array(_JPEG_WITHOUT_EXIF)))
    return tf.cond(has_none, lambda: tf.constant(1), look)


def decode_jpeg_window(content: tf.Tensor, window: tf.Tensor, reduction: int) -> tf.Tensor:
    """Decode a part of a JPEG as it is stored, at full size or at a part of it.

    Args:
        content: string scalar, the encoded file.
        window: int32 [4], top, left, height and width, in pixels of the reduced image.
        reduction: 1, 2, 4 or 8.

    Returns:
        uint8 [height, width, 3], RGB; as of `decode_image` where it is not reduced.
    """
    top, left, height, width = tf.unstack(window)
    # Colours are interpolated between columns: at an edge of what is decoded, one neighbour is missing.
    first = tf.maximum(left - MARGIN, 0)
    last = tf.minimum(left + width + MARGIN, -(-tf.io.extract_jpeg_shape(content)[1] // reduction))
    wider = tf.stack([top, first, height, last - first])
    decoded = tf.io.decode_and_crop_jpeg(
        content, wider, channels=3, ratio=reduction, dct_method="INTEGER_ACCURATE"
    )
    return decoded[:, left - first : left - first + width]


MARGIN = 2
"""Columns beside a window that are decoded with it: as many as one of the colours' takes, in most JPEGs."""


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def _decode_upright(content: tf.Tensor) -> tf.Tensor:
    # A look at the header costs nothing beside decoding; a branch that turned images in the graph cost a
    # fifth, also where it was not taken.
    plain_jpeg, plain_png = tf.split(
        _fit_beginnings(content, _BEGINNINGS), [len(_JPEG_WITHOUT_EXIF), len(_PNG_WITHOUT_EXIF)]
    )
    formats = [
        (tf.reduce_any(plain_jpeg), lambda: _decode_jpeg(content)),
        (tf.reduce_any(plain_png), lambda: _decode_png(content)),
    ]
    decoded = tf.case(formats, default=lambda: _stateless(_decode_and_turn, content))
    return tf.ensure_shape(decoded, [None, None, 3])


def _decode_and_turn(content: bytes) -> np.ndarray:
    """Decode what may have EXIF data, by the same kernels.

    Raises:
        ValueError: it cannot be decoded; TensorFlow turns it into InvalidArgumentError.
    """
    try:
        with tf.device("CPU"):  # eager operations would move to a GPU
            if content.startswith(JPEG):
                image = _decode_jpeg(content).numpy()
            elif content.startswith(PNG) and _is_plain(*content[24:26].ljust(2, b"\0")):
                image = np.asarray(_decode_png(content))
            else:
                image = _by_pillow(content)
    except tf.errors.OpError as error:
        raise ValueError(error.message) from None
    return turn_upright(image, find_orientation(content))


def _is_plain(depth: int | tf.Tensor, kind: int | tf.Tensor) -> bool | tf.Tensor:
    # Of few bits TensorFlow gets the alpha wrong, of deep RGB Pillow sees the high bytes alone.
    return (depth == 8) | ((depth == 16) & (kind != RGB))


@tf.function(input_signature=[tf.TensorSpec([], tf.string)], autograph=False)
def _decode_as_stored(content: tf.Tensor) -> tf.Tensor:
    # Of a PNG, bytes 24 and 25 are the bit depth and the colour type (ISO 15948, 11.2.2).
    header = tf.io.decode_raw(tf.strings.substr(content, 0, 26), tf.uint8)
    formats = [
        (_starts_with(content, JPEG), lambda: _decode_jpeg(content)),
        (_starts_with(content, PNG) & _is_plain(header[24], header[25]), lambda: _decode_png(content)),
    ]
    decoded = tf.case(formats, default=lambda: _by_pillow(content))
    return tf.ensure_shape(decoded, [None, None, 3])


def _decode_jpeg(content: tf.Tensor | bytes) -> tf.Tensor:
    # The default transform is a faster one that is up to 5 levels off.
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(content: tf.Tensor | bytes) -> tf.Tensor:
    rgba = tf.io.decode_png(content, channels=4)

    def transparent() -> tf.Tensor:
        kind = tf.io.decode_raw(tf.strings.substr(content, 25, 1), tf.uint8)[0]
        # A colour that stands for transparent is Pillow's part.
        has_alpha = (kind == GREY_ALPHA) | (kind == RGB_ALPHA)
        return tf.cond(has_alpha, lambda: _over_white(rgba), lambda: _by_pillow(content))

    # Most images are opaque, and blending costs as much as decoding.
    opaque = tf.reduce_min(rgba[..., 3]) == 255
    return tf.cond(opaque, lambda: rgba[..., :3], transparent)


def _by_pillow(content: tf.Tensor | bytes) -> tf.Tensor | np.ndarray:
    # TensorFlow reads no TIFF, ignores a BMP's palette and shows a GIF's transparent pixels black.
    if isinstance(content, bytes):
        return decode_with_pillow(content)
    return _stateless(decode_with_pillow, content)


def _stateless(decode: Callable[[bytes], np.ndarray], content: tf.Tensor) -> tf.Tensor:
    # Declared stateless: deterministic tf.data runs a map that holds a stateful op on one thread.
    return tf.numpy_function(decode, [content], tf.uint8, stateful=False)


def _starts_with(content: tf.Tensor, signature: bytes) -> tf.Tensor:
    # Of an empty string substr raises InvalidArgumentError, which is the answer for an empty file.
    return tf.strings.substr(content, 0, len(signature)) == signature


def _over_white(image: tf.Tensor) -> tf.Tensor:
    """Composite uint8 RGBA over white: round(255 + (colour - 255) * alpha / 255)."""
    colour, alpha = image[..., :3], image[..., 3:]

    opacity = tf.cast(alpha, tf.float32) / 255.0
    blended = 255.0 + (tf.cast(colour, tf.float32) - 255.0) * opacity
    return tf.cast(tf.round(blended), tf.uint8)
