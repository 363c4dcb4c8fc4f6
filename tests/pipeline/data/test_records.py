"""Scanning TFRecord files and reading their records in any order."""

import os
import struct
import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.console.progress import Progress
from pipeline.data import records
from pipeline.data.decoding.decode import decode_image
from pipeline.data.records import ExampleKeys, decode_records, image_reader, is_labelled, scan_records
from pipeline.errors import UserError
from tests.encodings import ENCODED, HEIGHT, WIDTH, save

KEYS = ExampleKeys("image", "label")


def example(image: bytes, label: int, name: str = "") -> bytes:
    """Serialise one labelled image the way TFDS does."""
    feature = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
        "name": tf.train.Feature(bytes_list=tf.train.BytesList(value=[name.encode()])),
    }
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def write(path, data: list[bytes]) -> str:
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in data:
            writer.write(record)
    return str(path)


def walk(path: str) -> list[bytes]:
    """Read a TFRecord file by its framing alone."""
    with open(path, "rb") as file:
        data = []
        while header := file.read(12):
            (length,) = struct.unpack("<Q", header[:8])
            data.append(file.read(length))
            file.read(4)
        return data


@pytest.fixture
def shards(tmp_path) -> dict[str, int]:
    """Three files, the second empty, the third of more records than one batch of the scan."""
    rng = np.random.default_rng(0)
    counts = {"a": 5, "b": 0, "c": records.SCAN_BATCH + 3}
    return {
        write(tmp_path / name, [example(rng.bytes(20 + 7 * i), i % 3) for i in range(count)]): count
        for name, count in counts.items()
    }


def scan(shards):
    progress = Progress(sum(shards.values()), "scan", "records")
    table = scan_records(shards, KEYS, progress)
    assert progress.done == progress.total
    return table[:3]


@pytest.fixture
def old_shards(shards, tmp_path, monkeypatch) -> dict[str, int]:
    """The same, an hour old, and a cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for path in shards:
        os.utime(path, (time.time() - 3600,) * 2)
    return shards


def change_unseen(path: str, place: int) -> None:
    """Change a byte of a file and give it the time of before."""
    before, content = os.stat(path), bytearray(Path(path).read_bytes())
    content[place] ^= 1
    Path(path).write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_a_second_scan_reads_a_sample_alone(old_shards):
    (index, *found), last = scan(old_shards), max(old_shards)
    # The CRC of the last file's second record, the seventh of all and none of the sample's, is wrong now.
    change_unseen(last, len(walk(last)[0]) + 16 + 8)
    again, *kept = scan(old_shards)
    for name in ("files", "file", "offset", "length"):
        np.testing.assert_array_equal(getattr(again, name), getattr(index, name))
    for one, other in zip(kept, found, strict=True):
        np.testing.assert_array_equal(one, other)
    os.utime(last)
    with pytest.raises(UserError, match="must be whole"):
        scan(old_shards)


def test_what_was_written_just_before_a_long_scan_is_not_kept(old_shards, monkeypatch):
    last = max(old_shards)
    os.utime(last)
    with monkeypatch.context() as long:
        scan_file = records._scan_file

        def scan_slowly(*arguments: object):
            long.setattr(time, "time_ns", lambda: os.stat(last).st_mtime_ns + 10**11)
            return scan_file(*arguments)

        long.setattr(records, "_scan_file", scan_slowly)
        scan(old_shards)
    change_unseen(last, len(walk(last)[0]) + 16 + 8)
    with pytest.raises(UserError, match="must be whole"):
        scan(old_shards)


def test_where_the_sample_of_records_differs_all_are_scanned(old_shards):
    scan(old_shards)
    first = min(old_shards)
    image = KEYS.parse([walk(first)[0]])[0].numpy()[0]
    change_unseen(first, Path(first).read_bytes().index(image))
    with pytest.raises(UserError, match="must be whole"):
        scan(old_shards)


def decode(shards, shape=(4, 6)):
    progress = Progress(sum(shards.values()), "decode", "images")
    stored, labels, _ = decode_records(shards, shape, KEYS, progress)
    assert progress.done == progress.total
    return stored.images, labels


def png(pixels: np.ndarray) -> bytes:
    return save(Image.fromarray(pixels), "png")


def test_index_equals_a_walk_over_the_framing(shards):
    index, labels, digests = scan(shards)
    expected = [(file, data) for file, path in enumerate(shards) for data in walk(path)]
    assert len(index.file) == len(labels) == len(digests) == len(expected) == sum(shards.values())
    for row, (file, data) in enumerate(expected):
        assert index.file[row] == file
        with open(index.files[file], "rb") as stream:
            stream.seek(index.offset[row])
            assert stream.read(index.length[row]) == data
        parsed = tf.train.Example.FromString(data).features.feature
        assert labels[row] == parsed["label"].int64_list.value[0]


def test_images_are_read_in_any_order(shards):
    index, _, _ = scan(shards)
    images = [
        tf.train.Example.FromString(data).features.feature["image"].bytes_list.value[0]
        for path in shards
        for data in walk(path)
    ]
    rows = np.random.default_rng(1).permutation(len(images))
    read = tf.data.Dataset.from_tensor_slices(rows).map(image_reader(index, KEYS), num_parallel_calls=4)
    assert list(read.as_numpy_iterator()) == [images[row] for row in rows]


def test_a_record_that_ends_in_zero_bytes_is_read_whole(tmp_path):
    # NumPy strips trailing zeros from its own bytes type. The last field of the last map entry is
    # the image here, so the record's last byte is the image's.
    key, feature = b"image", tf.train.Feature(bytes_list=tf.train.BytesList(value=[b"x\0\0"]))
    label = tf.train.Features(
        feature={"label": tf.train.Feature(int64_list=tf.train.Int64List(value=[1]))}
    ).SerializeToString()
    value = feature.SerializeToString()
    entry = b"\x0a" + bytes([len(key)]) + key + b"\x12" + bytes([len(value)]) + value
    features = label + b"\x0a" + bytes([len(entry)]) + entry
    record = b"\x0a" + bytes([len(features)]) + features
    assert record.endswith(b"x\0\0")
    index, _, _ = scan({write(tmp_path / "a", [record]): 1})
    read = tf.data.Dataset.range(1).map(image_reader(index, KEYS))
    assert list(read.as_numpy_iterator()) == [b"x\0\0"]


def test_reading_has_no_stateful_op(shards):
    # One stateful op makes tf.data run the whole pipeline sequentially under op determinism.
    index, _, _ = scan(shards)
    graph = tf.function(image_reader(index, KEYS)).get_concrete_function(tf.TensorSpec([], tf.int64))
    assert [op.type for op in graph.graph.get_operations() if op.op_def.is_stateful] == []


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs Linux's /proc")
def test_few_files_stay_open(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "OPEN_FILES", 2)
    paths = [write(tmp_path / str(i), [example(bytes([i]), i)]) for i in range(6)]
    index, _, _ = scan(dict.fromkeys(paths, 1))
    read = tf.data.Dataset.range(6).repeat(3).map(image_reader(index, KEYS), 4)
    assert list(read.as_numpy_iterator()) == [bytes([i]) for i in range(6)] * 3
    open_files = [os.path.realpath(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    assert 1 <= len([path for path in open_files if path in paths]) <= 2


def test_digests_tell_images_apart_and_ignore_the_rest(tmp_path):
    data = [example(b"same", 0, "a"), example(b"same", 1, "b"), example(b"other", 0, "a")]
    _, _, digests = scan({write(tmp_path / "a", data): 3})
    assert digests.dtype == np.uint8
    assert digests.shape == (3, 8)
    assert (digests[0] == digests[1]).all()
    assert (digests[0] != digests[2]).any()


def cut(data: bytes, records_kept: int, more: int) -> bytes:
    """Keep some whole records and `more` bytes of the next; all records have one length."""
    return data[: len(data) // 8 * records_kept + more]


DAMAGE = {
    "within the data": lambda data: cut(data, 3, 20),
    "within a header": lambda data: cut(data, 3, 5),
    "between records": lambda data: cut(data, 3, 0),
    "nothing left": lambda data: b"",
    "a flipped bit": lambda data: data[:30] + bytes([data[30] ^ 1]) + data[31:],
    "a record too many": lambda data: data + data[: len(data) // 8],
}


@pytest.mark.parametrize("reader", [scan, decode])
@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_damaged_file_is_refused_by_name(tmp_path, reader, damage):
    image = png(np.zeros((4, 6, 3), np.uint8))
    whole = write(tmp_path / "whole", [example(image, 1)] * 8)
    bad = tmp_path / "bad"
    bad.write_bytes(damage(tmp_path.joinpath("whole").read_bytes()))
    reader({whole: 8})
    with pytest.raises(UserError, match=f"must be whole; {bad}") as error:
        reader({whole: 8, str(bad): 8})
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("reader", [scan, decode, lambda shards: is_labelled(next(iter(shards)), KEYS)])
def test_a_missing_file_and_one_without_records_are_refused_by_name(tmp_path, reader):
    with pytest.raises(UserError, match=str(tmp_path / "none")):
        reader({str(tmp_path / "none"): 1})
    with pytest.raises(UserError, match=str(tmp_path / "empty")):
        reader({write(tmp_path / "empty", []): 1})


def test_images_of_one_size_are_decoded_into_rgb(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "DECODE_BATCH", 2)
    rng = np.random.default_rng(2)
    colour = rng.integers(0, 256, (5, 4, 6, 3), dtype=np.uint8)
    grey = rng.integers(0, 256, (3, 4, 6), dtype=np.uint8)
    shards = {
        write(tmp_path / "a", [example(png(image), i) for i, image in enumerate(colour)]): 5,
        write(tmp_path / "b", [example(png(image), 7) for image in grey]): 3,
    }
    images, labels = decode(shards)
    assert images.dtype == np.uint8
    np.testing.assert_array_equal(images[:5], colour)
    np.testing.assert_array_equal(images[5:], np.stack([grey] * 3, axis=-1))
    np.testing.assert_array_equal(labels, [0, 1, 2, 3, 4, 7, 7, 7])


def test_an_image_of_another_size_is_refused(tmp_path):
    shards = {write(tmp_path / "a", [example(png(np.zeros((4, 5, 3), np.uint8)), 0)]): 1}
    with pytest.raises(UserError, match=str(tmp_path / "a")):
        decode(shards)


@pytest.mark.parametrize(("label", "labelled"), [(-1, False), (0, True), (2, True)])
def test_a_split_without_labels_shows_in_its_first_record(tmp_path, label, labelled):
    assert is_labelled(write(tmp_path / "a", [example(b"", label)]), KEYS) is labelled


def test_images_in_memory_are_decoded_as_on_disk(tmp_path):
    shards = {write(tmp_path / "a", [example(content, 0) for content in ENCODED.values()]): len(ENCODED)}
    progress = Progress(len(ENCODED), "read", "images")
    stored, *_ = decode_records(shards, (HEIGHT, WIDTH), KEYS, progress)
    for image, content in zip(stored.images, ENCODED.values(), strict=True):
        np.testing.assert_array_equal(image, decode_image(content))


def test_some_files_are_kept_as_they_were(tmp_path):
    count = 2 * records.KEPT_FILES + 30
    rng = np.random.default_rng(0)
    files = [png(rng.integers(0, 256, (2, 2, 3), np.uint8)) for _ in range(count)]
    # Of unequal length, the second shorter than the distance from one kept file to the next.
    ends = [count // 2, count // 2 + 1, count]
    shards = {}
    for number, (first, last) in enumerate(zip([0, *ends], ends, strict=False)):
        part = [example(content, 0) for content in files[first:last]]
        shards[write(tmp_path / str(number), part)] = len(part)
    stored, *_ = decode_records(shards, (2, 2), KEYS, Progress(count, "read", "images"))
    assert stored.originals == {row: files[row] for row in range(0, count, 2)}
