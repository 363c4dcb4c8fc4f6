"""The files of a report: whole or not there, and read back as they were written."""

import csv
import json
import shutil
import zlib
from pathlib import Path

import numpy as np
import pytest

from evaluation.data_errors import HeldOut
from evaluation.evaluate import FIGURES
from evaluation.metrics.label_errors import Suspects
from evaluation.report_directory import ReportDirectory
from evaluation.tables import read_predictions, write_label_errors, write_predictions
from pipeline.errors import UserError
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


REPORT = {"made_by": "python -m evaluation", "made_of": MADE_OF, "networks": {}, "figure": 0.5}


@pytest.fixture
def out(tmp_path) -> ReportDirectory:
    return ReportDirectory(tmp_path / "run" / "evaluation")


@pytest.fixture
def written(out) -> ReportDirectory:
    """With every file in it."""
    with out.open():
        out.predictions.write_text("row\n")
        out.label_errors.write_text("row\n")
        out.write(dict(REPORT), "<p>Käfer</p>")
    return out


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_names(out):
    files = (out.report, out.page, out.predictions, out.label_errors)
    assert [path.relative_to(out.path).as_posix() for path in files] == [
        "report.json",
        "report.html",
        "predictions.csv",
        "label_errors.csv",
    ]


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
    reason = "Not a directory" if below else "File exists"
    assert str(raised.value) == f"--out must be writable; {place / below}: {reason}"
    assert place.read_text() == "the only copy"


def test_report_and_page_are_written_as_they_are(written):
    assert written.page.read_text(encoding="utf-8") == "<p>Käfer</p>"
    text = written.report.read_text(encoding="utf-8")
    report = json.loads(text)
    checksums = report.pop("written")
    assert report == REPORT
    files = (written.page, written.predictions, written.label_errors)
    assert checksums == {path.name: f"0x{zlib.crc32(path.read_bytes()):08x}" for path in files}
    assert text.endswith("}\n")


def test_no_report_of_other_settings_stands_beside_a_new_page(written):
    # The page is written, and then the report cannot be.
    written.report.unlink()
    (written.path / ".aside-report.json").mkdir()
    with pytest.raises(UserError, match=r"report\.json must be writable"):
        written.write({"made_of": "other"}, "other")
    assert written.page.read_text() == "other"
    assert written.earlier(MADE_OF) is None


@pytest.mark.parametrize("figure", [float("nan"), float("inf")])
def test_what_json_does_not_know_is_refused_before_anything_is_written(out, figure):
    out.path.mkdir(parents=True)
    with pytest.raises(ValueError, match="not JSON compliant"):
        out.write({"figure": figure}, "<p></p>")
    assert list(out.path.iterdir()) == []


def test_what_cannot_be_written_is_a_user_error(out):
    # As on a full disk: the folder was taken away.
    data = build_data(LABELS, {"test": TEST}, NAMES)
    answers = answers_of(np.array(LABELS)[TEST], np.eye(5)[:3])
    for write, path in (
        (lambda: out.write({}, ""), out.page),
        (lambda: write_predictions(out.predictions, data, {"keras": answers}), out.predictions),
        (lambda: write_label_errors(out.label_errors, data, held_out()), out.label_errors),
    ):
        with pytest.raises(UserError) as raised:
            write()
        assert str(raised.value) == f"{path} must be writable; No such file or directory"


def test_a_report_of_the_version_before_is_the_products_own_and_is_replaced(out):
    shutil.copytree(EARLIER, out.path)
    made_of = json.loads(out.report.read_text())["made_of"]
    assert out.earlier({**made_of, "figures": FIGURES}) is None
    with out.open():
        out.write(REPORT, "<p>new</p>")
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


def test_only_what_matters_must_be_the_same(written):
    assert written.earlier({**MADE_OF, "flip": True}, ["flip"])
    assert not written.earlier({**MADE_OF, "flip": True, "measured": []}, ["flip"])


@pytest.mark.parametrize("name", ["page", "predictions", "label_errors"])
def test_a_report_beside_which_something_was_changed_does_not_hold(written, name):
    getattr(written, name).write_text("")
    assert written.earlier(MADE_OF) is None


def test_half_a_report_does_not_hold(written):
    report = json.loads(written.report.read_text())
    del report["networks"]
    written.report.write_text(json.dumps(report))
    assert written.earlier(MADE_OF) is None


@pytest.mark.parametrize("content", ['{"made_by": "python -m export"}', "{}"])
def test_another_report_is_not_overwritten(out, content):
    out.path.mkdir(parents=True)
    out.report.write_text(content)
    rule = "must be new or hold an earlier evaluation"
    with pytest.raises(UserError, match=rule), out.open():
        pass
    assert out.report.read_text() == content


def test_an_earlier_report_and_half_of_one_are_overwritten(written):
    for earlier in (written.report.read_text(), '{"made'):
        written.report.write_text(earlier)
        with written.open():
            written.write({**REPORT, "figure": 0.75}, "<p>new</p>")
        assert written.earlier(MADE_OF)["figure"] == 0.75


@pytest.mark.parametrize("name", ["report", "page", "predictions", "label_errors"])
def test_a_report_that_is_not_whole_does_not_hold(written, name):
    getattr(written, name).unlink()
    assert written.earlier(MADE_OF) is None


@pytest.mark.parametrize("content", [b"", b'{"made_of": {', b"[]", b"null", b"\xff"])
def test_a_damaged_report_does_not_hold(written, content):
    written.report.write_bytes(content)
    assert written.earlier(MADE_OF) is None


def test_nothing_holds_where_there_is_nothing(out):
    assert out.earlier(MADE_OF) is None


@pytest.mark.parametrize("paths", [PATHS, ()], ids=["files", "no files"])
def test_predictions_have_a_row_for_each_image_of_test(out, paths):
    data = build_data(LABELS, {"test": TEST}, NAMES, paths)
    labels = np.array(LABELS)[TEST]
    keras = answers_of(labels, [[0, 1, 0, 0, 0], [0, 0, 0.4, 0.6, 0], [0.25, 0.75, 0, 0, 0]])
    int8 = answers_of(labels, [[0, 0, 0, 0, 1], [0, 0, 1, 0, 0], [1 / 3, 0, 2 / 3, 0, 0]])
    with out.open():
        write_predictions(out.predictions, data, {"keras": keras, "int8": int8})
    rows = read(out.predictions)
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
    labels_again, predicted = read_predictions(out.predictions, NAMES)
    np.testing.assert_array_equal(labels_again, labels)
    np.testing.assert_array_equal(predicted, [1, 3, 1])
    assert labels_again.dtype == predicted.dtype == np.int64


def held_out() -> HeldOut:
    """Rows 4, 1 and 2; the third and the first are suspected, in that order."""
    rows = np.array([4, 1, 2])
    suspects = Suspects(np.array([2, 0]), np.array([1, 3]), np.array([-0.98765, 0.25]), 0.1)
    return HeldOut(rows, answers_of(np.array(LABELS)[rows], np.eye(5)[:3]), suspects)


@pytest.mark.parametrize("paths", [PATHS, ()], ids=["files", "no files"])
def test_label_errors_have_a_row_for_each_suspect(out, paths):
    with out.open():
        write_label_errors(out.label_errors, build_data(LABELS, {"test": TEST}, NAMES, paths), held_out())
    rows = read(out.label_errors)
    assert list(rows[0]) == ["row", "path", "label", "suggested", "margin"]
    files = [paths[row] if paths else "" for row in (2, 4)]
    assert [list(row.values()) for row in rows] == [
        ["2", files[0], WRITTEN[4], WRITTEN[1], "-0.9877"],
        ["4", files[1], WRITTEN[0], WRITTEN[3], "0.2500"],
    ]
