"""Image files on their way to a network: found by what they hold, read in batches."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.config.reading import Reading
from pipeline.data.batches import THREADS
from pipeline.data.class_names import as_label, shown
from pipeline.data.decoding.image_formats import HEAD_BYTES, JPEG, PNG, READ, UNREAD, format_of
from pipeline.data.decoding.pillow_images import MAX_PIXELS
from pipeline.data.decoding.resize import read_image
from pipeline.data.folders.layout import walk_visible
from pipeline.errors import UserError

BATCH = 128
"""Images that a network answers for at once."""

UNKNOWN = -1
"""Label of an image that lies in no class folder."""


@dataclass(frozen=True)
class FoundImages:
    """The images to classify.

    Attributes:
        paths: their files.
        labels: int64 [images], as the folders tell them, or `UNKNOWN`.
        passed_over: files in the folders that are no images.
    """

    paths: list[bytes]
    labels: np.ndarray
    passed_over: list[bytes]


def find_images(places: Iterable[Path], class_names: Sequence[str]) -> FoundImages:
    """Find the images in files and folders.

    A file that is named counts as an image, whatever it holds. Folders are searched at any depth,
    by the first bytes of files; what is hidden or an operating system's litter is not looked at,
    and linked folders are not followed. An image has a label where the folder below the one that
    was given is called as a class.

    Raises:
        UserError: a folder cannot be read or holds no image.
    """
    number = {as_label(name): label for label, name in enumerate(class_names)}
    paths: list[bytes] = []
    labels: list[int] = []
    passed_over: list[bytes] = []
    for place in map(os.fsencode, places):
        found = [place] if os.path.isfile(place) else []
        below = walk_visible(place) if os.path.isdir(place) else ()
        for path in sorted(os.path.join(parent, name) for parent, names in below for name in names):
            (found if _is_image(path) else passed_over).append(path)
        if not found:
            raise UserError(f"a folder must hold a {READ} image; received {shown(place)!r}")
        paths += found
        labels += [number.get(as_label(shown(_folder_below(place, path))), UNKNOWN) for path in found]
    return FoundImages(paths, np.array(labels, np.int64), passed_over)


def _folder_below(place: bytes, path: bytes) -> bytes:
    """Return the first folder on the way from `place` to `path`, or nothing."""
    folder, _, rest = os.path.relpath(path, place).partition(os.sep.encode())
    return folder if rest else b""


def _is_image(path: bytes) -> bool:
    """Tell by its first bytes, also in a format that is not read; a file that cannot be read may be one."""
    if not os.path.isfile(path):
        return False  # opening a pipe would wait for a writer
    try:
        with open(path, "rb") as file:
            head = file.read(HEAD_BYTES)
            return bool(format_of(head) or format_of(head, UNREAD))
    except OSError:
        return True


def read_batches(paths: Sequence[bytes], size: int, reading: Reading) -> tf.data.Dataset:
    """Read images in parallel; those that cannot be read are left out.

    Yields:
        places in `paths`, int64 [batch], ascending, and images uint8 [batch, size, size, 3].
    """

    def read(place: tf.Tensor, path: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return place, read_image(_refuse_large(tf.io.read_file(path)), size, reading)

    options = tf.data.Options()
    options.autotune.enabled = False  # destroying an iterator would wait for its sleeping thread
    files = tf.data.Dataset.from_tensor_slices((np.arange(len(paths)), list(paths)))
    images = files.map(read, num_parallel_calls=THREADS, deterministic=True).ignore_errors()
    return images.batch(BATCH).prefetch(2).with_options(options)


def _refuse_large(content: tf.Tensor) -> tf.Tensor:
    """Return nothing, which cannot be decoded, for a JPEG or PNG of more than `MAX_PIXELS`.

    Its header tells; the check of training looks there as well. Other kinds `decode_image` holds
    to it.
    """

    def jpeg() -> tf.Tensor:
        return tf.io.extract_jpeg_shape(content)[:2]

    def png() -> tf.Tensor:
        # Width and height (ISO 15948, 11.2.2).
        return tf.io.decode_raw(tf.strings.substr(content, 16, 8), tf.int32, little_endian=False)

    kinds = [
        (tf.strings.substr(content, 0, len(kind)) == kind, sides)
        for kind, sides in ((JPEG, jpeg), (PNG, png))
    ]
    sides = tf.case(kinds, default=lambda: tf.zeros([2], tf.int32))
    return tf.where(tf.reduce_prod(tf.cast(sides, tf.int64)) > MAX_PIXELS, "", content)
