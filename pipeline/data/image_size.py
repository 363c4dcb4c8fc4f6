"""What a network must know of its data: the size of the images and the number of classes."""

import contextlib
import statistics
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from pipeline.config.settings import DataConfig
from pipeline.data.digits import load_digits
from pipeline.data.folders.layout import find_class_folders, real_path
from pipeline.data.table import ArrayImages, Source
from pipeline.data.tfds import example_keys, open_builder
from pipeline.errors import UserError

HEADERS = 100
"""Files that tell the size of a folder's images."""


def size_and_classes(config: DataConfig) -> tuple[int, int]:
    """Find the side in pixels of the model's input and the number of classes.

    No image is read but the embedded digits: a TFDS set need not be prepared, and of a folder
    only the names are listed.

    Raises:
        UserError: an unknown or unfit set, an unfit folder, or images of many sizes and no
            `image_size`.
    """
    if config.data == "digits":
        source = load_digits()
        assert isinstance(source.images, ArrayImages)
        shape, classes = source.images.images.shape[1:], len(source.class_names)
    elif config.data.startswith("folder:"):
        found = find_class_folders(real_path(Path(config.data.removeprefix("folder:"))))
        shape, classes = (None, None), len(found.names)
    else:
        builder = open_builder(config.data)
        keys, features = example_keys(builder), builder.info.features
        shape, classes = features[keys.image].shape, features[keys.label].num_classes
    return config.image_size or side_of_squares(shape, config.data), classes


def median_side(source: Source) -> int | None:
    """Return the median of the shorter sides of a source's images, pixels; None where it is not known.

    Of files, as many as `HEADERS` are looked at, and no more of each than its header.
    """
    if isinstance(source.images, ArrayImages):
        return min(source.images.images.shape[1:3])
    sides = []
    for path in source.paths[:: max(1, len(source.paths) // HEADERS)]:
        with contextlib.suppress(OSError, ValueError), Image.open(path) as image:
            sides.append(min(image.size))
    return int(statistics.median(sides)) if sides else None


def side_of_squares(shape: Sequence[int | None], name: str) -> int:
    """Return the side of images that are squares of one size.

    Args:
        shape: height and width, None where they vary, and what follows.
        name: of the data.

    Raises:
        UserError: they are not.
    """
    height, width = shape[:2]
    if height is None or height != width:
        raise UserError(
            f"--image-size must be given for images that are not squares of one size, as in "
            f"{name}; received 0"
        )
    return height
