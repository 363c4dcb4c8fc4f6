"""Splits: disjoint, whole, stratified, seeded; and what their fingerprints depend on."""

import dataclasses
import hashlib

import numpy as np
import pytest

from pipeline.config.presets import preset
from pipeline.config.settings import DataConfig
from pipeline.data.prepare import prepare_data
from pipeline.data.splits import describe_splits, fingerprint, split_source
from pipeline.data.table import ArrayImages, Source
from pipeline.errors import UserError

NAMES = ("train", "validation", "calibration", "test")


def make_source(per_class: list[int], **provided: np.ndarray) -> Source:
    """A source of that many images a class, in random order, with random digests."""
    generator = np.random.default_rng(7)
    labels = generator.permutation(np.repeat(np.arange(len(per_class)), per_class))
    return Source(
        name="made up",
        class_names=tuple("abcdefghijkl"[: len(per_class)]),
        labels=labels,
        digests=generator.integers(0, 256, (len(labels), 16), dtype=np.uint8),
        images=ArrayImages(np.zeros((len(labels), 2, 2, 3), np.uint8)),
        provided={"train": np.arange(len(labels)), **provided},
    )


def split(source: Source, seed: int = 0, **settings: float) -> dict[str, np.ndarray]:
    return vars(split_source(source, DataConfig(**settings), seed))


def counts(source: Source, rows: np.ndarray) -> np.ndarray:
    return np.bincount(source.labels[rows], minlength=len(source.class_names))


@pytest.mark.parametrize("per_class", [[200, 200], [500, 100, 23], [3, 90, 7], [3, 3, 3]])
def test_no_image_is_in_two_splits_and_none_is_lost(per_class):
    source = make_source(per_class)
    splits = split(source)
    assert tuple(sorted(splits)) == tuple(sorted(NAMES))
    assert sorted(np.concatenate(list(splits.values()))) == list(range(sum(per_class)))
    for name in ("train", "validation", "test"):
        assert counts(source, splits[name]).min() >= 1
    for rows in splits.values():
        assert rows.dtype == np.int64
        assert np.all(np.diff(rows) > 0)


@pytest.mark.parametrize(("validation", "test"), [(0.1, 0.15), (0.5, 0.5), (0.01, 0.2)])
def test_each_class_gives_its_share(validation, test):
    source = make_source([400, 101, 57])
    splits = split(source, validation_share=validation, test_share=test, calibration_size=60)
    left = np.array([400, 101, 57])
    capped = min(60 / (left.sum() * (1 - test) * (1 - validation)), 0.1)
    for name, share in (("test", test), ("validation", validation), ("calibration", capped)):
        drawn = counts(source, splits[name])
        assert np.all(np.abs(drawn - share * left) <= 1)
        left = left - drawn
    assert np.array_equal(counts(source, splits["train"]), left)


def test_the_seed_decides():
    source = make_source([60, 60])
    first, again, other = split(source), split(source), split(source, seed=1)
    for name in NAMES:
        assert np.array_equal(first[name], again[name])
        assert len(first[name]) == len(other[name])
        assert not np.array_equal(first[name], other[name])


def test_provided_splits_are_taken_as_they_are():
    rows = np.arange(300)
    source = make_source([150, 150], train=rows[:200], test=rows[200:260], validation=rows[260:])
    splits = split(source)
    assert np.array_equal(splits["test"], rows[200:260])
    assert np.array_equal(splits["validation"], rows[260:])
    drawn_from_train = np.concatenate([splits["train"], splits["calibration"]])
    assert np.array_equal(np.sort(drawn_from_train), rows[:200])

    source = make_source([150, 150], train=rows[:200], test=rows[200:])
    splits = split(source, validation_share=0.25)
    assert np.array_equal(splits["test"], rows[200:])
    assert abs(len(splits["validation"]) - 50) <= 2  # one a class
    assert splits["validation"].max() < 200


@pytest.mark.parametrize(
    ("per_class", "size", "expected"),
    [
        ([2000, 2000], 500, 306),  # a tenth of train's 4000 x 0.85 x 0.9 = 3060
        ([2000, 2000], 100, 100),
    ],
)
def test_calibration_is_capped(per_class, size, expected):
    splits = split(make_source(per_class), calibration_size=size)
    assert len(splits["calibration"]) == expected


@pytest.mark.parametrize(
    ("per_class", "size", "expected"),
    [
        ([150] * 10, 6, 6),
        ([150] * 10, 4, 4),
        ([7] * 10, 500, 5),  # a tenth of 10 x 5
    ],
)
def test_calibration_has_the_asked_size_in_all(per_class, size, expected):
    splits = split(make_source(per_class), calibration_size=size)
    assert len(splits["calibration"]) == expected


def test_a_class_too_small_for_every_split():
    with pytest.raises(UserError, match=r"at least 3 images .* class 'b' of made up has 2 ") as error:
        split(make_source([50, 2]))
    # No share is small enough to help.
    assert "--" not in str(error.value)
    split(make_source([50, 3]))


def test_classes_that_are_all_too_small():
    with pytest.raises(UserError, match=r"class 'a' of made up has none left of 3 .lower.*--test-share"):
        split(make_source([3, 3]), test_share=0.5, validation_share=0.5)


def test_fingerprint_is_sha256_of_digests_then_labels():
    source = make_source([5, 6])
    rows = np.array([3, 0, 7])
    expected = hashlib.sha256()
    for row in rows:
        expected.update(bytes(source.digests[row].tolist()))
    for row in rows:
        expected.update(int(source.labels[row]).to_bytes(8, "little"))
    assert fingerprint(source, rows) == expected.hexdigest()
    other_place = dataclasses.replace(source, name="elsewhere", provided={})
    assert fingerprint(other_place, rows) == fingerprint(source, rows)


def test_fingerprint_changes_with_content_label_and_order():
    source = make_source([5, 6])
    rows = np.arange(11)
    digests, labels = source.digests.copy(), source.labels.copy()
    digests[4, 9] ^= 1
    labels[4] ^= 1
    changed = [
        (source, rows),
        (dataclasses.replace(source, digests=digests), rows),
        (dataclasses.replace(source, labels=labels), rows),
        (source, rows[::-1]),
        (source, rows[:-1]),
    ]
    assert len({fingerprint(*pair) for pair in changed}) == len(changed)


def test_the_record_of_the_splits():
    source = make_source([40, 20, 30])
    splits = split_source(source, DataConfig(), 0)
    record = describe_splits(source, splits)
    assert (record["source"], record["class_names"]) == ("made up", ["a", "b", "c"])
    assert record["splits"].keys() == set(NAMES)
    for name, rows in vars(splits).items():
        assert record["splits"][name] == {
            "images": len(rows),
            "per_class": [int(np.sum(source.labels[rows] == label)) for label in range(3)],
            "fingerprint": fingerprint(source, rows),
        }


def test_a_seed_of_its_own_splits_alike_whatever_the_runs():
    own = preset("digits").with_values({"split_seed": 3})
    expected = prepare_data(preset("digits").with_values({"seed": 3})).splits
    for seed in (0, 7):
        splits = prepare_data(own.with_values({"seed": seed})).splits
        assert all((vars(splits)[name] == rows).all() for name, rows in vars(expected).items())
    assert (prepare_data(preset("digits")).splits.test != expected.test).any()
