"""Images of 16 bits a sample: whether their high bytes, all that is kept, still show something."""

import io
from collections.abc import Collection
from typing import NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.data.decoding.image_formats import PNG, TIFF
from pipeline.errors import UserError

RGB = 2
"""The bit of a PNG's colour type that says colour."""

BITS_PER_SAMPLE = 258
"""Tag of a TIFF (TIFF 6.0, section 8)."""


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
    """Measure the colours of a PNG or TIFF of 16 bits a sample, alpha aside; None of any other file.

    Raises:
        tf.errors.InvalidArgumentError, OSError: truncated or corrupt content.
    """
    if content.startswith(TIFF):
        return _deep_range_of_tiff(content)
    if not content.startswith(PNG) or content[24] != 16:
        return None
    colours = 3 if content[25] & RGB else 1
    samples = tf.io.decode_png(content, dtype=tf.uint16).numpy()[..., :colours]
    return DeepRange(int(samples.min()), int(samples.max()))


def _deep_range_of_tiff(content: bytes) -> DeepRange | None:
    with Image.open(io.BytesIO(content), formats=("TIFF",)) as image:
        if max(image.tag_v2.get(BITS_PER_SAMPLE, (1,))) <= 8:  # type: ignore[attr-defined]  # of a TIFF
            return None
        samples = np.asarray(image)
    # Of colours Pillow has the high bytes alone.
    levels = samples[..., :3].astype(int) * 257 if samples.dtype == np.uint8 else samples
    return DeepRange(int(levels.min()), int(levels.max()))
