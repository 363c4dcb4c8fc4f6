"""The same image more than once, under other bytes too, and in sets that are used as they are."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.data.copies import describe_copies
from pipeline.data.folders.folder import load_folder
from pipeline.data.table import ArrayImages, Source
from tests.pipeline.data.folder_samples import save

COPIES = {"bmp": {}, "gif": {}, "webp": {"lossless": True}, "tiff": {}}


def save_as(path: Path, of: Path, **options: bool) -> None:
    """Write the pixels of an image in another format, as the name says."""
    with Image.open(of) as image:
        image.save(path, **options)


@pytest.mark.parametrize("kind", ["bmp", "webp", "tiff"])
def test_the_same_pixels_under_two_labels_are_left_out(root, kind):
    save_as(root / "dog" / f"other.{kind}", root / "cat" / "0.png", **COPIES[kind])
    save(root / "cat" / "more.png", 50)
    source = load_folder(root, max_bad_share=0)
    assert dict(source.problems) == {
        str(root / "cat" / "0.png"): f"same image under another label: dog/other.{kind}",
        str(root / "dog" / f"other.{kind}"): "same image under another label: cat/0.png",
    }


def test_the_same_pixels_in_a_split_and_in_two(split_root):
    save_as(split_root / "train" / "cat" / "9.bmp", split_root / "train" / "cat" / "0.png")
    save_as(split_root / "train" / "dog" / "tested.bmp", split_root / "test" / "dog" / "9.png")
    source = load_folder(split_root, max_bad_share=0)
    assert dict(source.problems) == {
        str(split_root / "train/cat/9.bmp"): "same pixels as train/cat/0.png",
        str(split_root / "train/dog/tested.bmp"): "same image in test: test/dog/9.png",
    }


def test_a_run_of_before_tells_copies_by_their_bytes(root):
    save_as(root / "cat" / "copy.bmp", root / "cat" / "0.png")
    (root / "cat" / "exact.png").write_bytes((root / "cat" / "0.png").read_bytes())
    source = load_folder(root, max_bad_share=0, by_pixels=False)
    assert source.problems == ((str(root / "cat" / "exact.png"), "exact duplicate of cat/0.png"),)


def test_the_same_bytes_in_another_shape_are_another_image(root):
    pixels = np.random.default_rng(0).integers(0, 256, (6, 8, 3), np.uint8)
    for name, shape in (("wide", (6, 8, 3)), ("tall", (8, 6, 3))):
        Image.fromarray(pixels.reshape(shape)).save(root / "cat" / f"{name}.png")
    assert load_folder(root, max_bad_share=0).problems == ()


def test_an_image_stored_turned_is_the_same_as_upright(root):
    with Image.open(root / "cat" / "0.png") as image:
        exif = Image.Exif()
        exif[0x0112] = 3  # turned by half (EXIF 2.3, 4.6.4 A)
        image.rotate(180).save(root / "cat" / "turned.png", exif=exif)
    source = load_folder(root, max_bad_share=0)
    assert source.problems == ((str(root / "cat" / "turned.png"), "same pixels as cat/0.png"),)


def set_of(numbers: dict[str, list[int]], labels: dict[str, list[int]]) -> Source:
    """A set whose splits hold numbered images; equal numbers are equal images."""
    rows = np.split(np.arange(sum(map(len, numbers.values()))), np.cumsum([*map(len, numbers.values())])[:-1])
    digests = np.array([number for some in numbers.values() for number in some], np.uint64)
    return Source(
        name="drawn",
        class_names=("a", "b"),
        labels=np.array([label for some in labels.values() for label in some]),
        digests=np.stack([digests, digests], axis=1).view(np.uint8),
        images=ArrayImages(np.zeros((len(digests), 1, 1, 3), np.uint8)),
        provided=dict(zip(numbers, rows, strict=True)),
    )


def test_copies_in_a_set_are_said():
    source = set_of(
        {"train": [1, 2, 3, 4, 2, 9], "validation": [3, 5], "test": [4, 6, 9, 5, 1, 2]},
        {"train": [0, 0, 0, 0, 0, 1], "validation": [0, 0], "test": [0, 0, 1, 0, 1, 0]},
    )
    all_used = "(all are used; --exclude FILE leaves rows out)"
    assert describe_copies(source) == [
        f"drawn: 5 images of train also in test, in rows 0, 1, 3, 4, 5 {all_used}",
        f"drawn: 1 image of train also in validation, in rows 2 {all_used}",
        f"drawn: 1 image of validation also in test, in rows 7 {all_used}",
        f"drawn: 2 images under two labels, in rows 0, 12 {all_used}",
    ]


def test_a_set_without_copies_is_passed_over():
    # Twice in one split spoils nothing.
    source = set_of({"train": [1, 2, 2], "test": [3, 4]}, {"train": [0, 1, 1], "test": [0, 1]})
    assert describe_copies(source) == []


def test_many_rows_are_not_all_named():
    source = set_of({"train": [*range(9)], "test": [*range(9)]}, {"train": [0] * 9, "test": [0] * 9})
    (line,) = describe_copies(source)
    assert "9 images of train also in test, in rows 0, 1, 2, 3, 4, ... (" in line
