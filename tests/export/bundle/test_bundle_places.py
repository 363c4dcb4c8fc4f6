"""Places that a bundle may take, and those that are refused in one line and left as they were."""

import errno
import os
from pathlib import Path

import pytest

from export.bundle.directory import BundleDirectory
from pipeline.errors import UserError
from tests.export.bundle.bundle_samples import NEW, OLD, beside, export, fill, read


@pytest.mark.parametrize("name", ["thesis.txt", "report.json", "report.json.txt", "below/report.json"])
def test_other_peoples_files_are_refused_and_left(directory, name):
    fill(directory.path, {name: "mine"})
    with pytest.raises(UserError, match=r"^--out must be new, empty or an earlier bundle; receiv"):
        export(directory)
    assert read(directory.path) == {name: "mine"}
    assert beside(directory) == set()


def test_a_file_is_refused_and_left(directory):
    fill(directory.path.parent, {"export": "mine"})
    with pytest.raises(UserError, match=r"^--out must be a directory; received the file .*export$"):
        export(directory)
    assert directory.path.read_text() == "mine"


@pytest.mark.parametrize(
    ("place", "reason"),
    [
        ("file/runs/export", ".*/file is no directory"),
        ("file/export", ".*/file is no directory"),
        ("x" * 300, "File name too long"),
    ],
    ids=["in a file", "directly in a file", "long name"],
)
def test_a_place_that_cannot_be_is_a_user_error(tmp_path, place, reason):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UserError, match=f"^--out must be writable; .*{place}: {reason}$"):
        export(BundleDirectory(tmp_path / place))
    assert read(tmp_path) == {"file": "mine"}


def test_the_folder_one_stands_in_is_a_place(directory, monkeypatch):
    directory.path.mkdir(parents=True)
    monkeypatch.chdir(directory.path)
    export(BundleDirectory(Path(".")))
    assert read(directory.path) == NEW
    assert beside(directory) == set()


@pytest.mark.parametrize("method", ["mkdir", "rename"])
@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS, errno.ENOSPC])
def test_an_unwritable_place_is_a_user_error(directory, monkeypatch, method, code):
    def fail(path: Path, *settings: object, **named: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(Path, method, fail)
    if method == "rename":
        directory.path.parent.mkdir(parents=True)
    with pytest.raises(UserError, match=f"^--out must be writable; .*export: {os.strerror(code)}$"):
        export(directory)
    monkeypatch.undo()
    assert not directory.path.exists()


def test_a_full_disk_while_writing_is_a_user_error(directory):
    fill(directory.path, OLD)
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with pytest.raises(UserError, match=r"must be writable; .*export: No space left on device$"):
        export(directory, full)
    assert read(directory.path) == OLD


def test_an_error_of_the_system_that_no_other_place_mends_keeps_its_type(directory):
    missing = FileNotFoundError(errno.ENOENT, "no such image")
    with pytest.raises(FileNotFoundError):
        export(directory, missing)
