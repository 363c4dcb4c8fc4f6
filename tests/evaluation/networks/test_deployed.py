"""The files of a bundle: which are measured, and bundles that must not be."""

import dataclasses
import json
import os
import zlib
from pathlib import Path
from typing import Any

import pytest

from evaluation.networks.deployed import DeployedFile, choose, load_deployed
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.finished_run import FinishedRun
from pipeline.tflite.file import TFLiteFile
from tests.commands import ROOT
from tests.evaluation.made_up import build_data, build_run

CONTENTS = {"float32": b"thirty-two", "int8": b"eight"}


@pytest.fixture
def run(tmp_path) -> FinishedRun:
    return build_run(tmp_path / "run", build_data([0, 1], {}, "ab"))


def put_bundle(run: FinishedRun, **changes: Any) -> Path:
    """The two files as `python -m export` leaves them; returns the folder."""
    folder = run.directory.path / "export"
    folder.mkdir(parents=True)
    files = {}
    for name, content in CONTENTS.items():
        file = f"model_{name}.tflite"
        (folder / file).write_bytes(content)
        files[name] = {"file": file, "crc32": f"0x{zlib.crc32(content):08x}"}
    report = {"files": files, "output": "logits", "temperature": 2.0, "splits": run.splits, **changes}
    (folder / "report.json").write_text(json.dumps(report))
    return folder


def refusal(run: FinishedRun, formats: tuple[str, ...] | None = None) -> str:
    with pytest.raises(UserError) as raised:
        load_deployed(run, formats)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_every_file_is_loaded_whole(run):
    put_bundle(run, output="probabilities")
    assert load_deployed(run, None) == [
        DeployedFile("float32", "model_float32.tflite", TFLiteFile(b"thirty-two"), "probabilities", 2.0),
        DeployedFile("int8", "model_int8.tflite", TFLiteFile(b"eight"), "probabilities", 2.0),
    ]


def test_only_what_is_asked_for_is_loaded_in_that_order(run):
    folder = put_bundle(run)
    assert [file.name for file in load_deployed(run, ("int8", "float32"))] == ["int8", "float32"]
    (folder / "model_float32.tflite").unlink()
    assert [file.tflite.content for file in load_deployed(run, ("int8",))] == [b"eight"]


@pytest.mark.parametrize("folder", [False, True], ids=["no folder", "folder without report"])
def test_a_run_that_was_not_exported_has_no_files(run, folder):
    if folder:
        (put_bundle(run) / "report.json").unlink()
    assert load_deployed(run, None) == []
    path = run.directory.path
    assert refusal(run, ("int8",)) == (
        f"--formats must be exported files; received int8, but {path}/export has none "
        f"(to export it: python -m export {path} --formats int8)"
    )


def test_a_format_that_was_not_exported(run):
    path = put_bundle(run).parent
    assert refusal(run, ("int8", "int16")) == (
        f"--formats must be exported files; received int16, but {path}/export has float32, int8 "
        f"(to export it: python -m export {path} --formats int16)"
    )


@pytest.mark.parametrize("changed", [b"eighT", b"eigh", b"eight ", b""])
def test_a_file_that_was_changed_since(run, changed):
    path = put_bundle(run) / "model_int8.tflite"
    path.write_bytes(changed)
    assert refusal(run) == f"a bundle must be as it was exported; {path} was changed since"


def test_a_checksum_that_begins_with_a_zero(run, monkeypatch):
    # Printed without its zeros it would be another text.
    content = next(b"%d" % i for i in range(1000) if zlib.crc32(b"%d" % i) < 2**24)
    monkeypatch.setitem(CONTENTS, "int8", content)
    put_bundle(run)
    assert load_deployed(run, ("int8",))[0].tflite.content == content


def test_a_bundle_of_the_version_before():
    """It calls images otherwise, in its splits too."""
    folder = ROOT / "tests/fixtures/earlier/run"
    run = build_run(folder, build_data([0, 1], {}, "ab"))
    run = dataclasses.replace(run, splits=read_json(folder / "splits.json")["splits"])
    (int8,) = load_deployed(run, None)
    assert (int8.name, int8.file, int8.output) == ("int8", "model_int8.tflite", "logits")
    assert int8.tflite.content == (folder / "export/model_int8.tflite").read_bytes()


def test_a_file_that_is_gone(run):
    path = put_bundle(run) / "model_int8.tflite"
    path.unlink()
    assert refusal(run) == f"a bundle must be whole; {path}: No such file or directory"


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(run):
    path = put_bundle(run) / "model_int8.tflite"
    path.unlink()
    os.mkfifo(path)
    assert refusal(run) == f"a bundle must be whole; {path}: it is no regular file"


def test_a_bundle_of_other_images(run):
    others = {**run.splits, "test": {"fingerprint": "other"}}
    folder = put_bundle(run, splits=others)
    expected = f"a bundle must be of the run that it lies in; {folder} is of another"
    assert refusal(run) == refusal(run, ("int8",)) == expected


@pytest.mark.parametrize("lacking", ["files", "output", "temperature", "splits"])
def test_a_bundle_that_lacks_something(run, lacking):
    path = put_bundle(run) / "report.json"
    report = json.loads(path.read_text())
    del report[lacking]
    path.write_text(json.dumps(report))
    assert refusal(run) == f"a bundle must have a whole report.json; {path} lacks {lacking}"


@pytest.mark.parametrize("lacking", ["file", "crc32"])
def test_a_file_of_which_too_little_is_told(run, lacking):
    path = put_bundle(run) / "report.json"
    report = json.loads(path.read_text())
    del report["files"]["int8"][lacking]
    path.write_text(json.dumps(report))
    assert refusal(run).endswith(f"does not tell {lacking} of int8")


@pytest.mark.parametrize("text", ["", '{"files": {', "null", "3", "\xff"])
def test_a_damaged_report(run, text):
    path = put_bundle(run) / "report.json"
    path.write_bytes(text.encode("latin-1"))
    assert refusal(run).startswith(f"a bundle must have a whole report.json; {path}")


def named(**sizes: int) -> list[DeployedFile]:
    return [DeployedFile(name, "", TFLiteFile(b"." * size), "logits") for name, size in sizes.items()]


@pytest.mark.parametrize(
    ("sizes", "chosen"),
    [
        ({"float32": 40, "int8": 10, "int16": 12}, ["int8"]),
        ({"float32": 40, "int8": 50}, ["int8"]),
        ({"float32": 40, "float16": 20, "dynamic": 21}, ["float16"]),
        ({"float32": 40}, ["float32"]),
        ({}, []),
    ],
)
def test_int8_is_chosen_else_the_smallest(sizes, chosen):
    assert [file.name for file in choose(named(**sizes))] == chosen
