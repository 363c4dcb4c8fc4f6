"""Encoded images into pixels by TensorFlow's own operations, for a graph that has no Python beside it."""

from collections.abc import Callable, Sequence

import tensorflow as tf

from pipeline.config.reading import Reading
from pipeline.data.decoding.image_formats import JPEG, PNG
from pipeline.data.decoding.pillow_images import MAX_PIXELS
from pipeline.data.decoding.resize import fit_image

GREY_ALPHA, RGB, RGB_ALPHA = 4, 2, 6
"""Colour types of PNG (ISO 15948, 11.2.2)."""

Function = Callable[[tf.Tensor], tf.Tensor]

END = b"\0"
"""An octet behind all data that are looked at, so that there is one to gather even where they are empty."""

ORIENTATION, SHORT = 0x0112, 3
"""A tag and its type (EXIF 2.3, 4.6.2 and 4.6.4 A)."""

START_OF_SCAN, APP1, EXIF = 0xDA, 0xE1, b"Exif\0\0"
"""Of a JPEG: markers, and how the segment that holds EXIF data begins (EXIF 2.3, 4.5.4)."""

MAX_SEGMENTS = 1000
"""Segments of a JPEG, or chunks of a PNG, among which EXIF data are: a file made to cost time has more."""


def read_encoded(content: tf.Tensor, size: int, reading: Reading) -> tf.Tensor:
    """Decode a JPEG or PNG, turn it upright and make it a square: as training and run.py do.

    Args:
        content: string scalar, the encoded file.
        size: side of the square in pixels.
        reading: how.

    Returns:
        uint8 [size, size, 3]; of a JPEG training's own pixels, of a transparent PNG up to rounding.

    Raises:
        tf.errors.InvalidArgumentError: another format, damaged, with more than `MAX_PIXELS`, or a
            PNG with a transparent colour and fewer than 8 bits a sample, or 16 of red, green and blue.
    """
    octets = tf.io.decode_raw(tf.strings.join([content, tf.constant(END)]), tf.uint8)
    is_jpeg, is_png = _begins(octets, 0, JPEG), _begins(octets, 0, PNG)
    _verify(is_jpeg | is_png, "an image must be a JPEG or a PNG")
    image = tf.cond(is_jpeg, lambda: _decode_jpeg(content), lambda: _decode_png(content, octets))
    if reading.exif_orientation:
        image = _turn_upright(image, _orientation_in(_exif_of(octets, is_jpeg)))
    return fit_image(image, size, reading)


def _verify(holds: tf.Tensor, rule: str) -> None:
    tf.debugging.Assert(holds, [rule])


def _octets(data: tf.Tensor, at: tf.Tensor | int, count: int) -> tf.Tensor:
    """Return octets [..., count] of data before their `END`, from places [...] on; others are -1."""
    places, last = tf.expand_dims(at, -1) + tf.range(count), tf.size(data) - 1
    found = tf.cast(tf.gather(data, tf.clip_by_value(places, 0, last)), tf.int32)
    return tf.where((places >= 0) & (places < last), found, -1)


def _begins(data: tf.Tensor, at: tf.Tensor | int, signature: bytes) -> tf.Tensor:
    return tf.reduce_all(_octets(data, at, len(signature)) == list(signature))


def _number(data: tf.Tensor, at: tf.Tensor | int, count: int, *, big: tf.Tensor | bool = True) -> tf.Tensor:
    """Return unsigned integers of `count` octets; -1 where one is not all there, or beyond int32."""
    octets = _octets(data, at, count)
    octets = tf.where(big, octets, octets[..., ::-1])
    powers = [256**power for power in reversed(range(count))]
    number = tf.reduce_sum(tf.cast(octets, tf.int64) * powers, axis=-1)
    fits = tf.reduce_all(octets >= 0, axis=-1) & (number <= tf.int32.max)
    return tf.where(fits, tf.cast(number, tf.int32), -1)


def _decode_jpeg(content: tf.Tensor) -> tf.Tensor:
    height, width, _ = tf.unstack(tf.io.extract_jpeg_shape(content))
    _verify_size(height, width)
    # As in training: the default transform is a faster one that is up to 5 levels off.
    return tf.io.decode_jpeg(content, channels=3, dct_method="INTEGER_ACCURATE")


def _decode_png(content: tf.Tensor, octets: tf.Tensor) -> tf.Tensor:
    # The header's first fields (ISO 15948, 11.2.2).
    _verify_size(_number(octets, 20, 4), _number(octets, 16, 4))
    depth, kind = tf.unstack(_octets(octets, 24, 2))
    _, hidden = _find_chunk(octets, b"tRNS")
    is_exact = (depth == 8) | ((depth == 16) & (kind != RGB))
    _verify(is_exact | (hidden < 0), "a PNG with a transparent colour must have 8 bits a sample")
    has_alpha = (kind == GREY_ALPHA) | (kind == RGB_ALPHA) | (hidden >= 0)

    def over_white() -> tf.Tensor:
        rgba = tf.cast(tf.io.decode_png(content, channels=4), tf.float32)
        blended = 255 + (rgba[..., :3] - 255) * (rgba[..., 3:] / 255)
        return tf.cast(tf.round(blended), tf.uint8)

    return tf.cond(has_alpha, over_white, lambda: tf.io.decode_png(content, channels=3))


def _verify_size(height: tf.Tensor, width: tf.Tensor) -> None:
    pixels = tf.cast(height, tf.int64) * tf.cast(width, tf.int64)
    fits = (height > 0) & (width > 0) & (pixels <= MAX_PIXELS)
    _verify(fits, f"an image must have from 1 to {MAX_PIXELS:,} pixels")


def _exif_of(octets: tf.Tensor, is_jpeg: tf.Tensor) -> tf.Tensor:
    """Return the EXIF data of a file and `END`; nothing before that where it has none before its pixels."""
    exif = tf.cond(is_jpeg, lambda: _exif_of_jpeg(octets), lambda: _exif_of_png(octets))
    return tf.concat([exif, tf.constant(list(END), tf.uint8)], axis=0)


def _walk(goes_on: Function, following: Function, start: int) -> tf.Tensor:
    (at,) = tf.while_loop(goes_on, lambda at: (following(at),), [start], maximum_iterations=MAX_SEGMENTS)
    return at


def _exif_of_jpeg(octets: tf.Tensor) -> tf.Tensor:
    def marker(at: tf.Tensor) -> tf.Tensor:
        first, second = tf.unstack(_octets(octets, at, 2))
        return tf.where(first == 0xFF, second, -1)

    def is_exif(at: tf.Tensor) -> tf.Tensor:
        return (marker(at) == APP1) & _begins(octets, at + 4, EXIF)

    def goes_on(at: tf.Tensor) -> tf.Tensor:
        return (marker(at) >= 0) & (marker(at) != START_OF_SCAN) & ~is_exif(at)

    def following(at: tf.Tensor) -> tf.Tensor:
        # A marker may be preceded by any number of fill bytes 0xFF (ITU T.81, B.1.1.2).
        length = tf.maximum(_number(octets, at + 2, 2), 0)
        return tf.where(marker(at) == 0xFF, at + 1, at + 2 + length)

    at = _walk(goes_on, following, 2)
    end = at + 2 + tf.maximum(_number(octets, at + 2, 2), 0)
    return tf.cond(is_exif(at), lambda: octets[at + 4 + len(EXIF) : end], lambda: octets[:0])


def _exif_of_png(octets: tf.Tensor) -> tf.Tensor:
    start, length = _find_chunk(octets, b"eXIf")
    return octets[start : start + tf.maximum(length, 0)]


def _find_chunk(octets: tf.Tensor, name: bytes) -> tuple[tf.Tensor, tf.Tensor]:
    """Return where the body of a chunk before the pixels begins, and its length: -1 where there is none."""

    def is_wanted(at: tf.Tensor) -> tf.Tensor:
        return _begins(octets, at + 4, name)

    def goes_on(at: tf.Tensor) -> tf.Tensor:
        return (_number(octets, at, 4) >= 0) & ~_begins(octets, at + 4, b"IDAT") & ~is_wanted(at)

    # A chunk is its length, name, body and checksum.
    at = _walk(goes_on, lambda at: at + 12 + _number(octets, at, 4), len(PNG))
    length = tf.minimum(_number(octets, at, 4), tf.size(octets))
    return at + 8, tf.where(is_wanted(at), length, -1)


def _orientation_in(exif: tf.Tensor) -> tf.Tensor:
    """Find the orientation in the first directory (TIFF 6.0, section 2); 1, upright, where there is none."""
    big = _begins(exif, 0, b"MM\0*")
    known = big | _begins(exif, 0, b"II*\0")
    start = _number(exif, 4, 4, big=big)
    count = tf.where(known, tf.maximum(_number(exif, start, 2, big=big), 0), 0)
    # One beyond the end behind them, so that there is a first.
    entries = tf.concat([start + 2 + 12 * tf.range(count), [tf.size(exif)]], axis=0)
    is_orientation = _number(exif, entries, 2, big=big) == ORIENTATION
    entry = entries[tf.argmax(is_orientation)]
    kind, value = _number(exif, entry + 2, 2, big=big), _number(exif, entry + 8, 2, big=big)
    return tf.where(tf.reduce_any(is_orientation) & (kind == SHORT), value, 1)


def _turn_upright(image: tf.Tensor, orientation: tf.Tensor) -> tf.Tensor:
    """Undo an orientation of 2 to 8 (EXIF 2.3, 4.6.4 A); from 5 on rows are columns."""

    def if_any(values: Sequence[int], change: Function, image: tf.Tensor) -> tf.Tensor:
        return tf.cond(tf.reduce_any(orientation == values), lambda: change(image), lambda: image)

    image = tf.ensure_shape(image, [None, None, 3])
    image = if_any((5, 6, 7, 8), lambda image: tf.transpose(image, [1, 0, 2]), image)
    image = if_any((3, 4, 7, 8), lambda image: image[::-1], image)
    return if_any((2, 3, 6, 7), lambda image: image[:, ::-1], image)
