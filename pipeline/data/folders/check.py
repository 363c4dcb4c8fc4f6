"""Every file of an image folder is tried before training; what was found is kept for the next time."""

import functools
import hashlib
import os
import stat
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import BinaryIO, NamedTuple

import numpy as np
import tensorflow as tf
from PIL import Image

from pipeline.console.progress import Progress
from pipeline.data.decoding.decode import decode_image
from pipeline.data.decoding.deep_range import DeepRange, deep_range
from pipeline.data.decoding.image_formats import ALL, HEAD_BYTES, NOT_READ, READ, UNREAD, format_of, not_read
from pipeline.data.decoding.pillow_images import verify_fit
from pipeline.data.folders.findings import DIGEST_BYTES, Findings, KeptFindings
from pipeline.data.folders.layout import is_side_file
from pipeline.files.kept import version_of

CHUNK = 4096
"""Files that are queued at a time: a million tasks would fill the memory."""

GROUP, GROUP_BYTES = 16, 1 << 22
"""A thread decodes at most so many files, of so many bytes, in one call of TensorFlow: a call for each
would leave many cores waiting for Python."""

NO_IMAGE = f"not a {READ} image"
EMPTY = "empty file"
DAMAGED = "truncated or damaged"
SIDE_FILE = "a side file, no image"
IRREGULAR = "not a regular file"
UNREADABLE = "unreadable: "


class Verdict(NamedTuple):
    """What was found out about one file.

    Attributes:
        digest: BLAKE2b hash of the content, 16 bytes; empty where it is no image.
        pixels: FarmHash64 of what it decodes to, and its height and width, 16 bytes; or empty.
        problem: why it is no image that can be read; empty where it is.
        deep: range of the samples where there are 16 bits of each.
    """

    digest: bytes = b""
    pixels: bytes = b""
    problem: str = ""
    deep: DeepRange | None = None


class Checked(NamedTuple):
    """What was found out about files, row i of the list about each.

    Attributes:
        digests: uint8 [files, 16], of each content; zero where there is no image.
        pixels: uint8 [files, 16], of what it decodes to; zero where there is no image.
        damage: row -> what is wrong, for damaged files only.
        unread: row -> what to do, for images in a format that is known and not read.
        side_files: row -> that it is one, for annotations and notes beside the images.
        deep_ranges: row -> least and largest sample, for images of 16 bits a sample only.
    """

    digests: np.ndarray
    pixels: np.ndarray
    damage: dict[int, str]
    unread: dict[int, str]
    side_files: dict[int, str]
    deep_ranges: dict[int, DeepRange]


def check_files(root: bytes, paths: Sequence[bytes], formats: dict[str, bytes] = ALL) -> Checked:
    """Read, hash and decode every file that was not checked before, on one thread a core.

    Decoding is `decode_image` itself, so that what passes cannot fail in training.

    Args:
        root: folder that `paths` are relative to.
        paths: files; row i of the result is about `paths[i]`.
        formats: those that are read, as in `image_formats`.
    """
    kept = kept_findings(root, paths, formats)
    findings = kept.recall()
    recalled = findings.known.copy()
    try:
        _check_rows(np.flatnonzero(~recalled), root, paths, kept.sizes, formats, findings)
    finally:
        # Where it is interrupted too: the next time goes on from there.
        kept.keep(findings, recalled)
    return _sort_out(findings, paths)


def kept_findings(root: bytes, paths: Sequence[bytes], formats: dict[str, bytes] = ALL) -> KeptFindings:
    """Open what is kept of the checks of a folder, by the versions of all that decides what is found.

    Args:
        root: folder that `paths` are relative to.
        paths: files.
        formats: those that are read, as in `image_formats`.
    """
    return KeptFindings(root, paths, _version(tuple(formats)))


@functools.cache
def _version(formats: tuple[str, ...]) -> str:
    """Tell apart all that decides what is found of a file."""
    from pipeline.data.decoding import decode, deep_range, image_formats, orientation, pillow_images
    from pipeline.data.folders import findings

    modules = (sys.modules[__name__], findings, decode, deep_range, image_formats, orientation, pillow_images)
    return version_of(*modules, packages=("tensorflow", "pillow", "numpy")) + " ".join(formats)


def _check_rows(
    rows: np.ndarray,
    root: bytes,
    paths: Sequence[bytes],
    sizes: np.ndarray,
    formats: dict[str, bytes],
    findings: Findings,
) -> None:
    """Check the files of `rows` and put down what is found."""
    if not len(rows):
        return
    damaged, check = 0, functools.partial(_check_group, formats)
    with (
        Progress(len(paths), "checking images", "images", done=len(paths) - len(rows)) as progress,
        ThreadPoolExecutor(os.cpu_count()) as pool,
    ):
        try:
            for start in range(0, len(rows), CHUNK):
                groups = [*_groups(rows[start : start + CHUNK], sizes)]
                named = ([root + b"/" + paths[row] for row in group] for group in groups)
                for group, verdicts in zip(groups, pool.map(check, named), strict=True):
                    for row, verdict in zip(group, verdicts, strict=True):
                        _put_down(findings, int(row), verdict)
                        damaged += verdict.problem == DAMAGED
                    progress.update(len(group), f"{damaged} damaged" if damaged else "")
        except BaseException:
            # Whoever interrupts waits for the groups that have begun, and no more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _put_down(findings: Findings, row: int, verdict: Verdict) -> None:
    if verdict.problem:
        # Of the file's own are its format and its damage, not who may read it now.
        lasting = not verdict.problem.startswith(UNREADABLE)
        findings.put_problem(row, verdict.problem, lasting=lasting)
    else:
        findings.put_image(row, verdict.digest, verdict.pixels, verdict.deep)


def _groups(rows: np.ndarray, sizes: np.ndarray) -> Iterator[np.ndarray]:
    """Cut rows into groups of at most `GROUP`, and of at most `GROUP_BYTES` or one row."""
    start, held = 0, 0
    for place, row in enumerate(rows):
        if place > start and (place - start == GROUP or held + sizes[row] > GROUP_BYTES):
            yield rows[start:place]
            start, held = place, 0
        held += sizes[row]
    yield rows[start:]


def _sort_out(findings: Findings, paths: Sequence[bytes]) -> Checked:
    """Tell damage from what is merely not read, and from side files."""
    checked = Checked(findings.digests, findings.pixels, {}, {}, {}, findings.deep_ranges)
    for row, problem in findings.problems.items():
        if problem in (NO_IMAGE, EMPTY, *NOT_READ) and is_side_file(paths[row]):
            checked.side_files[row] = SIDE_FILE
        elif problem in NOT_READ:
            checked.unread[row] = problem
        else:
            checked.damage[row] = problem
    return checked


def check_file(path: bytes) -> Verdict:
    """Read, hash and decode one file."""
    return _judge([_read_file(path, ALL)])[0]


def check_stream(file: BinaryIO) -> Verdict:
    """Read, hash and decode an open file, as `check_file` does."""
    return _judge([_read_image(file, ALL)])[0]


def _check_group(formats: dict[str, bytes], paths: Sequence[bytes]) -> list[Verdict]:
    return _judge([_read_file(path, formats) for path in paths])


def _read_file(path: bytes, formats: dict[str, bytes]) -> tuple[bytes, str]:
    """Return what a file holds if it begins like an image, else (b"", what is wrong)."""
    try:
        # Before opening: a named pipe would block for ever.
        if not stat.S_ISREG(os.stat(path).st_mode):
            return b"", IRREGULAR
        with open(path, "rb") as file:
            return _read_image(file, formats)
    except OSError as error:
        return b"", f"{UNREADABLE}{error.strerror}"
    except ValueError as error:  # a path with a zero byte
        return b"", f"{UNREADABLE}{error}"


def _read_image(file: BinaryIO, formats: dict[str, bytes]) -> tuple[bytes, str]:
    """Return what an open file holds, as `_read_file` does."""
    try:
        head = file.read(HEAD_BYTES)
        if not head:
            return b"", EMPTY
        # Before reading on: the file may be a film of many gigabytes.
        if not format_of(head, formats):
            unread = format_of(head, UNREAD)
            return b"", not_read(unread) if unread else NO_IMAGE
        file.seek(0)
        with Image.open(file, formats=tuple(formats)) as image:
            verify_fit(image, head)
        file.seek(0)
        return file.read(), ""
    except OSError as error:
        # Of damaged content Pillow raises some of its own, without a reason of the system's.
        return b"", f"{UNREADABLE}{error.strerror}" if error.strerror else DAMAGED
    except ValueError as error:
        return b"", str(error)
    except TypeError:  # a TIFF's tag that is of another type than it should be
        return b"", DAMAGED


def _judge(files: Sequence[tuple[bytes, str]]) -> list[Verdict]:
    """Decode what begins like images."""
    pixels = iter(_digest_pixels([content for content, problem in files if not problem]))
    return [
        Verdict(problem=problem) if problem else _judge_image(content, next(pixels))
        for content, problem in files
    ]


def _judge_image(content: bytes, pixels: bytes | None) -> Verdict:
    if pixels is None:
        return Verdict(problem=DAMAGED)
    try:
        with tf.device("CPU"):
            deep = deep_range(content)
    except (tf.errors.OpError, OSError):
        return Verdict(problem=DAMAGED)
    return Verdict(hashlib.blake2b(content, digest_size=DIGEST_BYTES).digest(), pixels, "", deep)


def _digest_pixels(contents: list[bytes]) -> list[bytes | None]:
    """Decode files; of each the digest of its pixels, None where it is damaged."""
    if not contents:
        return []
    try:
        with tf.device("CPU"):  # where tf.data decodes; eager ops would move to a GPU
            return [digest.tobytes() for digest in _decode_and_digest(tf.constant(contents)).numpy()]
    except tf.errors.OpError:
        if len(contents) == 1:
            return [None]
        return [digest for content in contents for digest in _digest_pixels([content])]


@tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
def _decode_and_digest(contents: tf.Tensor) -> tf.Tensor:
    """Decode each of string [files]; uint8 [files, 16], FarmHash64 of its pixels, height, width."""

    def digest(content: tf.Tensor) -> tf.Tensor:
        image = decode_image(content)
        pixels = tf.fingerprint(tf.reshape(image, [1, -1]))[0]
        return tf.concat([pixels, tf.reshape(tf.bitcast(tf.shape(image)[:2], tf.uint8), [8])], axis=0)

    # One after the other: each thread has a core, and a large image is held alone.
    return tf.map_fn(
        digest, contents, parallel_iterations=1, fn_output_signature=tf.TensorSpec([DIGEST_BYTES], tf.uint8)
    )
