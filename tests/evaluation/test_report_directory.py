"""The files of a report: whole or not there, and read back as they were written."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest

from evaluation.data_errors import HeldOut
from evaluation.evaluate import FIGURES
from evaluation.metrics.label_errors import Suspects
from evaluation.report_directory import ReportDirectory, with_checksums
from evaluation.tables import describe_predictions, list_label_errors, read_predictions
from pipeline.errors import UserError
from pipeline.files.csv_file import to_csv, write_csv
from pipeline.files.own_files import LIST
from tests.commands import ROOT
from tests.evaluation.made_up import answers_of, build_data

EARLIER = ROOT / "tests/fixtures/earlier/run/evaluation"

NAMES = ('an "ant", small', "bee\nor wasp", "Käfer, \r;\t'", "=1+1", "")
"""All that CSV must quote, what a spreadsheet would run, and nothing at all."""

WRITTEN = (*NAMES[:3], "'=1+1", "")
"""As a file holds them."""

LABELS = [3, 1, 4, 2, 0, 1]
TEST = [5, 3, 0]
PATHS = ['in/a, b/"0".png', "in/1.png", "in/ü/2.png", "in/3\n.png", "in/4.png", "in/5.png"]
MADE_OF = {"model_crc32": "0x01", "measured": ["int8"], "flip": False}


NAMES_OF_FILES = ("report.html", "report.json", "predictions.csv", "label_errors.csv")

REPORT = {"made_by": "python -m evaluation", "made_of": MADE_OF, "networks": {}, "figure": 0.5}


@pytest.fixture
def out(tmp_path) -> ReportDirectory:
    return ReportDirectory(tmp_path / "run" / "evaluation")


def contents(page: str = "<p>Käfer</p>", **changes: object) -> dict[str, str]:
    """Every file of a report: name -> text."""
    beside = {"report.html": page, "predictions.csv": "row\n", "label_errors.csv": "row\n"}
    return {**beside, "report.json": with_checksums({**REPORT, **changes}, beside)}


@pytest.fixture
def written(out) -> ReportDirectory:
    """With every file in it."""
    with out.open():
        out.write(contents())
    return out


def read_all(folder: Path) -> dict[str, str]:
    """What lies in a folder but the list of the files."""
    return {path.name: path.read_text() for path in folder.iterdir() if path.name != LIST}


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_names(out):
    assert out.names == ("report.html", "report.json", "predictions.csv", "label_errors.csv")
    assert out.files == tuple(out.path / name for name in out.names)


@pytest.mark.parametrize("error", [None, UserError("no"), KeyboardInterrupt()])
def test_what_was_written_stays_and_an_empty_folder_does_not(out, error):
    def open_and_fail() -> None:
        with out.open():
            assert out.path.is_dir()
            if error:
                raise error

    if error:
        with pytest.raises(type(error)):
            open_and_fail()
    else:
        open_and_fail()
    assert not out.path.exists()
    with out.open():
        (out.path / "mine").write_text("kept")
    assert (out.path / "mine").read_text() == "kept"


def test_a_folder_that_was_there_stays(out):
    out.path.mkdir(parents=True)
    with out.open():
        pass
    assert out.path.is_dir()


@pytest.mark.parametrize("below", ["", "evaluation"], ids=["a file", "below a file"])
def test_a_place_that_cannot_be_a_folder(tmp_path, below):
    place = tmp_path / "place"
    place.write_text("the only copy")
    with pytest.raises(UserError) as raised, ReportDirectory(place / below).open():
        pass
    assert str(raised.value) == f"--out must be writable; {place / below}: {place} is no directory"
    assert place.read_text() == "the only copy"


def test_report_and_page_are_written_as_they_are(written):
    assert (written.path / "report.html").read_text(encoding="utf-8") == "<p>Käfer</p>"
    text = written.report.read_text(encoding="utf-8")
    report = json.loads(text)
    checksums = report.pop("written")
    assert report == REPORT
    beside = [path for path in written.files if path != written.report]
    assert checksums == {path.name: f"0x{zlib.crc32(path.read_bytes()):08x}" for path in beside}
    assert text.endswith("}\n")


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="/proc takes no files, not even root's")
def test_a_folder_that_takes_no_files_is_refused_before_anything_is_measured():
    refused = pytest.raises(UserError, match=r"^--out must be writable; /proc: ")
    with refused, ReportDirectory(Path("/proc")).open():
        pytest.fail("it would be measured")


@pytest.mark.parametrize("name", NAMES_OF_FILES)
def test_an_earlier_report_stays_whole_where_a_file_of_the_new_one_cannot_be_written(written, name):
    before = read_all(written.path)
    # As on a full disk, one file can be written and the next cannot.
    (written.path / f".aside-{name}").mkdir()
    with pytest.raises(UserError, match=rf"{name} must be writable"):
        written.write(contents("<p>new</p>", figure=0.75))
    (written.path / f".aside-{name}").rmdir()
    assert read_all(written.path) == before
    assert written.earlier(MADE_OF)["figure"] == 0.5
    with written.open():
        written.write(contents("<p>new</p>", figure=0.75))
    assert written.earlier(MADE_OF)["figure"] == 0.75


DIES_AT_A_RENAME = """
import os, sys
from pathlib import Path
from evaluation.report_directory import ReportDirectory
left, replace = [int(sys.argv[2])], Path.replace
def dying_replace(path, target):
    if not left[0]:
        os._exit(9)
    left[0] -= 1
    return replace(path, target)
Path.replace = dying_replace
out = ReportDirectory(Path(sys.argv[1]))
with out.open():
    out.write({name: "new" for name in out.names})
"""


@pytest.mark.parametrize("renames", range(6))
def test_a_kill_between_two_files_leaves_none_that_the_next_evaluation_takes_for_anothers(written, renames):
    command = [sys.executable, "-c", DIES_AT_A_RENAME, str(written.path), str(renames)]
    assert subprocess.run(command, cwd=ROOT).returncode == 9
    with written.open():
        written.write(contents(figure=0.75))
    assert written.earlier(MADE_OF)["figure"] == 0.75


@pytest.mark.parametrize("error", [UserError("no"), KeyboardInterrupt()])
def test_an_evaluation_that_ends_early_leaves_the_earlier_report(written, error):
    before = read_all(written.path)

    def measure() -> None:
        with written.open():
            raise error

    with pytest.raises(type(error)):
        measure()
    assert read_all(written.path) == before
    assert written.earlier(MADE_OF)["figure"] == 0.5


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_refused(figure):
    with pytest.raises(ValueError, match="not JSON compliant"):
        with_checksums({"figure": figure}, {})


def test_what_cannot_be_written_is_a_user_error(out):
    # As on a full disk: the folder was taken away.
    with pytest.raises(UserError) as raised:
        out.write(contents())
    assert str(raised.value) == f"{out.path / LIST} must be writable; No such file or directory"


def test_a_report_of_the_version_before_is_the_products_own_and_is_replaced(out):
    shutil.copytree(EARLIER, out.path)
    made_of = json.loads(out.report.read_text())["made_of"]
    assert out.earlier({**made_of, "figures": FIGURES}) is None
    with out.open():
        out.write(contents())
    assert out.earlier(MADE_OF)["figure"] == 0.5


def test_a_report_of_the_same_files_holds(written):
    assert written.earlier(MADE_OF).items() > REPORT.items()


@pytest.mark.parametrize(
    "change",
    [{"model_crc32": "0x02"}, {"measured": []}, {"flip": True}, {"corrupted": 3}],
    ids=lambda change: next(iter(change)),
)
def test_a_report_of_other_files_does_not_hold(written, change):
    assert written.earlier({**MADE_OF, **change}) is None


def test_a_report_that_does_not_say_what_it_is_of_does_not_hold(written):
    written.report.write_text("{}")
    assert written.earlier(MADE_OF) is None


def test_what_a_report_was_made_of_is_told(written, out):
    assert written.made_of() == MADE_OF
    assert ReportDirectory(out.path.parent).made_of() == {}


@pytest.mark.parametrize("name", ["report.html", "predictions.csv", "label_errors.csv"])
def test_a_report_beside_which_something_was_changed_does_not_hold(written, name):
    (written.path / name).write_text("")
    assert written.earlier(MADE_OF) is None


def test_half_a_report_does_not_hold(written):
    report = json.loads(written.report.read_text())
    del report["networks"]
    written.report.write_text(json.dumps(report))
    assert written.earlier(MADE_OF) is None


@pytest.mark.parametrize("content", ['{"made_by": "python -m export"}', "{}", '{"made_by": "python -m eval'])
@pytest.mark.parametrize("name", [*NAMES_OF_FILES, LIST])
def test_what_no_evaluation_wrote_is_not_overwritten(out, name, content):
    out.path.mkdir(parents=True)
    (out.path / name).write_text(content)
    (out.path / "notes.txt").write_text("mine")
    rule = f"^--out must be new or hold an earlier evaluation; .*evaluation holds what no .*: {name}$"
    with pytest.raises(UserError, match=rule), out.open():
        pass
    with pytest.raises(UserError, match=rule):
        out.write(contents())
    assert {path.name: path.read_text() for path in out.path.iterdir()} == {
        name: content,
        "notes.txt": "mine",
    }


@pytest.mark.parametrize("name", NAMES_OF_FILES)
def test_what_was_changed_since_is_not_overwritten(written, name):
    (written.path / name).write_text("annotated")
    with pytest.raises(UserError, match=f"changed since: {name}$"), written.open():
        pass
    assert (written.path / name).read_text() == "annotated"


def test_comparisons_and_reports_are_held_to_their_own_files(written):
    comparison = ReportDirectory(written.path, ("comparison.html", "comparison.json"), "comparison.json")
    with comparison.open():
        comparison.write({name: "{}" for name in comparison.names})
    for directory in (written, comparison):
        with directory.open():
            pass
    (written.path / "comparison.html").write_text("annotated")
    with written.open():
        pass
    with pytest.raises(UserError, match=r"changed since: comparison\.html$"), comparison.open():
        pass


@pytest.mark.parametrize("name", [*NAMES_OF_FILES, LIST, ".aside-report.html"])
def test_a_link_is_not_followed(written, name, tmp_path):
    (tmp_path / "precious").write_text("mine")
    (written.path / name).unlink(missing_ok=True)
    (written.path / name).symlink_to(tmp_path / "precious")
    with pytest.raises(UserError, match=name):
        written.write(contents())
    assert (tmp_path / "precious").read_text() == "mine"


def test_a_link_to_another_folder_is_refused(written, tmp_path):
    written.path.rename(tmp_path / "elsewhere")
    written.path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(UserError, match=r"^what is written must be no link; .*/evaluation leads to"):
        written.write(contents())


def test_an_earlier_report_is_replaced(written):
    with written.open():
        written.write(contents("<p>new</p>", figure=0.75))
    assert written.earlier(MADE_OF)["figure"] == 0.75
    assert not list(written.path.glob(".aside*"))


@pytest.mark.parametrize("name", NAMES_OF_FILES)
def test_a_report_that_is_not_whole_does_not_hold(written, name):
    (written.path / name).unlink()
    assert written.earlier(MADE_OF) is None


@pytest.mark.parametrize("name", NAMES_OF_FILES)
def test_a_report_with_a_pipe_in_it_does_not_hold(written, name):
    (written.path / name).unlink()
    os.mkfifo(written.path / name)  # opened, it would wait
    assert written.earlier(MADE_OF) is None


@pytest.mark.parametrize("content", [b"", b'{"made_of": {', b"[]", b"null", b"\xff"])
def test_a_damaged_report_does_not_hold(written, content):
    written.report.write_bytes(content)
    assert written.earlier(MADE_OF) is None


def test_nothing_holds_where_there_is_nothing(out):
    assert out.earlier(MADE_OF) is None


@pytest.mark.parametrize("paths", [PATHS, ()], ids=["files", "no files"])
def test_predictions_have_a_row_for_each_image_of_test(tmp_path, paths):
    data = build_data(LABELS, {"test": TEST}, NAMES, paths)
    labels = np.array(LABELS)[TEST]
    keras = answers_of(labels, [[0, 1, 0, 0, 0], [0, 0, 0.4, 0.6, 0], [0.25, 0.75, 0, 0, 0]])
    int8 = answers_of(labels, [[0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [1 / 3, 0, 2 / 3, 0, 0]])
    write_csv(tmp_path / "predictions.csv", describe_predictions(data, {"keras": keras, "int8": int8}))
    rows = read(tmp_path / "predictions.csv")
    assert list(rows[0]) == [
        "row",
        "path",
        "label",
        "keras_predicted",
        "keras_confidence",
        "int8_predicted",
        "int8_confidence",
    ]
    files = [paths[row] if paths else "" for row in TEST]
    assert [list(row.values()) for row in rows] == [
        ["5", files[0], WRITTEN[1], WRITTEN[1], "1.0000", WRITTEN[4], "1.0000"],
        ["3", files[1], WRITTEN[2], WRITTEN[3], "0.6000", WRITTEN[2], "1.0000"],
        ["0", files[2], WRITTEN[3], WRITTEN[1], "0.7500", WRITTEN[2], "0.6667"],
    ]
    labels_again, predicted = read_predictions(tmp_path / "predictions.csv", NAMES)
    np.testing.assert_array_equal(labels_again, labels)
    np.testing.assert_array_equal(predicted, [1, 3, 1])
    assert labels_again.dtype == predicted.dtype == np.int64


def held_out() -> HeldOut:
    """Rows 4, 1 and 2; the third and the first are suspected, in that order."""
    rows = np.array([4, 1, 2])
    suspects = Suspects(np.array([2, 0]), np.array([1, 3]), np.array([-0.98765, 0.25]), 0.1)
    return HeldOut(rows, answers_of(np.array(LABELS)[rows], np.eye(5)[:3]), suspects)


@pytest.mark.parametrize("paths", [PATHS, ()], ids=["files", "no files"])
def test_label_errors_have_a_row_for_each_suspect(paths):
    table = to_csv(list_label_errors(build_data(LABELS, {"test": TEST}, NAMES, paths), held_out()))
    rows = list(csv.DictReader(io.StringIO(table, newline="")))
    assert list(rows[0]) == ["row", "path", "label", "suggested", "margin", "split"]
    files = [paths[row] if paths else "" for row in (2, 4)]
    assert [list(row.values()) for row in rows] == [
        ["2", files[0], WRITTEN[4], WRITTEN[1], "-0.9877", "train"],
        ["4", files[1], WRITTEN[0], WRITTEN[3], "0.2500", "train"],
    ]
