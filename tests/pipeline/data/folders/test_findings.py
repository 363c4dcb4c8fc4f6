"""What the check of a folder keeps: it is believed only for the files that it was found of."""

import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline.data.batches import Examples, load_images
from pipeline.data.decoding.image_formats import BASIC
from pipeline.data.folders import check
from pipeline.data.folders.folder import load_folder
from pipeline.data.prepare import pixel_statistics
from tests.encodings import GREY, png
from tests.pipeline.data.folder_samples import contents, save

IMAGES = 60
"""More than are read every time to see whether what was kept is of them."""

HOUR_NS = 3600 * 10**9


@pytest.fixture
def kept(tmp_path, monkeypatch) -> Path:
    """A cache directory of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "image_classifier"


@pytest.fixture
def folder(tmp_path, kept) -> Path:
    """Two classes of thirty images, an hour old."""
    root = tmp_path / "in"
    for number in range(IMAGES):
        save(root / ("cat" if number < IMAGES / 2 else "dog") / f"{number:02d}.bmp", number, "BMP")
    return age(root)


def age(root: Path) -> Path:
    """Let the files in a folder be an hour old."""
    hour_ago = time.time_ns() - HOUR_NS
    for path in root.rglob("*.*"):
        os.utime(path, ns=(hour_ago, hour_ago))
    return root


def replace_unseen(path: Path, number: int) -> None:
    """Put another image of the same size in a file's place, and give it the time of before."""
    before = path.stat()
    save(path, number, "BMP")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def digests(root: Path) -> list[bytes]:
    return [digest.tobytes() for digest in load_folder(root, max_bad_share=1).digests]


def fresh_digests(root: Path, tmp_path: Path, monkeypatch) -> list[bytes]:
    """Those of a check that knows nothing."""
    with monkeypatch.context() as elsewhere:
        elsewhere.setenv("XDG_CACHE_HOME", str(tmp_path / "empty"))
        shutil.rmtree(tmp_path / "empty", ignore_errors=True)
        return digests(root)


def test_a_second_check_finds_the_same(folder, kept):
    (folder / "cat" / "cut.png").write_bytes(png(np.zeros((9, 9)), 8, GREY)[:-20])
    (folder / "cat" / "phone.jpg").write_bytes(b"\0\0\0\x18ftypheic\0\0\0\0mif1heic")
    (folder / "cat" / "boxes.xml").write_text("no image")
    (folder / "dog" / "copy.bmp").write_bytes((folder / "dog" / "59.bmp").read_bytes())
    for number in range(3):
        levels = np.array([[number, 40_000 + number]])
        (folder / "dog" / f"deep{number}.png").write_bytes(png(levels, 16, GREY))
    age(folder)
    first, second = (load_folder(folder, max_bad_share=1, by_pixels=False) for _ in range(2))
    assert len([*kept.glob("folder_*.npz")]) == 1
    assert (first.problems, *first.paths) == (second.problems, *second.paths)
    assert len(first.problems) == 4
    np.testing.assert_array_equal(first.digests, second.digests)
    np.testing.assert_array_equal(first.labels, second.labels)
    assert contents(first) == contents(second)


def test_a_second_check_reads_no_image_but_a_sample(folder):
    before = digests(folder)
    # The second of sixty is none of sixteen that are spread evenly.
    replace_unseen(folder / "cat" / "01.bmp", 99)
    assert digests(folder) == before


@pytest.mark.parametrize("change", ["time", "size"])
def test_a_changed_file_is_checked_again(folder, tmp_path, monkeypatch, change):
    before, path = digests(folder), folder / "cat" / "01.bmp"
    save(path, 99, "BMP" if change == "time" else "PNG")
    age(path.parent) if change == "size" else os.utime(path, ns=(0, 1))
    expected = fresh_digests(folder, tmp_path, monkeypatch)
    assert digests(folder) == expected != before
    # Now it is known as it is.
    assert digests(folder) == expected


def test_where_the_sample_differs_nothing_is_believed(folder, tmp_path, monkeypatch, capsys):
    digests(folder)
    replace_unseen(folder / "cat" / "01.bmp", 99)
    replace_unseen(folder / "cat" / "00.bmp", 98)  # the first is always read
    assert digests(folder) == fresh_digests(folder, tmp_path, monkeypatch)
    said = f"{folder / 'cat' / '00.bmp'} is another file with the size and time of before: the whole folder"
    assert said in capsys.readouterr().out


def test_files_come_and_go(folder, tmp_path, monkeypatch):
    digests(folder)
    (folder / "cat" / "07.bmp").unlink()
    (folder / "dog" / "59.bmp").rename(folder / "cat" / "a first.bmp")
    save(folder / "dog" / "new.bmp", 99, "BMP")
    age(folder)
    assert digests(folder) == fresh_digests(folder, tmp_path, monkeypatch)


def test_what_was_written_this_moment_is_not_kept(folder):
    path = save(folder / "cat" / "01.bmp", 99, "BMP")
    before = digests(folder)
    # As within a tick of the file system's clock.
    replace_unseen(path, 98)
    assert digests(folder) != before


def test_formats_are_told_apart(folder):
    save(folder / "cat" / "modern.webp", 99, "WEBP")
    age(folder)
    for _ in range(2):
        assert len(load_folder(folder, max_bad_share=1).labels) == IMAGES + 1
        assert len(load_folder(folder, max_bad_share=1, formats=BASIC).labels) == IMAGES


@pytest.mark.parametrize("damage", ["cut", "other", "folder", "version"])
def test_what_is_damaged_or_of_another_version_is_passed_over(folder, kept, damage):
    before = digests(folder)
    (file,) = kept.glob("folder_*.npz")
    match damage:
        case "cut":
            file.write_bytes(file.read_bytes()[:-100])
        case "other":
            file.write_bytes(b"no arrays")
        case "folder":
            file.unlink()
            file.mkdir()
        case "version":
            with np.load(file) as arrays:
                changed = dict(arrays)
            changed["digests"] = changed["digests"] + 1
            changed["version"] = changed["version"][::-1]
            np.savez(file, **changed)
    assert digests(folder) == before


@pytest.mark.parametrize("place", ["file", "relative", "none"])
def test_without_a_place_to_keep_anything_all_is_checked(folder, tmp_path, monkeypatch, capsys, place):
    (tmp_path / "file").write_text("no folder")
    places = {"file": str(tmp_path / "file"), "relative": "somewhere", "none": ""}
    monkeypatch.setenv("XDG_CACHE_HOME", places[place])
    monkeypatch.setenv("HOME", str(tmp_path / "file"))
    monkeypatch.chdir(tmp_path)
    before = digests(folder)
    replace_unseen(folder / "cat" / "01.bmp", 99)
    assert digests(folder) != before
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "somewhere").exists()


def test_an_interrupted_check_goes_on(folder, tmp_path, kept, monkeypatch):
    before = fresh_digests(folder, tmp_path, monkeypatch)
    with monkeypatch.context() as crash:
        crash.setattr(check, "CHUNK", 20)
        crash.setattr(check, "_put_down", interrupt_after(40, check._put_down))
        with pytest.raises(KeyboardInterrupt):
            digests(folder)
    (file,) = kept.glob("folder_*.npz")
    with np.load(file) as arrays:
        assert len(arrays["identities"]) == 40
    replace_unseen(folder / "cat" / "01.bmp", 99)
    replace_unseen(folder / "dog" / "58.bmp", 98)
    found = digests(folder)
    # The first was known, the second was not yet.
    assert found[1] == before[1]
    assert found[58] != before[58]


def interrupt_after(count: int, function):
    """Let `function` work so many times, and raise what Ctrl-C does from then on."""
    calls = iter(range(count))

    def counted(*arguments: object):
        if next(calls, None) is None:
            raise KeyboardInterrupt
        return function(*arguments)

    return counted


def test_statistics_of_the_same_images_are_measured_once(folder):
    examples = Examples(load_folder(folder, max_bad_share=0), np.arange(IMAGES), image_size=8)
    expected = load_images(examples).astype(float).mean(axis=(0, 1, 2))
    first = pixel_statistics(examples)
    np.testing.assert_allclose(first.mean, expected)
    # Whatever the files have become, the images are those of the digests.
    for path in folder.rglob("*.bmp"):
        path.unlink()
    assert pixel_statistics(examples) == first
    with pytest.raises(tf.errors.NotFoundError):
        pixel_statistics(replace(examples, image_size=9))
