"""Whether a device sees original files as training saw them: the bundle's own run.py decodes and resizes."""

import dataclasses
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from export.device import run
from export.errors import ExportFailed
from export.verify.evidence import write_enlarged
from pipeline.config.reading import Reading
from pipeline.data.batches import Examples, load_images
from pipeline.data.decoding.image_formats import JPEG
from pipeline.data.table import ArrayImages, Source

FILES = 32
"""Original files that are compared, spread over the set, at most."""

RESIZE_LEVELS, JPEG_LEVELS = 1, 2
"""Pillow rounds after each pass of resizing, training once; two builds of libjpeg may round otherwise."""


@dataclass(frozen=True)
class DevicePixels:
    """How far the device's pixels are from training's.

    Attributes:
        files: that were compared.
        largest_difference: of a channel, in levels of 255.
    """

    files: int
    largest_difference: int


def verify_device_pixels(source: Source, size: int, worst_file: Path) -> DevicePixels | None:
    """Let run.py decode and resize original files; compare with the pixels that training saw.

    Args:
        source: the data set.
        size: side of the network's input in pixels.
        worst_file: .png file for the worst image where one is too far off, training's pixels on the
            left. Its folder is made only then.

    Returns:
        How far they differ; None where the set has no files, as the embedded digits.

    Raises:
        ExportFailed: the pixels of a file differ by more than rounding.
    """
    originals = original_files(source)
    if not originals:
        return None
    seen = load_images(Examples(source, np.array(list(originals)), size))
    largest = 0
    for (row, content), expected in zip(originals.items(), seen, strict=True):
        received = device_pixels(content, size, source.reading)
        difference = int(np.abs(received.astype(int) - expected).max())
        largest = max(largest, difference)
        if difference > RESIZE_LEVELS + JPEG_LEVELS * content.startswith(JPEG):
            write_enlarged(np.hstack([expected, received]), worst_file)
            raise ExportFailed(
                "run.py must see an image as training did; "
                f"{source.path_of(row) or f'image {row} of {source.name}'} is up to {difference} levels "
                f"off, see {worst_file}"
            )
    return DevicePixels(len(originals), largest)


def original_files(source: Source) -> dict[int, bytes]:
    """Return a sample of the files as they were before decoding: row -> content."""
    images = source.images
    rows: Sequence[int] = range(len(source.labels))
    if isinstance(images, ArrayImages):
        rows = sorted(images.originals)
    chosen = [rows[place] for place in np.linspace(0, len(rows) - 1, min(FILES, len(rows))).astype(int)]
    if isinstance(images, ArrayImages):
        return {row: images.originals[row] for row in chosen}
    return {row: images.read(tf.constant(row, tf.int64)).numpy() for row in chosen}


def device_pixels(content: bytes, size: int, reading: Reading) -> np.ndarray:
    """Read a file as run.py does; uint8 [size, size, 3].

    Raises:
        ExportFailed: run.py cannot read it.
    """
    with tempfile.NamedTemporaryFile() as file:
        file.write(content)
        file.flush()
        try:
            image = run.decode(Path(file.name), reading.exif_orientation)
            return run.fit(image, size, size, dataclasses.asdict(reading))
        except Exception as error:  # of damaged files Pillow raises nearly every kind
            raise ExportFailed(f"run.py must read what training read; {run.explain(error)}") from error
