"""`python -m export` on wrong input: one line that says what, exit code 2, nothing written."""

import functools
import json
import subprocess
import sys
from pathlib import Path

import pytest
import tensorflow as tf
from filelock import FileLock

from tests.commands import ROOT, refusal


@pytest.fixture
def refused(export, own_run, contents):
    """Run the command, which must refuse; return its one line without `error: `."""
    return functools.partial(refusal, export, own_run.parent, contents)


def change_config(run: Path, change) -> None:
    """Let `change` work on the sections of config.json."""
    sections = json.loads((run / "config.json").read_text())
    change(sections)
    (run / "config.json").write_text(json.dumps(sections))


def test_a_missing_directory(refused, own_run):
    missing = own_run.parent / "missing"
    assert refused(missing) == f"a run directory must hold a finished run; received {missing}"


def test_an_unfinished_run(refused, own_run):
    (own_run / "metrics.json").unlink()
    message = refused(own_run)
    assert "must be finished" in message
    assert f"python train.py --resume --run-dir {own_run}" in message


def test_a_run_with_an_unknown_setting(refused, own_run):
    change_config(own_run, lambda sections: sections["model"].update(depth=18))
    assert "'depth'" in refused(own_run)


def test_an_unknown_format(refused, own_run):
    message = refused(own_run, "--formats", "float32,in8")
    assert "unknown --formats 'in8'; did you mean 'int8'?" in message


def test_repair_without_int8(refused, own_run):
    message = refused(own_run, "--formats", "float16", "--repair")
    assert "--repair" in message
    assert "float16" in message


def test_a_place_that_holds_other_files(refused, own_run):
    place = own_run.parent / "place"
    place.mkdir()
    (place / "thesis.txt").write_text("the only copy")
    assert "--out must be new, empty or an earlier bundle" in refused(own_run, "--out", place)


def test_a_damaged_model_file(refused, own_run):
    model = own_run / "model.keras"
    model.write_bytes(model.read_bytes()[:1000])
    assert str(model) in refused(own_run)


def test_a_model_file_damaged_inside(refused, own_run):
    model = own_run / "model.keras"
    content = bytearray(model.read_bytes())
    middle = slice(len(content) // 2, len(content) // 2 + 64)
    content[middle] = bytes(255 - byte for byte in content[middle])
    model.write_bytes(content)
    assert str(model) in refused(own_run)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("splits.json", None),
        ("splits.json", '{"source": "dig'),
        ("splits.json", "{}"),
        ("metrics.json", '{"test": {"pic'),
        ("metrics.json", "{}"),
    ],
    ids=["no splits", "half splits", "other splits", "half metrics", "other metrics"],
)
def test_a_damaged_record(refused, own_run, name, content):
    path = own_run / name
    if content is None:
        path.unlink()
    else:
        path.write_text(content)
    assert str(path) in refused(own_run)


def test_a_full_disk(refused, own_run, monkeypatch):
    def fail(*given: object, **named: object) -> None:
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    message = refused(own_run, "--formats", "saved_model")
    assert message.startswith("--out must be writable; ")
    assert message.endswith("No space left on device")


def test_images_that_changed_since_training(refused, own_run):
    recorded = json.loads((own_run / "splits.json").read_text())
    recorded["splits"]["train"]["fingerprint"] = "0" * 64
    (own_run / "splits.json").write_text(json.dumps(recorded))
    assert "digits no longer has the fingerprints" in refused(own_run)


def test_a_second_export_at_the_same_time(refused, own_run):
    with FileLock(own_run / ".export.lock"):
        message = refused(own_run)
    assert message.startswith("a bundle takes one export at a time")


@pytest.mark.usefixtures("untimed", "preconverted", "without_micro")
def test_fewer_bytes_than_the_int8_file_has(refused, own_run):
    message = refused(own_run, "--formats", "int8", "--max-drop", "2", "--max-bytes", "10000")
    assert message.startswith("--max-bytes must be at least the int8 file's ")
    assert "received 10,000" in message


@pytest.mark.usefixtures("untimed", "preconverted")
def test_a_smaller_arena_than_the_int8_file_needs(refused, own_run):
    pytest.importorskip("tflite_micro", reason="the package tflite_micro is not installed")
    message = refused(own_run, "--formats", "int8", "--max-drop", "2", "--max-arena-kib", "4.5")
    assert message.startswith("--max-arena-kib must be at least the ")
    assert "received 4.5" in message


def test_a_place_of_somebody_else_is_refused_before_tensorflow_loads(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    code = (
        "import sys; from export.__main__ import main; code = main(sys.argv[1:]); "
        "print(code, 'tensorflow' in sys.modules)"
    )
    run = ROOT / "tests" / "fixtures" / "earlier" / "run"
    for out, reason in (
        (tmp_path, "changed since: notes.txt\n"),
        (tmp_path / "notes.txt/export", "notes.txt is no directory\n"),
    ):
        command = [sys.executable, "-c", code, run, "--out", out]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        assert done.stdout == "2 False\n"
        assert done.stderr.endswith(reason)
