"""What is kept of an image on which a check failed."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from pipeline.files.whole import write_whole

SHOWN_PIXELS = 256
"""Least height and width at which an image of a few pixels can be recognised."""


def write_enlarged(pixels: np.ndarray, path: Path) -> None:
    """Write uint8 pixels [height, width, 3] as PNG, enlarged by a whole factor; its folder is made."""
    image = Image.fromarray(pixels)
    factor = -(-SHOWN_PIXELS // min(image.size))
    path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, ImageOps.scale(image, factor, Image.Resampling.NEAREST).save)
