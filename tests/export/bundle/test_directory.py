"""A bundle's folder: whole or not there, whatever fails; nobody else's files; one at a time."""

import errno
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from export.bundle.directory import BundleDirectory
from export.errors import ExportFailed
from pipeline.errors import UserError
from pipeline.files.own_files import LIST
from tests.commands import ROOT
from tests.export.bundle.bundle_samples import NEW, OLD, beside, export, fill, read, read_if_there

EARLIER = ROOT / "tests/fixtures/earlier/run/export"


@pytest.mark.parametrize("there", [None, {}, OLD], ids=["nothing", "empty folder", "a bundle"])
def test_a_bundle_appears_whole_in_place_of_an_earlier_one(directory, there):
    if there is not None:
        directory.path.mkdir(parents=True)
        fill(directory.path, there)
    with directory.open() as folder:
        fill(folder, NEW)
        assert folder != directory.path
        assert read_if_there(directory.path) == there
    assert read(directory.path) == NEW
    assert beside(directory) == set()


def fail(directory: BundleDirectory) -> None:
    """An export that leaves a reason beside the bundle's place."""

    def export_and_fail() -> None:
        with directory.open():
            fill(directory.failed, {"report.md": "why"})
            raise ExportFailed

    with pytest.raises(ExportFailed):
        export_and_fail()


@pytest.mark.parametrize("kept", [{}, {"thesis.txt": "mine"}], ids=["nothing", "another file"])
def test_a_success_removes_the_reasons_of_an_earlier_failure_and_nothing_else(directory, kept):
    assert directory.failed == directory.path.parent / "export-failed"
    fail(directory)
    fill(directory.failed, kept)
    export(directory)
    assert read(directory.failed) == kept
    assert directory.failed.exists() == bool(kept)


def test_the_reasons_that_an_earlier_version_left_are_removed(directory):
    fill(directory.failed, {"report.md": "why", "report.json": '{"int8_tried": []}'})
    export(directory)
    assert not directory.failed.exists()


def test_a_list_names_every_file_with_its_sum(directory):
    export(directory)
    listed = json.loads((directory.path / LIST).read_text())
    sums = {name: [hashlib.sha256(text.encode()).hexdigest()] for name, text in NEW.items()}
    assert listed == {"made_by": "python -m export", "files": sums}


PLACES = ("export", "export-failed", ".old-export", ".aside-export")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    "mine",
    [{"report.md": "mine"}, {"report.json": '{"made_by": "me"}', "notes.txt": "mine"}, {"report.json": "{}"}],
    ids=["a report", "a bundle and notes", "another report"],
)
def test_what_no_export_wrote_is_refused_and_left(directory, place, mine):
    fill(directory.path.with_name(place), mine)
    with pytest.raises(UserError, match=f"^--out .*{place}, which holds what no export wrote, .*: [nr]"):
        export(directory)
    assert read(directory.path.with_name(place)) == mine
    assert beside(directory) == {place} - {"export"}


@pytest.mark.parametrize("change", [{"notes.txt": "mine"}, {"report.json": "changed"}, {"golden/x": "mine"}])
def test_what_was_added_to_a_bundle_or_changed_in_it_is_refused_and_left(directory, change):
    export(directory)
    fill(directory.path, change)
    with pytest.raises(UserError, match=f"received .*export, which .*: {next(iter(change))}$"):
        export(directory)
    assert read(directory.path) == NEW | change


def test_pythons_cache_of_run_py_does_not_hold_up_the_next_export(directory):
    export(directory)
    fill(directory.path, {"__pycache__/run.cpython-311.pyc": "compiled"})
    export(directory)
    assert read(directory.path) == NEW
    fill(directory.path, {"__pycache__/notes.pyc": "mine"})
    with pytest.raises(UserError, match=r"received .*export, which .*: __pycache__/notes\.pyc$"):
        export(directory)


def test_an_empty_folder_in_a_bundle_is_refused_and_left(directory):
    export(directory)
    (directory.path / "saved_model" / "assets").mkdir(parents=True)
    export(directory)
    (directory.path / "mine").mkdir()
    with pytest.raises(UserError, match=r"received .*export, which .*: mine$"):
        export(directory)
    assert (directory.path / "mine").is_dir()


@pytest.mark.parametrize(
    "mine", [None, "notes.txt", "golden/notes.json", "saved_model/assets/x", "files.json"]
)
def test_a_bundle_of_an_earlier_version_is_replaced_unless_it_holds_other_files(directory, mine):
    shutil.copytree(EARLIER, directory.path)
    if mine is None:
        export(directory)
        assert read(directory.path) == NEW
        return
    fill(directory.path, {mine: "mine"})
    with pytest.raises(UserError, match=f"changed since: {mine}$"):
        export(directory)
    assert (directory.path / mine).read_text() == "mine"
    assert (directory.path / "model_int8.tflite").exists()


def test_what_is_added_while_an_export_runs_is_left(directory):
    export(directory)

    def export_slowly() -> None:
        with directory.open():
            fill(directory.path, {"notes.txt": "mine"})

    with pytest.raises(UserError, match=r"notes\.txt$"):
        export_slowly()
    assert read(directory.path) == {**NEW, "notes.txt": "mine"}
    assert beside(directory) == set()


def test_reasons_that_were_changed_are_refused_and_left(directory):
    fail(directory)
    fill(directory.failed, {"report.md": "annotated"})
    with pytest.raises(UserError, match=r"export-failed, which holds .*: report\.md \(move"):
        export(directory)
    assert read(directory.failed) == {"report.md": "annotated"}


@pytest.mark.parametrize("place", [*PLACES, ".export.lock"])
def test_a_link_is_refused_and_what_it_leads_to_left(directory, place):
    elsewhere = directory.path.parent / "elsewhere"
    fill(elsewhere, NEW)
    directory.path.with_name(place).symlink_to("elsewhere")
    with pytest.raises(UserError, match=f"^what is written must be no link; .*/{place} leads to elsewhere$"):
        export(directory)
    assert read(elsewhere) == NEW


def test_a_link_inside_a_bundle_is_refused(directory):
    export(directory)
    (directory.path / "golden/input_0.bin").unlink()
    (directory.path / "golden/input_0.bin").symlink_to("../report.json")
    with pytest.raises(UserError, match=r"golden/input_0\.bin$"):
        export(directory)


@pytest.mark.parametrize("error", [KeyError("bug"), UserError("no"), KeyboardInterrupt()])
@pytest.mark.parametrize("there", [None, OLD], ids=["nothing", "a bundle"])
def test_writing_that_fails_leaves_all_as_it_was_and_keeps_its_error(directory, there, error):
    if there:
        fill(directory.path, there)
    with pytest.raises(type(error)) as raised:
        export(directory, error)
    assert raised.value is error
    assert read_if_there(directory.path) == there
    assert beside(directory) == set()


DIES_AT_A_RENAME = """
import os, sys
from pathlib import Path
from export.bundle.directory import BundleDirectory
left, rename = [int(sys.argv[2])], Path.rename
def dying_rename(path, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    return rename(path, target)
Path.rename = dying_rename
with BundleDirectory(Path(sys.argv[1])).open() as folder:
    (folder / "report.json").write_text("half")
"""


@pytest.mark.parametrize("renames", [0, 1], ids=["before the first", "between the two"])
def test_the_old_bundle_outlives_a_kill_at_a_rename(directory, renames):
    fill(directory.path, OLD)
    command = [sys.executable, "-c", DIES_AT_A_RENAME, str(directory.path), str(renames)]
    assert subprocess.run(command, cwd=ROOT).returncode == 9
    assert directory.path.exists() == (renames == 0)

    with pytest.raises(KeyError):
        export(directory, KeyError())
    assert read(directory.path) == OLD
    assert beside(directory) == set()


def test_leftovers_of_a_kill_after_the_renames_are_removed_and_not_restored(directory):
    fill(directory.path, NEW)
    fill(directory.path.with_name(".old-export"), OLD)
    names = ("model_int8.tflite", "front_door_int8.cc", ".aside-labels.txt", "golden/.aside-input_0.bin")
    names += ("golden/large.bin", "micro/door_int8_golden.h", "micro/examples/golden/golden.ino")
    names += ("web/index.html", "web/.aside-page.js", "web/golden/output_0.bin", "web/litert/core.js")
    # What TensorFlow calls its files while it writes them.
    names += ("saved_model/saved_model.pb.tmp6a96a2", "saved_model/variables/variables_temp/part-0.index")
    unfinished = {LIST: '{"made_by": "python -m export", "files": {}}', **dict.fromkeys(names, "half")}
    fill(directory.path.with_name(".aside-export"), unfinished)
    with pytest.raises(KeyError):
        export(directory, KeyError())
    assert read(directory.path) == NEW
    assert beside(directory) == set()


def test_a_move_that_fails_loses_no_bundle(directory, monkeypatch):
    fill(directory.path, OLD)
    rename = Path.rename

    def fail_second(path: Path, target: Path) -> Path:
        if path.name == ".aside-export":
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail_second)
    with pytest.raises(OSError, match="Input/output"):
        export(directory)
    monkeypatch.undo()
    with pytest.raises(KeyError):
        export(directory, KeyError())
    assert read(directory.path) == OLD


HOLDS_THE_LOCK = """
import sys, time
from pathlib import Path
from export.bundle.directory import BundleDirectory
with BundleDirectory(Path(sys.argv[1])).open() as folder:
    (folder / "report.json").write_text("half")
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_export_at_a_time_and_a_kill_frees_the_place(directory):
    command = [sys.executable, "-c", HOLDS_THE_LOCK, str(directory.path)]
    holder = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    aside = directory.path.with_name(".aside-export")
    try:
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(UserError, match=r"one export at a time; another one writes .*export$"):
            export(directory)
        # The refused one must not tidy up what the other is writing.
        assert read(aside) == {"report.json": "half"}
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    assert not directory.path.exists()
    export(directory)
    assert read(directory.path) == NEW
    assert beside(directory) == set()


def test_exports_to_neighbouring_places_do_not_meet(directory):
    other = BundleDirectory(directory.path.with_name("export2"))
    with directory.open() as one, other.open() as two:
        fill(one, OLD)
        fill(two, NEW)
    assert (read(directory.path), read(other.path)) == (OLD, NEW)
