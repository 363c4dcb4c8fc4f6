"""Files are whole or not there, JSON that every reader takes and of every version, one lock holder."""

import csv
import errno
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from pipeline.files import hold_lock, read_csv, read_json, write_csv, write_json, write_together, write_whole
from tests.commands import ROOT


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "file.txt").write_text("old")
    return tmp_path / "file.txt"


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
from pipeline.files import write_whole
write_whole(Path(sys.argv[1]), lambda aside: (aside.write_text("ne"), os._exit(9)))
"""


def test_a_writer_killed_half_way_leaves_the_old_file(path):
    assert subprocess.run([sys.executable, "-c", KILLED_HALF_WAY, path], cwd=ROOT).returncode == 9
    assert path.read_text() == "old"
    write_whole(path, lambda aside: aside.write_text("new"))
    assert path.read_text() == "new"
    assert names(path.parent) == ["file.txt"]


def test_json_is_written_as_people_read_it_and_read_back(path):
    content = {"images": 3, "names": ["é"]}
    write_json(path, content)
    assert path.read_text(encoding="utf-8") == '{\n  "images": 3,\n  "names": [\n    "é"\n  ]\n}\n'
    assert read_json(path, needed=["images"]) == content


@pytest.mark.parametrize("value", [object(), math.nan, math.inf])
def test_what_json_has_no_word_for_leaves_the_old_file(path, value):
    with pytest.raises((TypeError, ValueError)):
        write_json(path, {"accuracy": value})
    assert path.read_text() == "old"


def test_names_of_earlier_versions_are_read_as_those_of_today(path):
    write_json(path, {"test": {"pictures": 3}, "trials": [{"validation_pictures": 2, "trial": "pictures"}]})
    expected = {"test": {"images": 3}, "trials": [{"validation_images": 2, "trial": "pictures"}]}
    assert read_json(path) == expected


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (None, "a bundle must have a whole file.txt; .*No such file"),
        ("{", "a bundle must have a whole file.txt; .*file.txt: "),
        (b"\xff", "a bundle must have a whole file.txt; .*file.txt: "),
        ("[1]", "a bundle must have a whole file.txt; .*file.txt holds no object"),
        ('{"b": 1}', "a bundle must have a whole file.txt; .*file.txt lacks a, c$"),
    ],
)
def test_json_that_is_damaged_or_lacks_a_name_is_a_user_error(path, text, reason):
    path.unlink()
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=reason) as raised:
        read_json(path, needed=["a", "b", "c"], of="a bundle")
    assert "\n" not in str(raised.value)


FIELDS = {"test.accuracy": float, "test.images": int, "name": str, "splits": dict, "classes": list}
WHOLE = {"test": {"accuracy": 1, "images": 0}, "name": "", "splits": {}, "classes": [], "more": None}


def test_json_whose_fields_have_their_types_is_read(path):
    write_json(path, WHOLE)
    assert read_json(path, FIELDS) == WHOLE


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"test": None}, "lacks test.accuracy, test.images"),
        ({"test": []}, "lacks test.accuracy, test.images"),
        ({"test": {"accuracy": 1.0}}, "lacks test.images"),
        ({"test": {"accuracy": "1", "images": 1}}, "test.accuracy in .* must be a number, not '1'"),
        ({"test": {"accuracy": True, "images": 1}}, "must be a number, not True"),
        ({"test": {"accuracy": math.nan, "images": 1}}, "must be a number, not nan"),
        ({"test": {"accuracy": 10**400, "images": 1}}, "must be a number, not 1000"),
        ({"test": {"accuracy": 1.0, "images": -1}}, "test.images in .* must be a whole number, not -1"),
        ({"test": {"accuracy": 1.0, "images": 1.5}}, "must be a whole number, not 1.5"),
        ({"name": 3}, "name in .* must be text, not 3"),
        ({"splits": [1]}, r"must be an object, not \[1\]"),
        ({"classes": {"a": "long " * 99}}, "must be a list, not {'a': .{,60}$"),
    ],
)
def test_json_whose_fields_have_another_type_is_a_user_error(path, change, reason):
    path.write_text(json.dumps({**WHOLE, **change}))
    with pytest.raises(UserError, match=rf"^a run must have a whole file\.txt; .*{reason}") as raised:
        read_json(path, FIELDS)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("nested", ["[" * 100_000 + "]" * 100_000, '{"a":' * 700 + "1" + "}" * 700])
def test_json_that_is_nested_too_deep_is_a_user_error(path, nested):
    path.write_text('{"a": ' + nested + "}")
    with pytest.raises(UserError, match=r"it is nested too deep$"):
        read_json(path)


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")])
def test_what_might_never_end_is_not_opened(path, make):
    path.unlink()
    make(path)
    with pytest.raises(UserError, match=r"file\.txt: it is no regular file$"):
        read_json(path)


def test_rows_are_written_as_csv(path):
    write_csv(path, [["name", "share"], ["a,b", 0.5]])
    assert path.read_bytes() == b'name,share\r\n"a,b",0.5\r\n'


FORMULAS = [
    *("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "=", "-cat", "-inf"),
    *("\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20A1", "'=1", "''=1"),
]
PLAIN = ["cat", "", "a=b", "'", "'cat", "''", " =1", "-1", "+1.5e-3", "-.5", "1e5", "2.", 'a,"b"\nc']


@pytest.mark.parametrize("text", FORMULAS)
def test_text_is_never_a_formula_and_reads_back_the_same(path, text):
    write_csv(path, [["name", text], [text, "cat"]])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name", f"'{text}"], [f"'{text}", "cat"]]
    assert read_csv(path) == [{"name": text, text: "cat"}]


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_is_written_as_it_is(path, text):
    write_csv(path, [["name"], [text]])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name"], [text]]
    assert read_csv(path) == [{"name": text}]


def test_numbers_are_written_as_they_are(path):
    write_csv(path, [["number", "none"], [-1, None], [-0.5, None], [float("-inf"), None]])
    assert path.read_bytes() == b"number,none\r\n-1,\r\n-0.5,\r\n-inf,\r\n"


def test_a_lock_has_one_holder(path):
    lock = path.with_name("lock")
    with hold_lock(lock, "taken"), pytest.raises(UserError, match="taken"), hold_lock(lock, "taken"):
        pytest.fail("two holders")
    with hold_lock(lock, "taken"):
        pass


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


def test_a_lock_that_is_a_link_leaves_what_it_leads_to(path):
    path.with_name("lock").symlink_to("file.txt")
    with pytest.raises(UserError, match="must be no link"), hold_lock(path.with_name("lock"), "taken"):
        pytest.fail("held")
    assert path.read_text() == "old"


def test_of_files_that_are_written_together_none_moves_before_all_are_there(path):
    def fail(aside: Path) -> None:
        assert path.read_text() == "old"
        fill_disk(aside)

    with pytest.raises(UserError, match=r"other\.txt must be writable; No space left"):
        write_together({path: lambda aside: aside.write_text("new"), path.with_name("other.txt"): fail})
    assert path.read_text() == "old"
    assert names(path.parent) == ["file.txt"]
