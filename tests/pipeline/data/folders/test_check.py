"""Checking a folder of images: damage, copies, and the memory that it takes."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, TiffTags
from PIL.TiffImagePlugin import ImageFileDirectory_v2

from pipeline.data.decoding.image_formats import BASIC
from pipeline.data.folders import check
from pipeline.data.folders.folder import load_folder
from pipeline.errors import UserError
from tests.commands import ROOT
from tests.encodings import ENCODED, GREY, RGB, enormous, png
from tests.pipeline.data.folder_samples import contents, save

GREY_ALPHA, RGB_ALPHA = 4, 6
"""Colour types of PNG (ISO 15948, table 11.1)."""


def expect_left_out(root: Path, problems: dict[Path, str]) -> None:
    """Check that just these files are left out, and that the table is right without them."""
    source = load_folder(root, max_bad_share=1.0)
    assert dict(source.problems) == {str(path): text for path, text in problems.items()}
    assert list(source.problems) == sorted(source.problems)
    left = {path.read_bytes(): path for path in root.rglob("*.png") if path not in problems}
    assert sorted(contents(source)) == sorted(left)
    split_of_row = {row: name for name, rows in source.provided.items() for row in rows}
    for row, content in enumerate(contents(source)):
        folders = left[content].relative_to(root).parts
        assert source.class_names[source.labels[row]] in folders
        assert split_of_row[row] == {"val": "validation", "test": "test"}.get(folders[0], "train")
        assert source.digests[row].tobytes() == hashlib.blake2b(content, digest_size=16).digest()


def test_every_kind_of_damage_is_listed(root, monkeypatch):
    cat, dog = root / "cat", root / "dog"
    (cat / "empty.png").touch()
    (cat / "text.png").write_text("not an image")
    (dog / "cut.png").write_bytes((dog / "4.png").read_bytes()[:-20])
    (dog / "cut.webp").write_bytes(ENCODED["lossy.webp"][:-20])
    (dog / "vanished.png").symlink_to(root / "nowhere.png")
    os.mkfifo(dog / "pipe.png")
    (dog / "loop.png").symlink_to(root)
    (root / "beside.png").write_text("not in a class folder")
    forbidden = save(cat / "forbidden.png", 99)
    monkeypatch.setattr(check, "open", refuse_to_open(forbidden), raising=False)
    monkeypatch.setattr(check, "CHUNK", 3)
    problems = {
        cat / "empty.png": "empty file",
        cat / "text.png": "not a JPEG, PNG, GIF, BMP, WebP or TIFF image",
        cat / "forbidden.png": "unreadable: Permission denied",
        dog / "cut.png": "truncated or damaged",
        dog / "cut.webp": "truncated or damaged",
        dog / "vanished.png": "unreadable: No such file or directory",
        dog / "pipe.png": "not a regular file",
        dog / "loop.png": "not a regular file",
        root / "beside.png": "not in a class folder",
    }
    expect_left_out(root, problems)


@pytest.mark.parametrize("kind", ["png", "bmp", "gif", "jpg"])
def test_an_enormous_image_is_not_decoded(root, kind):
    path = root / "cat" / f"large.{kind}"
    path.write_bytes(enormous(kind))
    expect_left_out(root, {path: "20,000 x 20,000 pixels are more than 178,956,970"})


def refuse_to_open(forbidden: Path):
    """The built-in `open`, but for one file; root may open whatever its permissions are."""

    def guarded(path, mode):
        if os.fsdecode(path) == str(forbidden):
            raise PermissionError(13, "Permission denied", path)
        return open(path, mode)

    return guarded


def test_of_exact_duplicates_the_first_is_kept(root):
    for name in ["0copy.png", "a/b.png"]:
        save(root / "cat" / name, 0)
    first = "exact duplicate of cat/0.png"
    expect_left_out(root, {root / "cat/0copy.png": first, root / "cat/a/b.png": first})


def test_an_image_under_two_labels_is_left_out_wherever_it_is(split_root):
    save(split_root / "test/dog/x.png", 0)
    save(split_root / "test/dog/y.png", 0)
    under_cat, under_dog = split_root / "train/cat/0.png", split_root / "test/dog"
    save(split_root / "train/cat/more.png", 50)  # so that three are left
    in_train, in_test = "train/cat/0.png", "test/dog/x.png"
    problems = {
        under_cat: f"same image under another label: {in_test}",
        under_dog / "x.png": f"same image under another label: {in_train}",
        under_dog / "y.png": f"same image under another label: {in_train}",
    }
    expect_left_out(split_root, problems)


def test_an_image_in_two_splits_is_kept_in_the_one_that_judges(split_root):
    # Numbers of `split_root`: 6 and 7 are in val, 8 and 9 in test.
    save(split_root / "train/cat/again.png", 6)
    save(split_root / "train/cat/again2.png", 8)
    save(split_root / "val/cat/again3.png", 8)
    problems = {
        split_root / "train/cat/again.png": "same image in validation: val/cat/6.png",
        split_root / "train/cat/again2.png": "same image in test: test/cat/8.png",
        split_root / "val/cat/again3.png": "same image in test: test/cat/8.png",
    }
    expect_left_out(split_root, problems)


def test_share_of_damage_counts_damaged_files_among_all(root):
    (root / "cat" / "empty.png").touch()
    save(root / "cat" / "copy.png", 0)  # not damage, but one of the ten files
    assert len(load_folder(root, max_bad_share=0.1).problems) == 2
    with pytest.raises(UserError) as error:
        load_folder(root, max_bad_share=0.0999)
    message = str(error.value)
    assert "--max-bad-share 0.0999 " in message
    assert "received 0.1 (1 of 10)" in message
    assert "'cat/empty.png' empty file" in message
    assert repr(str(root)) in message


def test_what_is_not_read_is_no_damage_and_is_said_with_what_to_do(root, capsys):
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic"
    for number in range(2):
        (root / "cat" / f"phone{number}.jpg").write_bytes(heic + bytes([number]))
    (root / "dog" / "layers.psd").write_bytes(b"8BPS\0\1")
    (root / "dog" / "cut.png").write_bytes((root / "dog" / "4.png").read_bytes()[:-20])
    says = "HEIC, which is not read (convert to JPEG, as ImageMagick's mogrify -format jpg *.heic does)"
    with pytest.raises(UserError) as error:
        load_folder(root, max_bad_share=0.3)
    message = str(error.value)
    assert "received 0.333 (4 of 12: 1 damaged, 2 HEIC, 1 Photoshop) in" in message
    assert (
        f"'cat/phone0.jpg' {says}; 'dog/cut.png' truncated or damaged; 'dog/layers.psd' Photoshop" in message
    )
    assert "phone1" not in message
    source = load_folder(root, max_bad_share=0.34)
    assert dict(source.problems)[str(root / "cat" / "phone1.jpg")] == says
    assert f"{root}: 2 left out: {says}\n" in capsys.readouterr().out
    assert len(source.labels) == 8


def test_webp_and_tiff_are_read_unless_a_run_is_of_before(root):
    for number, kind in enumerate(("webp", "tiff")):
        save(root / "cat" / f"more.{kind}", 50 + number, kind)
    # As in a camera's raw file that holds a preview.
    Image.new("RGB", (9, 7)).save(root / "dog" / "raw.tif", tiffinfo={254: 1})
    raw = "camera RAW, which is not read (convert to JPEG, as ImageMagick's mogrify -format jpg *.dng does)"
    source = load_folder(root, max_bad_share=0.1)
    assert source.problems == ((str(root / "dog" / "raw.tif"), raw),)
    assert len(source.labels) == 10
    before = load_folder(root, max_bad_share=0.3, formats=BASIC)
    assert [(Path(path).name, problem.partition(",")[0]) for path, problem in before.problems] == [
        *(("more.tiff", "TIFF"), ("more.webp", "WebP"), ("raw.tif", "TIFF"))
    ]
    for name in ("cat/more.webp", "cat/more.tiff", "dog/raw.tif"):
        (root / name).unlink()
    alone = load_folder(root, max_bad_share=0)
    np.testing.assert_array_equal(before.digests, alone.digests)
    np.testing.assert_array_equal(before.labels, alone.labels)


def test_a_tiff_with_a_tag_of_another_type_is_damaged(root):
    tags = ImageFileDirectory_v2()
    tags.tagtype[254] = TiffTags.ASCII  # a number, of those that look at it
    tags[254] = "text"
    Image.new("RGB", (9, 7)).save(root / "dog" / "odd.tif", tiffinfo=tags)
    expect_left_out(root, {root / "dog" / "odd.tif": "truncated or damaged"})


def test_16_bit_tiffs_that_use_a_small_part_of_their_range_are_refused(root):
    for number in range(3):
        samples = np.linspace(number, 4095, 99).astype(np.uint16).reshape(9, 11)
        Image.fromarray(samples).save(root / "cat" / f"deep{number}.tif")
    with pytest.raises(UserError, match=r"received 0 to 4,095 in 3 of 3 of .* as 'cat/deep0.tif'"):
        load_folder(root, max_bad_share=0)


def test_side_files_are_left_out_but_no_damage(root):
    for name in ("0.xml", "LABELS.CSV", "notes.txt", "empty.txt", "README", "boxes.json"):
        (root / "cat" / name).write_text("" if name == "empty.txt" else "no image")
    source = load_folder(root, max_bad_share=0)
    assert {Path(path).name for path, _ in source.problems} == {
        *("0.xml", "LABELS.CSV", "notes.txt", "empty.txt", "README", "boxes.json")
    }
    assert {problem for _, problem in source.problems} == {"a side file, no image"}
    assert len(source.labels) == 8


def test_side_files_do_not_thin_out_the_damage(root):
    for number in range(90):
        (root / "cat" / f"{number}.xml").write_text("no image")
    (root / "cat" / "cut.jpg").write_text("no image")
    with pytest.raises(UserError, match=r"received 0.111 \(1 of 9\)"):
        load_folder(root, max_bad_share=0.1)


def test_an_image_under_the_name_of_a_side_file_is_an_image(root):
    save(root / "cat" / "image.txt", 50)
    source = load_folder(root, max_bad_share=0)
    assert source.problems == ()
    assert len(source.labels) == 9


def test_a_folder_of_side_files_alone_is_told(root):
    (root / "annotations").mkdir()
    (root / "annotations" / "0.xml").write_text("no image")
    with pytest.raises(
        UserError, match=r"0 of 'annotations' .*\(move the folder elsewhere if it is no class\)"
    ):
        load_folder(root, max_bad_share=0)


def save_deep(root: Path, low: int, high: int, kind: int = GREY) -> None:
    """Put four 16-bit images, no two alike, from low to high into both classes."""
    channels = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGB_ALPHA: 4}[kind]
    for number in range(4):
        samples = np.linspace(low, high, 99).astype(np.uint16).reshape(9, 11, 1).repeat(channels, axis=-1)
        samples = np.roll(samples, number, axis=0)
        if kind in (GREY_ALPHA, RGB_ALPHA):
            samples[..., -1] = 65535
        for place, name in enumerate(("cat", "dog")):
            (root / name / f"deep{number}.png").write_bytes(png(np.roll(samples, place, axis=1), 16, kind))


@pytest.mark.parametrize("kind", [GREY, RGB, GREY_ALPHA, RGB_ALPHA])
@pytest.mark.parametrize(("low", "high"), [(0, 1023), (12, 4095), (0, 16383), (29_000, 31_500)])
def test_16_bit_images_that_use_a_small_part_of_their_range_are_refused(root, low, high, kind):
    # Eight images of 8 bits beside them change nothing.
    save_deep(root, low, high, kind)
    with pytest.raises(UserError) as error:
        load_folder(root, max_bad_share=0)
    message = str(error.value)
    assert "most 16-bit images must span at least 16,384 of 0 to 65,535" in message
    assert f"received {low:,} to {high:,} in 8 of 8 of {str(root)!r}, as 'cat/deep0.png'" in message
    assert f"mogrify -level {low},{high}" in message
    assert "\n" not in message


def test_most_16_bit_images_decide(root):
    save_deep(root, 0, 4095)
    # One bright pixel does not make an image of a 12-bit camera another.
    for number in range(7):
        (root / "cat" / f"wide{number}.png").write_bytes(png(np.array([[number, 16384 + number]]), 16, GREY))
    with pytest.raises(UserError, match="received 0 to 4,095 in 8 of 15 of"):
        load_folder(root, max_bad_share=0)
    (root / "cat" / "wide7.png").write_bytes(png(np.array([[7, 16391]]), 16, GREY))
    # The high bytes of most are the same.
    assert len(load_folder(root, max_bad_share=0, by_pixels=False).labels) == 8 + 16


def test_dark_images_of_8_bits_are_read(root):
    (root / "cat" / "dark.png").write_bytes(png(np.ones((3, 3)), 8, GREY))
    assert len(load_folder(root, max_bad_share=0).labels) == 9


MEASURE = """
import sys, psutil
from pathlib import Path
from pipeline.data.folders.folder import load_folder
from pipeline.data.decoding.image_formats import BASIC
small, large = map(Path, sys.argv[1:])
load_folder(small, max_bad_share=0)
before = psutil.Process().memory_info().rss
source = load_folder(large, max_bad_share=0)
assert len(source.labels) == 3000
print(psutil.Process().memory_info().rss - before)
"""


def test_memory_does_not_grow_with_the_images(root, tmp_path):
    for number in range(3000):
        path = tmp_path / "large" / ("cat" if number % 2 else "dog") / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (100, 100), (number % 256, number // 256, 9)).save(path, compress_level=1)
    # The first, small folder pays for what TensorFlow sets up once.
    command = [sys.executable, "-c", MEASURE, root, tmp_path / "large"]
    repository = ROOT
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=True)
    # A row holds about 200 bytes (path, digest, label); the rest allows for the allocator's slack.
    # One image is 30,000 bytes decoded.
    assert int(done.stdout.split()[-1]) < 3000 * 2000
