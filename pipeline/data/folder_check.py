"""Every file of an image folder is tried before training: damage and copies are found here."""

import functools
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import BinaryIO

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.console.progress import Progress
from pipeline.data.class_names import shown
from pipeline.data.decode import decode_image
from pipeline.data.deep_range import DeepRange, deep_range
from pipeline.data.folder_layout import is_side_file
from pipeline.data.image_formats import ALL, HEAD_BYTES, NOT_READ, READ, UNREAD, format_of, not_read
from pipeline.data.pillow_images import verify_fit
from pipeline.data.split_names import SPLITS

DIGEST_BYTES = 16
CHUNK = 256


NO_IMAGE = f"not a {READ} image"
EMPTY = "empty file"
DAMAGED = "truncated or damaged"
SIDE_FILE = "a side file, no image"


@dataclass
class Checked:
    """What was found out about files, row i of the list about each.

    Attributes:
        digests: uint8 [files, 16], the BLAKE2b hash of each content, zero where there is no image.
        damage: row -> what is wrong, for damaged files only.
        unread: row -> what to do, for images in a format that is known and not read.
        side_files: row -> that it is one, for annotations and notes beside the images.
        deep_ranges: row -> least and largest sample, for images of 16 bits a sample only.
    """

    digests: np.ndarray
    damage: dict[int, str] = field(default_factory=dict)
    unread: dict[int, str] = field(default_factory=dict)
    side_files: dict[int, str] = field(default_factory=dict)
    deep_ranges: dict[int, DeepRange] = field(default_factory=dict)


def check_files(root: bytes, paths: Sequence[bytes], formats: dict[str, bytes] = ALL) -> Checked:
    """Read, hash and decode every file once, on one thread a core.

    Decoding is `decode_image` itself, so that what passes cannot fail in training.

    Args:
        root: folder that `paths` are relative to.
        paths: files; row i of the result is about `paths[i]`.
        formats: those that are read, as in `image_formats`.
    """
    check = functools.partial(check_file, formats=formats)
    checked = Checked(np.zeros((len(paths), DIGEST_BYTES), np.uint8))
    with (
        Progress(len(paths), "checking images", "images") as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        # In chunks, because `map` queues all that it is given: a million tasks would fill memory.
        for start in range(0, len(paths), CHUNK):
            chunk = [os.path.join(root, path) for path in paths[start : start + CHUNK]]
            for row, (digest, problem, deep) in enumerate(pool.map(check, chunk), start):
                if not problem:
                    checked.digests[row] = np.frombuffer(digest, np.uint8)
                elif problem in (NO_IMAGE, EMPTY, *NOT_READ) and is_side_file(paths[row]):
                    checked.side_files[row] = SIDE_FILE
                elif problem in NOT_READ:
                    checked.unread[row] = problem
                else:
                    checked.damage[row] = problem
                if deep:
                    checked.deep_ranges[row] = deep
            progress.update(len(chunk), f"{len(checked.damage)} damaged" if checked.damage else "")
    return checked


def find_copies(
    rows: np.ndarray, digests: np.ndarray, labels: np.ndarray, splits: np.ndarray, paths: Sequence[bytes]
) -> dict[int, str]:
    """Choose which of several equal images to leave out.

    Under two labels: all of them, for nobody knows which label is right. In two splits: kept in
    test before validation before train, so that nothing tested was trained on. Within a split:
    the first row is kept.

    Args:
        rows: int64 [readable], the rows to compare, ascending.
        digests: uint8 [files, 16].
        labels: int64 [files].
        splits: int64 [files], index into `SPLITS`.
        paths: files, for the wording.

    Returns:
        Row -> why it is left out.
    """
    problems = {}
    for copies in _equal_rows(rows, digests):
        if len(set(labels[copies])) > 1:
            for row in copies:
                other = copies[labels[copies] != labels[row]][0]
                problems[int(row)] = f"same image under another label: {shown(paths[other])}"
            continue
        kept = copies[np.argmax(splits[copies])]
        for row in copies[copies != kept]:
            same_split = splits[row] == splits[kept]
            what = "exact duplicate of" if same_split else f"same image in {SPLITS[splits[kept]]}:"
            problems[int(row)] = f"{what} {shown(paths[kept])}"
    return problems


def check_file(path: bytes, formats: dict[str, bytes] = ALL) -> tuple[bytes, str, DeepRange | None]:
    """Read, hash and decode one file.

    Returns:
        (digest, "", range of 16-bit samples) of an image, or (b"", what is wrong, None).
    """
    try:
        # Before opening: a named pipe would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b"", "not a regular file", None
        with open(path, "rb") as file:
            return check_stream(file, formats)
    except OSError as error:
        return b"", f"unreadable: {error.strerror}", None
    except ValueError as error:  # a path with a zero byte
        return b"", f"unreadable: {error}", None


def check_stream(file: BinaryIO, formats: dict[str, bytes] = ALL) -> tuple[bytes, str, DeepRange | None]:
    """Read, hash and decode an open file, as `check_file` does."""
    try:
        head = file.read(HEAD_BYTES)
        if not head:
            return b"", EMPTY, None
        # Before reading on: the file may be a film of many gigabytes.
        if not format_of(head, formats):
            unread = format_of(head, UNREAD)
            return b"", not_read(unread) if unread else NO_IMAGE, None
        file.seek(0)
        with Image.open(file, formats=tuple(formats)) as image:
            verify_fit(image, head)
        file.seek(0)
        content = file.read()
    except OSError as error:
        # Of damaged content Pillow raises some of its own, without a reason of the system's.
        return b"", f"unreadable: {error.strerror}" if error.strerror else DAMAGED, None
    except ValueError as error:
        return b"", str(error), None
    try:
        with tf.device("CPU"):  # where tf.data decodes; eager ops would move to a GPU
            decode_image(content)
            deep = deep_range(content)
    except (tf.errors.OpError, OSError):
        return b"", DAMAGED, None
    return hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest(), "", deep


def _equal_rows(rows: np.ndarray, digests: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of each digest that occurs more than once, ascending."""
    keys = np.ascontiguousarray(digests[rows]).view(np.uint64)
    order = np.lexsort(keys.T)  # stable: equal digests stay in row order
    differs = np.any(keys[order[1:]] != keys[order[:-1]], axis=1)
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1])
    ends = np.append(starts[1:], len(rows))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield rows[order[start:end]]
