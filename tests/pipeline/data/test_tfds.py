"""Sets of TensorFlow Datasets, read from their TFRecord files, against TFDS's own reading."""

import http.server
import os
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.request import ProxyHandler, build_opener, install_opener

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from pipeline.config.settings import DataConfig
from pipeline.data import tfds as sets
from pipeline.data.splits import describe_splits, split_source
from pipeline.data.table import ArrayImages, EncodedImages
from pipeline.data.tfds import UnavailableData, load_tfds
from pipeline.errors import UserError
from tests.pipeline.data import tiny_builder as tiny

SHARED_DATA = Path(__file__).parents[4] / "shared" / "tensorflow_datasets"


def use_proxy(url: str) -> None:
    """Ask a proxy for whatever lies behind https."""
    install_opener(build_opener(ProxyHandler({"https": url})))


@pytest.fixture
def data_dir(tmp_path, monkeypatch) -> Iterator[Path]:
    """An empty TFDS folder and no network."""
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))
    use_proxy("http://127.0.0.1:9")
    yield tmp_path
    install_opener(None)


class Host(http.server.BaseHTTPRequestHandler):
    """Answers with 403, as storage servers do for their root; as a proxy, it connects to nobody."""

    def do_HEAD(self):
        self.server.asked.append(self.path)
        self.send_error(403)

    do_CONNECT = do_HEAD

    def log_message(self, format, *values: object):
        """Keep quiet."""


@pytest.fixture
def host() -> Iterator[http.server.HTTPServer]:
    """A server on this machine, and what it was asked for."""
    with http.server.HTTPServer(("127.0.0.1", 0), Host) as server:
        server.asked, server.url = [], f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def examples(folder: Path, splits: list[str]) -> list[tuple[np.ndarray, int, str, int]]:
    """Image, label, split and i of each example, in the order of TFDS's files."""
    in_order = tfds.ReadConfig(interleave_cycle_length=1)  # By default 16 files are mixed.
    builder = tfds.builder_from_directory(folder)
    rows = [row for split in splits for row in tfds.as_numpy(builder.as_dataset(split, read_config=in_order))]
    names = [row["name"].decode().split("/") for row in rows]
    return [(row["image"], row["label"], split, int(i)) for row, (split, i) in zip(rows, names, strict=True)]


def decode_rows(images: EncodedImages, rows) -> list[np.ndarray]:
    encoded = tf.data.Dataset.from_tensor_slices(rows).map(images.read, num_parallel_calls=2)
    return [tf.io.decode_image(image).numpy() for image in encoded]


def test_images_of_many_sizes_stay_encoded(data_dir):
    folder = tiny.prepare(tiny.TinyVariable, data_dir, shards=3)
    source = load_tfds("tiny_variable")
    expected = examples(folder, ["train", "validation", "test"])
    assert isinstance(source.images, EncodedImages)
    rows = np.random.default_rng(0).permutation(len(expected))
    for row, image in zip(rows, decode_rows(source.images, rows), strict=True):
        tfds_image, tfds_label, split, i = expected[row]
        np.testing.assert_array_equal(image, tfds_image)
        np.testing.assert_array_equal(image, tiny.image_of(split, i, *tiny.size_of(i)))
        assert source.labels[row] == tfds_label == tiny.label_of(split, i)
        assert row in source.provided[split]
    assert {split: len(rows) for split, rows in source.provided.items()} == {
        "train": 40,
        "validation": 7,
        "test": 9,
    }
    assert source.class_names == tiny.CLASS_NAMES


@pytest.mark.parametrize(("builder", "name"), [(tiny.TinyFixed, "tiny_fixed"), (tiny.TinyGrey, "tiny_grey")])
def test_images_of_one_size_are_held_in_memory(data_dir, builder, name):
    folder = tiny.prepare(builder, data_dir, shards=2)
    source = load_tfds(name)
    expected = examples(folder, ["train", "test"])
    assert isinstance(source.images, ArrayImages)
    assert source.images.images.shape == (49, 4, 6, 3)
    for row, (_, _, split, i) in enumerate(expected):
        image = tiny.image_of(split, i, 4, 6)
        channels = image if builder.SHAPE[2] == 3 else image[:, :, [0, 0, 0]]
        np.testing.assert_array_equal(source.images.images[row], channels)
        assert source.labels[row] == tiny.label_of(split, i)
        assert row in source.provided[split]


def test_images_beyond_the_limit_stay_encoded(data_dir, monkeypatch):
    tiny.prepare(tiny.TinyFixed, data_dir)
    held = load_tfds("tiny_fixed")
    for beyond, kind in ((0, ArrayImages), (1, EncodedImages)):
        monkeypatch.setattr(sets, "ARRAY_BYTES", held.images.images.nbytes - beyond)
        source = load_tfds("tiny_fixed")
        assert isinstance(source.images, kind)
    images = decode_rows(source.images, np.arange(len(source.labels)))
    np.testing.assert_array_equal(images, held.images.images)
    np.testing.assert_array_equal(source.labels, held.labels)


def test_validation_stands_in_for_a_test_split_without_labels(data_dir, capsys):
    folder = tiny.prepare(tiny.TinyUnlabelledTest, data_dir)
    source = load_tfds("tiny_unlabelled_test")
    out = capsys.readouterr().out
    assert "no labelled test split; its validation split" in out
    assert "tiny_unlabelled_test/1.0.0: not used: test (no labels)\n" in out
    expected = [label for _, label, _, _ in examples(folder, ["train", "validation"])]
    np.testing.assert_array_equal(source.labels, expected)
    np.testing.assert_array_equal(source.provided["train"], np.arange(12))
    np.testing.assert_array_equal(source.provided["test"], np.arange(12, 17))
    assert set(source.provided) == {"train", "test"}


def test_splits_are_known_by_their_usual_names_and_what_is_unused_is_said(data_dir, capsys):
    folder = tiny.prepare(tiny.TinyOtherNames, data_dir)
    capsys.readouterr()  # what TFDS says
    source = load_tfds("tiny_other_names")
    rows = {split: (rows[0], len(rows)) for split, rows in source.provided.items()}
    assert rows == {"train": (0, 12), "validation": (12, 6), "test": (18, 9)}
    expected = [label for _, label, _, _ in examples(folder, ["Training", "dev", "test"])]
    np.testing.assert_array_equal(source.labels, expected)
    assert capsys.readouterr().out == "tiny_other_names/1.0.0: not used: extra, test_unlabelled\n"


def test_of_two_splits_of_one_meaning_the_other_is_said(data_dir, capsys):
    tiny.prepare(tiny.TinyBothNames, data_dir)
    capsys.readouterr()  # what TFDS says
    source = load_tfds("tiny_both_names")
    assert {split: len(rows) for split, rows in source.provided.items()} == {"train": 12, "test": 5}
    assert capsys.readouterr().out == (
        "tiny_both_names/1.0.0 has no labelled test split; its validation split is used\n"
        "tiny_both_names/1.0.0: not used: val\n"
    )


def test_a_validation_split_without_labels_is_left_out(data_dir, capsys):
    tiny.prepare(tiny.TinyUnlabelledValidation, data_dir)
    source = load_tfds("tiny_unlabelled_validation")
    assert {split: len(rows) for split, rows in source.provided.items()} == {"train": 12, "test": 9}
    assert "tiny_unlabelled_validation/1.0.0: not used: valid (no labels)" in capsys.readouterr().out


def test_classes_without_an_image_in_train_are_no_classes(data_dir, capsys):
    folder = tiny.prepare(tiny.TinyEmptyClasses, data_dir)
    capsys.readouterr()  # what TFDS says
    source = load_tfds("tiny_empty_classes")
    assert source.class_names == ("2", "4")
    labels = np.array([label for _, label, _, _ in examples(folder, ["train", "test"])])
    used = np.concatenate(list(source.provided.values()))
    np.testing.assert_array_equal(used, np.flatnonzero(labels != 5))
    np.testing.assert_array_equal(source.labels[used], np.where(labels[used] == 2, 0, 1))
    assert capsys.readouterr().out == (
        "tiny_empty_classes has no image to train on of 4 of its 6 classes, which are left out: "
        "0, 1, 3, 5 (3 images of them in other splits)\n"
    )
    splits = split_source(source, DataConfig(), 0)
    assert describe_splits(source, splits)["splits"]["test"]["per_class"] == [3, 3]


def test_a_set_of_one_class_is_refused(data_dir):
    tiny.prepare(tiny.TinyOneClass, data_dir)
    assert "at least 2 classes; tiny_one_class has 1" in refusal("tiny_one_class")


def test_names_that_print_the_same_are_refused(data_dir):
    tiny.prepare(tiny.TinySameNames, data_dir)
    message = refusal("tiny_same_names")
    assert r"received b'caf\xc3\xa9' and b'cafe\xcc\x81' in tiny_same_names" in message


@pytest.mark.parametrize("builder", [tiny.TinyDeep, tiny.TinyDeepFixed])
def test_16_bit_images_that_use_a_small_part_of_their_range_are_refused(data_dir, builder):
    tiny.prepare(builder, data_dir)
    message = refusal(builder.name)
    assert "most 16-bit images must span at least 16,384 of 0 to 65,535" in message
    assert re.search(rf"received \d+ to 4,095 in 49 of 49 of {builder.name} ", message)


def test_16_bit_images_that_use_their_range_are_read(data_dir):
    tiny.prepare(tiny.TinyDeepBright, data_dir)
    assert len(load_tfds("tiny_deep_bright").labels) == 49


def test_cifar10_equals_tfds(monkeypatch):
    folder = Path(os.environ.get("TFDS_DATA_DIR", SHARED_DATA))
    if not (folder / "cifar10").is_dir():
        pytest.skip(f"CIFAR-10 is not prepared in {folder}; set TFDS_DATA_DIR")
    monkeypatch.setenv("TFDS_DATA_DIR", str(folder))
    source = load_tfds("cifar10")
    builder = tfds.builder("cifar10", data_dir=folder)
    assert source.images.images.shape == (60000, 32, 32, 3)
    assert source.class_names == tuple(builder.info.features["label"].names)
    for split, first in {"train[:100]": 0, "train[-100:]": 49900, "test[5000:5100]": 55000}.items():
        rows = tfds.as_numpy(builder.as_dataset(split))
        for row, expected in enumerate(rows, start=first):
            np.testing.assert_array_equal(source.images.images[row], expected["image"])
            assert source.labels[row] == expected["label"]
    np.testing.assert_array_equal(source.provided["test"], np.arange(50000, 60000))


def refusal(name: str) -> str:
    """The one line with which a source is refused."""
    with pytest.raises(UserError) as error:
        load_tfds(name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize("name", ["cifar10", "imagenette/160px-v2", "mnist"])
def test_a_set_that_is_not_at_hand_is_refused_within_seconds(data_dir, name):
    started = time.monotonic()
    with pytest.raises(UnavailableData):
        load_tfds(name)
    assert time.monotonic() - started < 5
    message = refusal(name)
    for way in (str(data_dir), "TFDS_DATA_DIR", f"tfds build {name}", "folder:PATH", "digits"):
        assert way in message
    assert list(data_dir.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "holder"),
    [
        ("cifar100", "www.cs.toronto.edu"),
        ("imagenette/160px-v2", "s3.amazonaws.com"),
        ("mnist", "storage.googleapis.com"),
    ],
)
def test_the_host_that_holds_the_set_is_probed(data_dir, host, name, holder):
    use_proxy(host.url)
    assert f"https://{holder} cannot be reached" in refusal(name)
    assert host.asked == [f"{holder}:443"]


def test_a_set_to_fetch_by_hand_names_the_folder(data_dir):
    with pytest.raises(UnavailableData, match=str(data_dir / "downloads" / "manual")) as error:
        load_tfds("imagenet2012")
    assert "ILSVRC2012_img_train.tar" in str(error.value)


def test_a_set_is_prepared_where_its_host_answers(data_dir, host, monkeypatch):
    monkeypatch.setitem(sets.DOWNLOAD_HOSTS, "tiny_fixed", host.url)
    for _ in range(2):
        assert len(load_tfds("tiny_fixed").labels) == 49
    # What is prepared is not asked for again.
    assert host.asked == ["/"]


def test_a_download_that_fails_is_refused(data_dir, host, monkeypatch):
    monkeypatch.setitem(sets.DOWNLOAD_HOSTS, "tiny_unreachable", host.url)
    with pytest.raises(UnavailableData, match=r"could not be prepared in .*connection lost"):
        load_tfds("tiny_unreachable")


def test_a_host_that_is_not_there_is_not_reachable(data_dir, monkeypatch):
    monkeypatch.setattr(sets, "PROBE_SECONDS", 0.3)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        started = time.monotonic()
        assert not sets.reachable(f"http://127.0.0.1:{port}")  # Takes the call, never answers.
        assert time.monotonic() - started < 5
    assert not sets.reachable(f"http://127.0.0.1:{port}")  # Refuses the call.
    assert not sets.reachable("http://no-such-host.invalid")


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("cifra10", "did you mean 'cifar10'"),
        ("imagenette/160px-v3", "did you mean 'imagenette/160px-v2'"),
        ("cifar10:9.9.9", "only: 3.0.2"),
        ("no such set", "no such set"),
    ],
)
def test_an_unknown_name_gets_a_short_answer(data_dir, name, near):
    message = refusal(name)
    assert near in message
    assert repr(name) in message
    assert len(message) < 200 + len(str(data_dir))


@pytest.mark.parametrize("name", ["imdb_reviews", "coco", "tiny_text"])
def test_a_set_without_labelled_images_is_refused_before_any_download(data_dir, name):
    assert "must have supervised keys" in refusal(name)
    assert list(data_dir.iterdir()) == []


def test_a_set_without_a_train_split_is_refused(data_dir):
    tiny.prepare(tiny.TinyOnlyTest, data_dir)
    assert "must have a train split; tiny_only_test/1.0.0 has test" in refusal("tiny_only_test")


def test_a_set_in_another_format_is_refused(data_dir):
    folder = tiny.prepare(tiny.TinyFixed, data_dir)
    info = folder / "dataset_info.json"
    info.write_text(info.read_text().replace('"tfrecord"', '"array_record"'))
    assert f"as tfrecord; {folder} holds array_record" in refusal("tiny_fixed")


def test_a_folder_that_is_half_there_is_refused(data_dir):
    folder = tiny.prepare(tiny.TinyFixed, data_dir, shards=2)
    shard = folder / "tiny_fixed-train.tfrecord-00001-of-00002"
    whole = shard.read_bytes()
    shard.write_bytes(whole[: len(whole) // 2])
    assert str(shard) in refusal("tiny_fixed")
    shard.unlink()
    assert f"{shard} is missing" in refusal("tiny_fixed")
    (folder / "features.json").unlink()
    (folder / "dataset_info.json").write_text("{")
    assert str(data_dir) in refusal("tiny_fixed")
    (folder / "dataset_info.json").unlink()
    assert f"{folder} is incomplete" in refusal("tiny_fixed")


def test_a_label_out_of_range_is_refused(data_dir):
    tiny.prepare(tiny.TinyUnlabelled, data_dir)
    assert "labels of tiny_unlabelled must be 0..2; received -1" in refusal("tiny_unlabelled")
