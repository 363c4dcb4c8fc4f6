"""`python -m evaluation` on wrong input: one line that says what, exit code 2, nothing written."""

import functools
import json
from pathlib import Path

import keras
import pytest

from evaluation.__main__ import main
from tests.commands import refusal, run_command

QUICK = ("--corrupted", "0")


@pytest.fixture
def refused(own_run, contents):
    """Run the command, which must refuse; return its one line without `error: `."""
    return functools.partial(refusal, functools.partial(run_command, main), own_run.parent, contents)


def put_bundle(run: Path, **changes: object) -> Path:
    """A bundle of one file, as far as an evaluation reads it."""
    splits = json.loads((run / "splits.json").read_text())["splits"]
    files = {"int8": {"file": "model_int8.tflite", "crc32": "0x00000000"}}
    (run / "export").mkdir()
    report = {"files": files, "output": "logits", "temperature": 1.0, "splits": splits, **changes}
    (run / "export/report.json").write_text(json.dumps(report))
    return run / "export"


def test_no_run(refused):
    assert "received none" in refused()


def test_a_missing_directory(refused, own_run):
    missing = own_run.parent / "missing"
    assert refused(missing) == f"a run directory must hold a finished run; received {missing}"


def test_an_unfinished_run(refused, own_run):
    (own_run / "metrics.json").unlink()
    assert "must be finished" in refused(own_run)


def test_a_network_that_is_not_the_one_that_was_measured(refused, own_run):
    network = keras.saving.load_model(own_run / "model.keras", compile=False)
    kernel, bias = network.get_layer("head").get_weights()
    network.get_layer("head").set_weights([-kernel, bias])
    network.save(own_run / "model.keras")
    assert "must have the run's test accuracy" in refused(own_run, *QUICK)


def test_a_format_that_was_not_exported(refused, own_run):
    message = refused(own_run, "--formats", "int8")
    assert message.startswith("--formats must be exported files; received int8")
    assert f"python -m export {own_run} --formats int8" in message


def test_a_file_that_was_changed_since_its_export(refused, own_run):
    (put_bundle(own_run) / "model_int8.tflite").write_bytes(b"other")
    assert "was changed since" in refused(own_run, *QUICK)


def test_a_bundle_of_another_run(refused, own_run):
    put_bundle(own_run, splits={})
    assert "is of another" in refused(own_run, *QUICK)


def test_half_a_bundle_report(refused, own_run):
    path = put_bundle(own_run) / "report.json"
    path.write_text(path.read_text()[:50])
    assert "must have a whole report.json" in refused(own_run, *QUICK)


@pytest.mark.parametrize(
    "change",
    [
        {"files": []},
        {"files": {"int8": 3}},
        {"files": {"int9": {}}},
        {"files": {"int8": {"file": 3, "crc32": ""}}},
        {"output": "odds"},
        {"temperature": "hot"},
        {"temperature": 0},
    ],
    ids=str,
)
def test_a_bundle_report_of_other_types(refused, own_run, change):
    put_bundle(own_run, **change)
    assert "must have a whole report.json" in refused(own_run, *QUICK)


def test_files_of_somebody_else(refused, own_run):
    (own_run / "evaluation").mkdir()
    (own_run / "evaluation/predictions.csv").write_text("mine")
    message = refused(own_run, *QUICK)
    assert message.startswith("--out must be new or hold an earlier evaluation; ")
    assert message.endswith("changed since: predictions.csv")


def test_a_place_that_is_a_file(refused, own_run):
    place = own_run.parent / "place"
    place.write_text("the only copy")
    assert f"--out must be writable; {place}" in refused(own_run, *QUICK, "--out", place)


def test_the_same_run_twice(refused, own_run):
    assert "must be different" in refused(own_run, own_run.parent / "." / own_run.name)


def test_an_interrupt_leaves_nothing(own_run, contents, monkeypatch):
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("evaluation.evaluate.describe_networks", interrupt)
    before = contents(own_run)
    outcome = run_command(main, own_run, *QUICK)
    assert outcome.code == 130
    assert outcome.error == "interrupted; what was not finished was not written\n"
    assert contents(own_run) == before
