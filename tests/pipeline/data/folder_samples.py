"""Folders of small images that tell each other apart."""

from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.data.table import Source


def save(path: Path, number: int, kind: str = "PNG") -> Path:
    """Write a small image that no other number gives."""
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = np.random.default_rng(number).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    Image.fromarray(colours).save(path, kind)
    return path


def contents(source: Source) -> list[bytes]:
    return [source.images.read(row).numpy() for row in range(len(source.labels))]
