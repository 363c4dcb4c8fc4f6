"""Files are whole or as they were, whatever happens to their writer."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from pipeline.errors import UserError
from pipeline.files.whole import try_to_write, write_figure, write_together, write_whole
from tests.commands import ROOT


def names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())


def test_the_new_file_is_flushed_before_it_takes_the_old_ones_place(path, monkeypatch):
    flushed, fsync = [], os.fsync

    def watch(descriptor: int) -> None:
        flushed.append((os.fstat(descriptor).st_ino, path.read_text()))
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", watch)
    write_whole(path, lambda aside: aside.write_text("new"))
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]
    # The file while the old one is in place, then the folder that names it.
    assert flushed == [(path.stat().st_ino, "old"), (path.parent.stat().st_ino, "new")]


def test_writers_see_the_same_ending(path):
    seen = []
    write_whole(path, lambda aside: (seen.append(aside.suffix), aside.touch()))
    assert seen == [".txt"]


def fill_disk(aside: Path) -> None:
    aside.write_text("ne")
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_a_user_error_and_leaves_the_old_file(path):
    with pytest.raises(UserError, match=r"file.txt must be writable; No space left on device$"):
        write_whole(path, fill_disk)
    assert path.read_text() == "old"
    assert names(path.parent) == ["file.txt"]


def test_what_cannot_be_written_is_known_before(path):
    try_to_write(path.with_name("new.txt"), "--csv")
    assert names(path.parent) == ["file.txt"]
    with pytest.raises(UserError, match=r"^--csv must be writable; /proc/new.txt: No such file"):
        try_to_write(Path("/proc/new.txt"), "--csv")


def test_a_class_whose_letters_no_font_has_is_drawn_without_a_word(tmp_path, recwarn):
    figure = Figure()
    figure.suptitle("名前")
    write_figure(tmp_path / "chart.png", figure)
    assert not recwarn.list
    assert names(tmp_path) == ["chart.png"]


def test_a_writer_that_fails_leaves_the_old_file(path):
    def fail(aside: Path) -> None:
        aside.write_text("ne")
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        write_whole(path, fail)
    assert path.read_text() == "old"


def test_a_flush_that_fails_leaves_the_old_file(path, monkeypatch):
    def fail(descriptor: int) -> None:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(UserError, match="must be writable; Input/output error"):
        write_whole(path, lambda aside: aside.write_text("new"))
    assert path.read_text() == "old"


@pytest.mark.parametrize("place", ["missing/file.txt", "file.txt/below"])
def test_no_place_to_write_is_a_user_error(path, place):
    with pytest.raises(UserError, match="must be writable; No"):
        write_whole(path.parent / place, lambda aside: aside.write_text("new"))


KILLED_HALF_WAY = """
import os, sys
from pathlib import Path
from pipeline.files.whole import write_whole
write_whole(Path(sys.argv[1]), lambda aside: (aside.write_text("ne"), os._exit(9)))
"""


def test_a_writer_killed_half_way_leaves_the_old_file(path):
    assert subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, path], cwd=ROOT).returncode == 9
    assert path.read_text() == "old"
    write_whole(path, lambda aside: aside.write_text("new"))
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]


@pytest.mark.parametrize("name", ["file.txt", ".aside-file.txt"])
def test_a_link_is_refused_and_what_it_leads_to_stays(path, name):
    (path.parent / "elsewhere").write_text("precious")
    (path.parent / name).unlink(missing_ok=True)
    (path.parent / name).symlink_to("elsewhere")
    with pytest.raises(UserError, match=rf"^what is written must be no link; .*/{name} leads to elsewhere$"):
        write_whole(path, lambda aside: aside.write_text("new"))
    assert (path.parent / "elsewhere").read_text() == "precious"


def test_a_second_name_of_another_file_is_not_written_through(path):
    (path.parent / "elsewhere").write_text("precious")
    os.link(path.parent / "elsewhere", path.with_name(".aside-file.txt"))
    write_whole(path, lambda aside: aside.write_text("new"))
    assert (path.read_text(), (path.parent / "elsewhere").read_text()) == ("new", "precious")


def test_of_files_that_are_written_together_none_moves_before_all_are_there(path):
    def fail(aside: Path) -> None:
        assert path.read_text() == "old"
        fill_disk(aside)

    with pytest.raises(UserError, match=r"other\.txt must be writable; No space left"):
        write_together({path: lambda aside: aside.write_text("new"), path.with_name("other.txt"): fail})
    assert path.read_text() == "old"
    assert names(path.parent) == ["file.txt"]
