"""A list of images to leave out: read as spreadsheets save it, found in the table, taken out of splits."""

import os
from pathlib import Path

import pytest

from pipeline.config.config import Config
from pipeline.config.presets import preset
from pipeline.data.exclusions import Line, describe_excluded, read_exclusions
from pipeline.data.prepare import PreparedData, prepare_data
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from tests.pipeline.data.folder_samples import save
from tests.pipeline.training.samples import run_of


@pytest.fixture
def listed(tmp_path) -> Path:
    return tmp_path / "list.csv"


@pytest.mark.parametrize(
    "content",
    [
        b"row,path,label\r\n4,cat/1.png,cat\r\n7,=x/2.png,dog\r\n",
        b"row,path,label\n4,cat/1.png,cat\n7,'=x/2.png,dog\n",
        b"\xef\xbb\xbfrow;Path;label\r\n4;cat/1.png;cat\r\n;;\r\n7;'=x/2.png;dog\r\n\r\n",
        b'FILE \tlabel\ncat/1.png\tcat\n"=x/2.png"\tdog\n',
    ],
    ids=["plain", "apostrophe", "spreadsheet", "tabs"],
)
def test_a_list_is_read_as_it_was_written_or_saved_again(listed, content):
    listed.write_bytes(content)
    lines = [Line(2, "cat/1.png", "cat"), Line(3, "=x/2.png", "dog")]
    assert read_exclusions(listed, by_file=True) == lines
    if b"row" in content:
        by_row = [Line(2, "4", "cat"), Line(3, "7", "dog")]
        assert read_exclusions(listed, by_file=False) == by_row


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must be a CSV with a column path or file in its first line; .*list.csv has nothing$"),
        (b"cat/1.png\n", "must be a CSV with a column path or file .* has cat/1.png$"),
        ("path\nä\n".encode("utf-16"), "must be text in UTF-8; .*list.csv is not"),
        (b"row,path\n1,a\n2,\n", "must name an image in each line; line 3 of .*list.csv has no path$"),
    ],
)
def test_what_is_no_list_is_refused(listed, content, message):
    listed.write_bytes(content)
    with pytest.raises(UserError, match=f"^--exclude {message}"):
        read_exclusions(listed, by_file=True)


def test_only_a_file_is_read(listed):
    for place in (listed, listed.parent):
        with pytest.raises(UserError, match=f"^--exclude must be a readable CSV; {place}: "):
            read_exclusions(place, by_file=True)
    os.mkfifo(listed)  # opened, it would wait
    with pytest.raises(UserError, match=r"it is no regular file$"):
        read_exclusions(listed, by_file=True)


@pytest.fixture
def images(tmp_path) -> Path:
    """Two classes of twelve images, a copy of one and a damaged file."""
    root = tmp_path / "in"
    for number in range(24):
        save(root / ("cat" if number < 12 else "dog") / f"{number:02d}.png", number)
    save(root / "dog" / "copy.png", 12)
    (root / "dog" / "broken.png").write_bytes(b"\x89PNG")
    return root


def prepare(images: Path, **settings: str) -> PreparedData:
    small = {"batch_size": 4, "image_size": 8, "calibration_size": 2, "crop_padding": 0}
    return prepare_data(Config().with_values({"data": f"folder:{images}", **small, **settings}))


def paths_of(data: PreparedData) -> dict[str, list[str]]:
    return {name: [data.source.paths[row] for row in rows] for name, rows in vars(data.splits).items()}


def test_every_other_image_stays_in_its_split(images, listed):
    before = paths_of(prepare(images))
    first = {name: of[0] for name, of in before.items()}
    listed.write_text("path\n" + "".join(f"{path}\n" for path in first.values()))
    data = prepare(images, exclude=str(listed))
    assert paths_of(data) == {name: of[1:] for name, of in before.items()}
    found = {name: [data.source.paths[row] for row in rows] for name, rows in data.excluded.rows.items()}
    assert found == {name: [path] for name, path in first.items()}


def test_an_image_is_named_from_anywhere_and_once_is_enough(images, listed):
    named = ("cat/03.png", "in/cat/04.png", "/moved/in/dog/20.png", f"{images}/../in/./cat/03.png")
    strange = ("cat/99.png", "/other/dog/21.png")
    left_out = ("dog/copy.png", "in/dog/broken.png")
    listed.write_text("file\n" + "".join(f"{name}\n" for name in (*named, *strange, *left_out)))
    excluded = prepare(images, exclude=str(listed)).excluded
    assert excluded.unmatched == strange
    assert excluded.text == "path\r\ncat/03.png\r\ncat/04.png\r\ndog/20.png\r\n"
    moved = images.rename(images.with_name("moved"))
    listed.write_text(excluded.text)
    assert prepare(moved, exclude=str(listed)).excluded.text == excluded.text


def test_a_list_of_another_folder_or_of_all_images_is_refused(images, listed):
    listed.write_text("path\nrat/1.png\nrat/2.png\n")
    with pytest.raises(
        UserError, match=r"^--exclude must name images of .*; none of the 2 of .*'rat/1.png'$"
    ):
        prepare(images, exclude=str(listed))
    listed.write_text("path\n" + "".join(f"cat/{number:02d}.png\n" for number in range(12)))
    with pytest.raises(UserError, match=r"^--exclude must leave .* would leave no image of 'cat' in train$"):
        prepare(images, exclude=str(listed))
    tested = paths_of(prepare(images))["test"]
    listed.write_text("path\n" + "".join(f"{path}\n" for path in tested))
    with pytest.raises(UserError, match=r"would leave none in test$"):
        prepare(images, exclude=str(listed))


def test_a_list_without_images_leaves_none_out(images, listed):
    listed.write_text("row,path,label\n")
    data = prepare(images, exclude=str(listed))
    assert paths_of(data) == paths_of(prepare(images))
    assert describe_excluded(data.excluded, data.source) == f"0 images of {listed}"


def test_the_plan_says_how_many_of_which_class_and_that_test_is_another(images, listed):
    before = paths_of(prepare(images))
    cats, dogs = ([p for p in before["train"] if name in p] for name in ("/cat/", "/dog/"))
    listed.write_text("path\nnone.png\n" + "".join(f"{path}\n" for path in [*cats[:2], dogs[0]]))
    data = prepare(images, exclude=str(listed))
    expected = f"3 images of {listed}: train 3 (cat 2, dog 1)"
    strange = "; 1 of its names are no image's: 'none.png'"
    assert describe_excluded(data.excluded, data.source) == expected + strange
    listed.write_text(f"path\n{before['test'][0]}\n{cats[0]}\n")
    data = prepare(images, exclude=str(listed))
    assert describe_excluded(data.excluded, data.source) == (
        f"2 images of {listed}: train 1 (cat 1), test 1 (cat 1); "
        "so test is not that of a run without the list"
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("path\nx\n", "must be a CSV with a column row in its first line"),
        ("row\n1.5\n", r"must name rows by whole numbers; line 2 of .* has '1.5'$"),
        ("row\n0\n1797\n", r"must name rows below the 1,797 of digits; line 3 of .* has 1797$"),
        ("row,label\n0,3\n", "must be of the very data; row 0 is labelled '0' in digits, and '3' in line 2"),
    ],
)
def test_a_list_for_images_without_files_goes_by_rows(listed, content, message):
    listed.write_text(content)
    with pytest.raises(UserError, match=f"^--exclude {message}"):
        prepare_data(preset("digits").with_values({"exclude": str(listed)}))


def test_a_run_keeps_its_list_and_another_cannot_take_its_place(listed, tmp_path):
    listed.write_text("row,label\n7,7\n3,3\n")
    run_dir = tmp_path / "run"
    settings = ["digits", "--model", "convnet", "--width", "4", "--exclude", str(listed)]
    rows = {
        name: rows.tolist()
        for name, rows in vars(run_of(run_dir, *settings).resolved.ground.data.splits).items()
    }
    whole = prepare_data(preset("digits")).splits
    assert rows == {
        name: [row for row in of.tolist() if row not in (3, 7)] for name, of in vars(whole).items()
    }
    directory = RunDirectory(run_dir)
    assert directory.excluded.read_text() == "row,label\n3,3\n7,7\n"
    listed.write_text("row,label\n7,7\n")
    again = prepare_data(directory.load_unfinished({}))
    assert {name: of.tolist() for name, of in vars(again.splits).items()} == rows
    directory.load_unfinished({"exclude": str(listed)})
    with pytest.raises(
        UserError, match=r"^--resume needs the images .*digits without those of .*list\.csv no"
    ):
        run_of(run_dir, *settings)
    (run_dir / "config.json").unlink()
    with pytest.raises(UserError, match=r"holds no run, but excluded\.csv"):
        directory.check_is_new()
