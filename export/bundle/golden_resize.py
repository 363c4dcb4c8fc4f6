"""One large image and the exact bytes that making it the network's input must give."""

import dataclasses
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from export.device import run
from export.errors import ExportFailed
from export.verify.pixels import RESIZE_LEVELS
from pipeline.config.reading import Reading
from pipeline.data.decoding.resize import read_image
from pipeline.files.json_file import write_json
from pipeline.files.whole import write_whole
from pipeline.tflite.file import crc32

LARGE, PIXELS, DESCRIPTION = "large.png", "large.bin", "large.json"

HEIGHT, WIDTH = 240, 320


def draw_large() -> np.ndarray:
    """Draw what a resize without antialiasing gets wrong: uint8 [240, 320, 3].

    Red is a zone plate, whose rings are finer the farther they are from the middle; green rises to the
    right and blue changes in squares of 20 pixels, so that an exchange of axes or channels shows.
    """
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    radius = np.hypot(y - HEIGHT / 2, x - WIDTH / 2)
    rings = 127.5 * (1 + np.cos(np.pi * radius**2 / WIDTH))
    ramp, squares = 255 * x / (WIDTH - 1), 40 * ((3 * (y // 20) + x // 20) % 7)
    return np.dstack([rings, ramp, squares]).round().astype(np.uint8)


def fit_as_device(image: Image.Image, size: int, reading: Reading) -> np.ndarray:
    """Make an RGB image what the network sees, as run.py does: uint8 [size, size, 3]."""
    return run.fit(image, size, size, dataclasses.asdict(reading))


def write_golden_resize(size: int, reading: Reading, folder: Path) -> None:
    """Write the image, what run.py makes of it, and how.

    Args:
        size: side of the network's input in pixels.
        reading: how an image becomes that.
        folder: for `large.png`, `large.bin` (rows from the top, R G B) and `large.json`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_whole(folder / LARGE, Image.fromarray(draw_large()).save)
    data = fit_as_device(run.decode(folder / LARGE, reading.exif_orientation), size, reading).tobytes()
    write_whole(folder / PIXELS, partial(Path.write_bytes, data=data))
    write_json(
        folder / DESCRIPTION,
        {
            "image": LARGE,
            "how": dataclasses.asdict(reading),
            "pixels": {"file": PIXELS, "shape": [size, size, 3], "bytes": len(data), "crc32": crc32(data)},
        },
    )


def verify_golden_resize(size: int, reading: Reading, folder: Path) -> None:
    """Hold the bytes beside the image to what training makes of it.

    Raises:
        ExportFailed: they differ by more than rounding.
    """
    seen = read_image((folder / LARGE).read_bytes(), size, reading).numpy().astype(int)
    data = np.frombuffer((folder / PIXELS).read_bytes(), np.uint8)
    if data.size != seen.size or (off := int(np.abs(data.reshape(seen.shape) - seen).max())) > RESIZE_LEVELS:
        what = f"{data.size} bytes" if data.size != seen.size else f"bytes up to {off} levels off"
        raise ExportFailed(
            f"{folder / PIXELS} must be what training makes of {LARGE}, {seen.size} bytes up to rounding; "
            f"received {what}"
        )
