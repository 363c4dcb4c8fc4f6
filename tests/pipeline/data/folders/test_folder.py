"""Reading a folder of images: layouts, order of rows, names, bad folders, the problem list."""

import csv
import hashlib
import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.folders.folder import load_folder, write_problems
from pipeline.errors import UserError
from tests.pipeline.data.folder_samples import contents, save


def test_class_folders_provide_train_alone(root):
    source = load_folder(root, max_bad_share=0.0)
    assert source.name == f"folder:{root}"
    assert source.class_names == ("cat", "dog")
    assert source.problems == ()
    assert source.labels.dtype == np.int64
    np.testing.assert_array_equal(source.labels, [0] * 4 + [1] * 4)
    assert list(source.provided) == ["train"]
    np.testing.assert_array_equal(source.provided["train"], np.arange(8))
    expected = [(root / ("cat" if n < 4 else "dog") / f"{n}.png").read_bytes() for n in range(8)]
    assert contents(source) == expected
    assert [Path(path).read_bytes() for path in source.paths] == expected
    digests = [list(hashlib.blake2b(c, digest_size=16).digest()) for c in expected]
    np.testing.assert_array_equal(source.digests, digests)


@pytest.mark.parametrize("validation", ["val", "validation"])
def test_split_folders_provide_each_split(validation, split_root):
    (split_root / "val").rename(split_root / validation)
    source = load_folder(split_root, max_bad_share=0.0)
    rows = {name: rows.tolist() for name, rows in source.provided.items()}
    assert rows == {"train": [0, 1, 2, 3, 4, 5], "validation": [6, 7], "test": [8, 9]}
    np.testing.assert_array_equal(source.labels, [0, 0, 0, 1, 1, 1, 0, 1, 0, 1])
    folders = ["train/cat"] * 3 + ["train/dog"] * 3
    folders += [f"{validation}/cat", f"{validation}/dog", "test/cat", "test/dog"]
    expected = [(split_root / folder / f"{n}.png").read_bytes() for n, folder in enumerate(folders)]
    assert contents(source) == expected


def test_nested_and_linked_files_count_and_hidden_ones_do_not(root, tmp_path):
    save(root / "cat" / "deep" / "deeper" / "8.png", 8)
    target = save(tmp_path / "elsewhere.png", 9)
    (root / "dog" / "link.png").symlink_to(target)
    litter = [".hidden.png", "Thumbs.db", "desktop.ini", ".cache/10.png", "ehthumbs.db", "Icon\r"]
    for name in [*litter, "@eaDir/0.png/SYNOPHOTO_THUMB_M.jpg", "__MACOSX/._0.png", "#recycle/1.png"]:
        save(root / "dog" / name, 10)
    for name in [".git", "__MACOSX", "@eaDir", "lost+found"]:
        save(root / name / "11.png", 11)
    source = load_folder(root, max_bad_share=0.0)
    assert source.class_names == ("cat", "dog")
    assert source.problems == ()
    np.testing.assert_array_equal(np.bincount(source.labels), [5, 5])
    assert target.read_bytes() in contents(source)


def test_table_does_not_depend_on_the_order_of_creation(root, tmp_path):
    paths = sorted(path.relative_to(root) for path in root.rglob("*.png"))
    save(root / "cat" / "copy.png", 0)
    backwards = tmp_path / "backwards"
    for path in [Path("cat/copy.png"), *reversed(paths)]:
        (backwards / path).parent.mkdir(parents=True, exist_ok=True)
        (backwards / path).write_bytes((root / path).read_bytes())
    one, other = (load_folder(path, max_bad_share=0.0) for path in (root, backwards))
    assert contents(one) == [(root / path).read_bytes() for path in paths]
    assert contents(other) == contents(one)
    np.testing.assert_array_equal(one.digests, other.digests)
    assert [Path(p).relative_to(root) for p in one.paths] == paths
    assert one.problems[0][1] == other.problems[0][1] == "exact duplicate of cat/0.png"


def test_odd_names_do_no_harm(root, tmp_path):
    odd = ["Käfer 日本.png", "new\nline.png", 'comma, quote".png', os.fsdecode(b"latin\xe9.png")]
    for number, name in enumerate(odd):
        save(root / "cat" / name, 100 + number)
        (root / "dog" / name).touch()
    source = load_folder(root, max_bad_share=0.5)
    assert set(contents(source)) >= {(root / "cat" / name).read_bytes() for name in odd}
    write_problems(source.problems, tmp_path / "problems.csv")
    with open(tmp_path / "problems.csv", newline="", encoding="utf-8") as file:
        rows = [tuple(row) for row in csv.reader(file)]
    assert rows == [("path", "problem"), *source.problems]
    named = {path for path, _ in source.problems}
    assert named == {str(root / "dog" / name) for name in odd[:3]} | {f"{root}/dog/latin\\xe9.png"}
    with pytest.raises(UserError) as error:
        load_folder(root, max_bad_share=0.0)
    assert "\n" not in str(error.value)
    str(error.value).encode()


def test_problems_are_moved_into_place_whole(tmp_path):
    path = tmp_path / "problems.csv"
    path.write_text("old")

    def interrupted():
        yield "a.png", "empty file"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_problems(interrupted(), path)
    assert path.read_text() == "old"


def remove(path: Path) -> None:
    if path.is_dir():
        for inner in path.iterdir():
            remove(inner)
        path.rmdir()
    else:
        path.unlink()


def move_to(root: Path, *names: str) -> None:
    """Put the images into folders of these names, in place of the classes."""
    (root / "cat").rename(root / names[0])
    (root / "dog").rename(root / names[1])


BAD_CLASS_FOLDERS = {
    "missing": (remove, "must be readable.*No such file"),
    "a file": (lambda root: (remove(root), root.touch()), "must be readable.*Not a directory"),
    "empty": (lambda root: (remove(root), root.mkdir()), "at least 2 class folders; received 0"),
    "one class": (lambda root: remove(root / "cat"), "at least 2 class folders; received 1"),
    "no files": (
        lambda root: [remove(path) for path in root.rglob("*.png")],
        "must hold images in class folders; received none",
    ),
    "nothing readable": (
        lambda root: [path.write_bytes(b"") for path in root.rglob("*.png")],
        "train must hold readable images; received none",
    ),
    "two of a class": (
        lambda root: [remove(root / "dog" / f"{n}.png") for n in (4, 5)],
        "at least 3 readable images in train; received 2 of 'dog'",
    ),
    "the same images in both": (
        lambda root: [
            [save(root / name / f"{n}.png", n) for name in ("cat", "dog", "bird") if name != "bird" or n < 3]
            for n in range(6)
        ],
        "of 'bird' in .*; 3 left out, the first '.*bird/0.png': same image under another label: cat/0",
    ),
    "no train": (lambda root: move_to(root, "val", "test"), "must hold train.*'test', 'val'"),
    "other split names": (
        lambda root: move_to(root, "Training", "Testing"),
        "at least 2 class folders; received 0 beside 4 loose files in '.*Training'",
    ),
    "splits and classes": (lambda root: move_to(root, "train", "bus"), "no others.*'bus', 'train'"),
}


@pytest.mark.parametrize("case", BAD_CLASS_FOLDERS)
def test_bad_class_folders_are_refused(case, root):
    spoil, message = BAD_CLASS_FOLDERS[case]
    spoil(root)
    with pytest.raises(UserError, match=message) as error:
        load_folder(root, max_bad_share=1.0)
    assert str(root) in str(error.value)


def test_a_folder_that_cannot_be_listed_is_refused(root, monkeypatch):
    save(root / "cat" / "deep" / "8.png", 8)
    scandir = os.scandir

    def guarded(path):  # root may list whatever the permissions are
        if os.path.basename(path) == b"deep":
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    with pytest.raises(UserError, match=r"must be readable.*cat/deep': Permission denied"):
        load_folder(root, max_bad_share=1.0)


BAD_SPLIT_FOLDERS = {
    "class only in test": (
        lambda root: save(root / "test/bird/0.png", 77),
        "every class must be in train; received 'bird' only in '.*test'",
    ),
    "val and validation": (
        lambda root: save(root / "validation/cat/0.png", 77),
        "each once.*'val', 'validation'",
    ),
    "empty test": (
        lambda root: (remove(root / "test"), (root / "test").mkdir()),
        "must hold images in class folders; received none in '.*test'",
    ),
    "nothing readable in val": (
        lambda root: [path.write_bytes(b"") for path in (root / "val").rglob("*.png")],
        "validation must hold readable images; received none",
    ),
}


@pytest.mark.parametrize("case", BAD_SPLIT_FOLDERS)
def test_bad_split_folders_are_refused(case, split_root):
    spoil, message = BAD_SPLIT_FOLDERS[case]
    spoil(split_root)
    with pytest.raises(UserError, match=message) as error:
        load_folder(split_root, max_bad_share=1.0)
    assert str(split_root) in str(error.value)


def test_classes_called_valid_and_invalid_are_classes(root):
    move_to(root, "valid", "invalid")
    assert load_folder(root, max_bad_share=0.0).class_names == ("invalid", "valid")
