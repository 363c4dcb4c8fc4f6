"""TFRecord files of labelled images: scan them once, then read any record in any order.

A record is 8 bytes of length (little-endian), 4 of the length's masked CRC-32C, the data, and 4 of
the data's masked CRC-32C (https://www.tensorflow.org/tutorials/load_data/tfrecord). The data is a
`tf.train.Example` that holds the encoded image and its label.
"""

import functools
import itertools
import os
import re
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from pipeline.config.reading import READING, Reading
from pipeline.console.progress import Progress
from pipeline.data.decoding import image_formats
from pipeline.data.decoding.decode import decode_image
from pipeline.data.decoding.deep_range import DeepRange, deep_range
from pipeline.data.folders.findings import SAMPLE, UNSETTLED_NS
from pipeline.data.table import ArrayImages
from pipeline.errors import UserError
from pipeline.files.kept import Kept, version_of

HEADER_BYTES, FOOTER_BYTES = 12, 4
OPEN_FILES = 256
"""Most shards kept open at once; ImageNet has more shards than a process may open files."""
SCAN_BATCH, DECODE_BATCH = 64, 1024
KEPT_FILES = 100
"""About as many files are kept as they were, to see later what another decoder makes of them."""


@dataclass(frozen=True)
class ExampleKeys:
    """Names under which a `tf.train.Example` holds the encoded image and its label."""

    image: str
    label: str

    def parse(self, records: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Split records (string [n]) into encoded images (string [n]) and labels (int64 [n])."""
        example = tf.io.parse_example(
            records,
            {
                self.image: tf.io.FixedLenFeature([], tf.string),
                self.label: tf.io.FixedLenFeature([], tf.int64),
            },
        )
        return example[self.image], example[self.label]


@dataclass(frozen=True)
class RecordIndex:
    """Where each record's data lies.

    Attributes:
        files: paths of the shards.
        file: int32 [records], position in `files`.
        offset: int64 [records], byte of the file at which the data starts.
        length: int64 [records], bytes of data.
    """

    files: tuple[str, ...]
    file: np.ndarray
    offset: np.ndarray
    length: np.ndarray


def read_records(path: str) -> tf.data.Dataset:
    """Stream the records of a file in order, each checked against its CRC."""
    # tf.data's autotuner makes the end of an iteration wait for its sleeping thread.
    options = tf.data.Options()
    options.autotune.enabled = False
    return tf.data.TFRecordDataset(path).with_options(options)


def damaged(path: str, reason: str) -> UserError:
    """Build the error for a file that TensorFlow could not read or parse."""
    reason = re.sub(r"\{\{.*?\}\} | \[Op:.*", "", reason.splitlines()[0])
    return UserError(
        f"a TFRecord file must be whole; {path}: {reason} (delete its folder and prepare it again)"
    )


def _check_count(path: str, found: int, expected: int) -> None:
    """Raise `UserError` unless all records of a file were found."""
    # TensorFlow takes a file that is cut within a header for one that ends before it.
    if found != expected:
        raise damaged(path, f"{expected:,} records are expected, {found:,} found")


def is_labelled(path: str | os.PathLike[str], keys: ExampleKeys) -> bool:
    """Whether the first record of a file has a label: TFDS writes -1 where there is none."""
    try:
        record = read_records(os.fspath(path)).take(1).get_single_element()
        return int(keys.parse(record)[1]) >= 0
    except tf.errors.OpError as error:
        raise damaged(os.fspath(path), error.message) from None


def scan_records(
    shards: Mapping[str, int], keys: ExampleKeys, progress: Progress
) -> tuple[RecordIndex, np.ndarray, np.ndarray, list[DeepRange]]:
    """Read every record once, several files at a time, and keep only what is small.

    It is kept for the next time as well, until a file has another size or mtime, or a sample of the
    records is not what it was.

    Args:
        shards: path of each file, in order, and the number of its records.
        keys: where an example holds image and label.
        progress: counts the records.

    Returns:
        The index; the labels, int64 [records]; the digests, uint8 [records, 8], FarmHash64 of each
        encoded image; the ranges of 16-bit images. Rows are in the order of the files and of
        the records in them.

    Raises:
        UserError: a file is missing, truncated or damaged; the message names it.
    """
    kept = Kept("records", repr((keys, [*shards.items()])).encode(), _version())
    # Before the scan, which may take minutes.
    before = time.time_ns() - UNSETTLED_NS
    states = np.array([_state(path) for path in shards])
    scanned = _recall(kept, states, shards, keys)
    if scanned:
        progress.update(len(scanned["lengths"]))
    else:
        scanned = _scan(shards, keys, progress)
        if states[:, 1].max() < before:
            kept.write({"states": states, **scanned})
    index = _build_index(shards, scanned["lengths"])
    deep = [DeepRange(*found) for found in scanned["deep"].tolist()]
    return index, scanned["labels"], scanned["digests"], deep


@functools.cache
def _version() -> str:
    """Tell apart all that decides what is found in a file."""
    modules = (sys.modules[__name__], sys.modules[deep_range.__module__], image_formats)
    return version_of(*modules, packages=("tensorflow", "pillow", "numpy"))


def _state(path: str) -> tuple[int, int]:
    """Size and mtime of a file, in nanoseconds; a missing one is told by whoever reads it."""
    try:
        found = os.stat(path)
    except OSError:
        return -1, -1
    return found.st_size, found.st_mtime_ns


def _recall(
    kept: Kept, states: np.ndarray, shards: Mapping[str, int], keys: ExampleKeys
) -> dict[str, np.ndarray] | None:
    """Return what was kept of files as they are now, if some records, spread over all, bear it out."""
    scanned = kept.read()
    if scanned is None or not np.array_equal(scanned["states"], states):
        return None
    read, total = image_reader(_build_index(shards, scanned["lengths"]), keys), len(scanned["lengths"])
    try:
        for row in np.linspace(0, total - 1, min(SAMPLE, total)).astype(int):
            if (tf.fingerprint([read(tf.constant(row))]).numpy()[0] != scanned["digests"][row]).any():
                return None
    except (tf.errors.OpError, OSError):
        return None
    return scanned


def _scan(shards: Mapping[str, int], keys: ExampleKeys, progress: Progress) -> dict[str, np.ndarray]:
    """Read every record: columns lengths, labels and digests, and deep, a range for each 16-bit image."""
    columns = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for column in pool.map(lambda path: _scan_file(path, shards[path], keys), shards):
            columns.append(column)
            progress.update(len(column[0]))
    lengths, labels, digests, deep = zip(*columns, strict=True)
    return {
        **{"lengths": np.concatenate(lengths), "labels": np.concatenate(labels)},
        **{
            "digests": np.concatenate(digests),
            "deep": np.array([*itertools.chain(*deep)], int).reshape(-1, 2),
        },
    }


def _build_index(shards: Mapping[str, int], lengths: np.ndarray) -> RecordIndex:
    """Say where each record lies, from the lengths of all of them in order."""
    parts = np.split(lengths, np.cumsum([*shards.values()])[:-1])
    return RecordIndex(
        files=tuple(shards),
        file=np.repeat(np.arange(len(shards), dtype=np.int32), [*shards.values()]),
        offset=np.concatenate([_offsets(part) for part in parts]),
        length=lengths,
    )


def _scan_file(
    path: str, expected: int, keys: ExampleKeys
) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[DeepRange]]:
    """Return length, label and digest of each record of one file, and ranges of 16-bit images."""
    deep: list[DeepRange] = []
    lengths, labels = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    digests = [np.empty((0, 8), np.uint8)]
    try:
        for records in read_records(path).batch(SCAN_BATCH):
            images, some_labels = keys.parse(records)
            lengths.append(tf.strings.length(records).numpy().astype(np.int64))
            labels.append(some_labels.numpy())
            digests.append(tf.fingerprint(images).numpy())
            deep += _deep_ranges(images.numpy())
    except tf.errors.OpError as error:
        raise damaged(path, error.message) from None
    columns = np.concatenate(lengths), np.concatenate(labels), np.concatenate(digests), deep
    _check_count(path, len(columns[0]), expected)
    return columns


def _deep_ranges(contents: Iterable[bytes]) -> list[DeepRange]:
    return [found for content in contents if (found := deep_range(content))]


def _offsets(lengths: np.ndarray) -> np.ndarray:
    """Turn the lengths of consecutive records into the positions of their data in the file."""
    ends = np.cumsum(lengths + HEADER_BYTES + FOOTER_BYTES)
    return ends - lengths - FOOTER_BYTES


def decode_records(
    shards: Mapping[str, int],
    shape: tuple[int, int],
    keys: ExampleKeys,
    progress: Progress,
    reading: Reading = READING,
) -> tuple[ArrayImages, np.ndarray, list[DeepRange]]:
    """Decode all images, which have one size, into memory.

    Args:
        shards: path of each file, in order, and the number of its records.
        shape: height and width of every image.
        keys: where an example holds image and label.
        progress: counts the images.
        reading: how a file becomes what a network sees.

    Returns:
        Images, grey ones as RGB, with some files as they were; labels, int64 [images]; the ranges of
        16-bit images.

    Raises:
        UserError: a file is missing, truncated or damaged; the message names it.
    """

    def decode(encoded: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, ...]:
        return (
            tf.ensure_shape(decode_image(encoded, upright=reading.exif_orientation), (*shape, 3)),
            label,
            encoded,
        )

    images = np.empty((sum(shards.values()), *shape, 3), np.uint8)
    labels = np.empty(len(images), np.int64)
    deep: list[DeepRange] = []
    originals: dict[int, bytes] = {}
    step = max(len(images) // KEPT_FILES, 1)
    row = 0
    for path, expected in shards.items():
        # Many records are parsed at once: one by one takes six times as long.
        parsed = read_records(path).batch(DECODE_BATCH).map(keys.parse).unbatch()
        first, decoded = row, parsed.map(decode, num_parallel_calls=os.cpu_count())
        try:
            # One image more than there should be is enough to see that the count is wrong.
            for some_images, some_labels, files in decoded.take(expected + 1).batch(DECODE_BATCH):
                stop = row + len(some_labels)
                _check_count(path, max(stop - first, expected), expected)
                images[row:stop], labels[row:stop] = some_images, some_labels
                contents = files.numpy()
                deep += _deep_ranges(contents)
                kept = range(-row % step, len(some_labels), step)
                originals |= {row + place: contents[place] for place in kept}
                progress.update(stop - row)
                row = stop
        except tf.errors.OpError as error:
            raise damaged(path, error.message) from None
        _check_count(path, row - first, expected)
    return ArrayImages(images, originals), labels, deep


class _Shard:
    """An open file that closes once it is out of the cache and the last read from it has returned."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __del__(self) -> None:
        os.close(self.descriptor)


def image_reader(index: RecordIndex, keys: ExampleKeys) -> Callable[[tf.Tensor], tf.Tensor]:
    """Build the graph function from a row (int64 scalar) to its encoded image (string scalar)."""

    @functools.lru_cache(maxsize=OPEN_FILES)
    def shard(number: int) -> _Shard:
        return _Shard(os.open(index.files[number], os.O_RDONLY))

    def read_record(row: np.int64) -> bytes:
        file = shard(int(index.file[row]))
        return os.pread(file.descriptor, int(index.length[row]), int(index.offset[row]))

    def read(row: tf.Tensor) -> tf.Tensor:
        # A stateful op would make tf.data run the whole pipeline one element at a time under
        # enable_op_determinism; a read of a file that does not change has no state.
        record = tf.numpy_function(read_record, [row], tf.string, stateful=False)
        return keys.parse(tf.ensure_shape(record, []))[0]

    return read
