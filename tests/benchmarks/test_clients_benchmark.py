"""The table of clients: what each row says, and that a client's answers are held to the golden images."""

import json
import shutil
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from benchmarks import clients
from benchmarks.client_checks import Answers, NotInstalled, Refused, ask_micro_python, ask_run_py, clients_of
from benchmarks.clients import Row, ask
from export.bundle.golden import write_golden
from export.device import run
from pipeline.data.digits import load_digits
from pipeline.tflite.file import TFLiteFile
from tests.benchmarks.conftest import ThisProcess
from tests.commands import ROOT

INT8 = "model_int8.tflite"
IMAGES = load_digits().images.images[:3]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    """What of a bundle these clients look at, of a ready network."""
    folder = tmp_path_factory.mktemp("clients")
    for name in ("labels.txt", "preprocessing.json", INT8):
        shutil.copy(ROOT / "ready/digits_resnet8" / name, folder)
    shutil.copy(run.__file__, folder)
    write_golden(INT8, TFLiteFile((folder / INT8).read_bytes()), IMAGES, folder / "golden")
    return folder


def test_run_py_is_asked_in_a_process_of_its_own_and_held_to_the_reference(bundle):
    row = ask(bundle, INT8, "LiteRT, run.py", ask_run_py)
    assert row.answers, row.why
    assert (row.answers.unit, row.answers.agrees) == ("probability", True)
    assert row.answers.off < 0.02  # a level or two
    assert min(row.answers.milliseconds) > 0


def test_tensorflow_lite_micro_gives_the_bytes(bundle):
    pytest.importorskip("tflite_micro")
    answers = ask_micro_python(bundle, INT8)
    assert (answers.unit, answers.off, answers.agrees) == ("levels", 0, True)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (NotInstalled("pip install it"), "not tried: pip install it"),
        (Refused("no INT8"), "no: no INT8"),
        (BrokenProcessPool("a child died"), "no: it ended its process"),
        (KeyError("pixels\n..."), "no: KeyError: 'pixels"),
    ],
)
def test_a_client_that_does_not_answer_is_told(error, said, bundle, monkeypatch):
    def refuse(_bundle: Path, _file: str) -> None:
        raise error

    monkeypatch.setattr(clients, "own_process", ThisProcess)
    assert ask(bundle, INT8, "client", refuse).cells()[2].startswith(said)


def test_a_row_tells_median_and_least_and_whether_the_classes_are_right():
    answers = Answers("levels", 1.0, True, [3.0, 1.0, 10.0])
    row = Row("a.tflite", "client", answers)
    assert row.cells() == ["a.tflite", "client", "yes", "1 level", "3", "1"]
    times = {"median": 3.0, "minimum": 1.0, "maximum": 10.0, "runs": 3}
    assert json.loads(json.dumps(row.figures()))["answers"]["milliseconds"] == times
    wrong = Row("a.tflite", "client", Answers("probability", 0.25, False, None)).cells()
    assert wrong == ["a.tflite", "client", "OTHER CLASSES", "2e-01 of a probability", "", ""]


def test_every_file_of_a_bundle_is_asked_about(tmp_path):
    for name in (INT8, "model_float32.tflite", "model.onnx", "saved_model/x", "micro/x", "web/model.tflite"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    asked = {file for file, _, _ in clients_of(tmp_path)}
    assert asked == {INT8, "model_float32.tflite", "model.onnx", "saved_model", "web/model.tflite"}
    assert (INT8, "TFLite Micro, C++") in {(file, client) for file, client, _ in clients_of(tmp_path)}
