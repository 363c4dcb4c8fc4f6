"""`python -m export.ready`: a finished and exported run becomes a ready model, or is refused."""

import functools
import hashlib
import json
import re
import shutil
import zipfile
from pathlib import Path

import pytest
from ai_edge_litert import schema_py_generated as schema

from export.ready.__main__ import main
from pipeline.config.config import Config, load_values
from pipeline.prediction.model_file import find_model
from pipeline.tflite.constants import pack
from pipeline.tflite.file import crc32
from tests.commands import ROOT, refusal, run_command
from tests.evaluation.comparison_sample import ENVIRONMENT

make = functools.partial(run_command, main)


@pytest.fixture
def run(tmp_path) -> Path:
    """A run that was exported, with all settings of today."""
    run = shutil.copytree(ROOT / "tests/fixtures/earlier/run", tmp_path / "run")
    config = Config().with_values(load_values(run / "config.json"))
    (run / "config.json").write_text(config.to_json())
    return run


def test_what_is_read_of_a_run_is_kept_with_a_card(run, tmp_path):
    folder = tmp_path / "ready" / "small_digits"
    outcome = make(run, folder)
    assert outcome.code == 0, outcome.error
    copied = {"config.json", "metrics.json", "splits.json"}
    assert {path.name for path in folder.iterdir()} == copied | {
        "model.keras",
        "card.md",
        "labels.txt",
        "model_int8.tflite",
        "preprocessing.json",
    }
    assert [path.name for path in folder.parent.iterdir()] == ["small_digits"]
    assert all((folder / name).read_bytes() == (run / name).read_bytes() for name in copied)
    kept, own = (zipfile.ZipFile(place / "model.keras") for place in (folder, run))
    assert {name: kept.read(name) for name in kept.namelist()} == {n: own.read(n) for n in own.namelist()}
    assert (folder / "model.keras").stat().st_size < 0.9 * (run / "model.keras").stat().st_size
    digits = tuple(map(str, range(10)))
    keras, int8 = find_model(str(folder)), find_model(str(folder / "model_int8.tflite"))
    assert (keras.path, keras.class_names) == (folder / "model.keras", digits)
    assert (int8.class_names, int8.scores) == (digits, "logits")
    assert int8.path.read_bytes() == (run / "export" / "model_int8.tflite").read_bytes()


def test_the_card_tells_what_was_measured(run, tmp_path):
    # As a bundle with more than the int8 file: its preprocessing.json tells of all.
    contract = json.loads((run / "export" / "preprocessing.json").read_text())
    contract["models"]["model_float32.tflite"] = contract["models"]["model_int8.tflite"]
    (run / "export" / "preprocessing.json").write_text(json.dumps(contract))
    folder = tmp_path / "small_digits"
    assert make(run, folder).code == 0
    card = (folder / "card.md").read_text()
    metrics = json.loads((run / "metrics.json").read_text())
    kib = {
        name: f"{(folder / name).stat().st_size / 1024:.1f}" for name in ("model.keras", "model_int8.tflite")
    }
    assert f"| `model.keras` | {kib['model.keras']} | {metrics['test']['accuracy']:.2%} |" in card
    # 0.6851851851851852 and 0.005428000008578238 in the export's report.
    assert f"| `model_int8.tflite` | {kib['model_int8.tflite']} | 68.52% | 0.005 |" in card
    assert "resnet8, width 4, from 8 x 8 RGB pixels" in card
    assert "5,214 parameters, 54,176 multiply-adds" in card
    assert "int8 costs -0.37 points (-2.13 to 1.40, 95 %, paired) and gives 97.78% of Keras' answers" in card
    assert "an arena of 7.8 KiB" in card  # 7936 bytes
    assert "CC BY 4.0" in card
    assert "test 270" in card
    epochs = len((run / "history.csv").read_text().splitlines()) - 1
    assert f"{epochs} epochs" in card
    assert "seed 0" in card
    assert "--model resnet8 --width 4" in card
    assert "python train.py --config ready/small_digits/config.json --run-dir runs/small_digits" in card
    assert "tensorflow 2.21.0" in card
    for name in ("model.keras", "model_int8.tflite"):
        assert f"| `{name}` | {hashlib.sha256((folder / name).read_bytes()).hexdigest()} |" in card
    assert re.search(r"\| weights.* \| [0-9a-f]{64} \|", card)
    assert list(json.loads((folder / "preprocessing.json").read_text())["models"]) == ["model_int8.tflite"]


def test_the_card_tells_on_how_many_cores_it_was_trained(run, tmp_path):
    change(run / "environment.json", cores=3)
    change(run / "export" / "report.json", environment={**ENVIRONMENT, "cores": 2, "processor": "X"})
    assert make(run, tmp_path / "small_digits").code == 0
    assert " on 2 cores of X (trained on 3, " in (tmp_path / "small_digits" / "card.md").read_text()
    change(run / "environment.json", cores=1)
    assert make(run, tmp_path / "held").code == 0
    lines = (tmp_path / "held" / "card.md").read_text().splitlines()
    assert "taskset -c 0 python train.py --config ready/held/config.json --run-dir runs/held" in lines
    change(run / "environment.json", cores=2)
    assert make(run, tmp_path / "again").code == 0
    assert " on 2 cores of X, at commit" in (tmp_path / "again" / "card.md").read_text()


@pytest.mark.parametrize(
    ("epochs", "flags"), [([0], ""), ([0, 2], " --finetune 2"), ([0, 0, 3], " --repair --finetune 3")]
)
def test_the_card_has_the_exports_own_line(epochs, flags, run, tmp_path):
    path = run / "export" / "report.json"
    (tried,) = json.loads(path.read_text())["int8_tried"]
    change(path, int8_tried=[{**tried, "trained_epochs": count} for count in epochs], max_drop_points=0.5)
    assert make(run, tmp_path / "small_digits").code == 0
    lines = (tmp_path / "small_digits" / "card.md").read_text().splitlines()
    assert f"python -m export runs/small_digits{flags}" in lines


def test_the_cards_line_has_what_makes_the_int8_file_another_one(run, tmp_path):
    folder = run / "export"
    model = schema.ModelT.InitFromPackedBuf((folder / "model_int8.tflite").read_bytes())
    model.subgraphs[0].tensors[model.subgraphs[0].inputs[0]].type = schema.TensorType.UINT8
    (folder / "model_int8.tflite").write_bytes(pack(model))
    files = json.loads((folder / "report.json").read_text())["files"]
    files["int8"] |= {"crc32": crc32(pack(model)), "tensor_names": []}
    figures = {"output": "probabilities", "temperature": 1.375, "max_drop_points": 60.0}
    change(folder / "report.json", files=files, **figures)
    assert make(run, tmp_path / "small_digits").code == 0
    card = (tmp_path / "small_digits" / "card.md").read_text()
    flags = "--output probabilities --temperature 1.375 --input-type uint8 --max-drop 60.0 --no-slim"
    assert f"python -m export runs/small_digits {flags}" in card.splitlines()
    assert "to probabilities of 10 classes" in card


def change(file: Path, **values: object) -> None:
    file.write_text(json.dumps({**json.loads(file.read_text()), **values}))


def set_in(config: Path, **values: str) -> None:
    config.write_text(Config().with_values({**load_values(config), **values}).to_json())


@pytest.mark.parametrize(
    ("damage", "name", "message"),
    [
        (lambda run: (run / "metrics.json").unlink(), "x", "a run must be finished"),
        (lambda run: shutil.rmtree(run / "export"), "x", "an exported run must have a whole report.json"),
        (lambda run: change(run / "export" / "report.json", files={}), "x", "files.int8"),
        (lambda run: change(run / "export" / "report.json", splits={}), "x", "is of another"),
        (lambda run: (run / "export" / "model_int8.tflite").write_bytes(b"?"), "x", "was changed since"),
        (lambda run: (run / "export" / "labels.txt").unlink(), "x", "labels.txt: No such file"),
        (lambda run: set_in(run / "config.json", data="mnist"), "x", "must be digits or cifar10"),
        (lambda run: set_in(run / "config.json", teacher="runs/large"), "x", "--teacher must be one that"),
        (lambda run: set_in(run / "config.json", weights="a.keras"), "x", "--weights must be one that"),
        (lambda run: None, "X-1", "FOLDER must be new, and its name words"),
        (lambda run: None, "run", "FOLDER must be new, and its name words"),
    ],
)
def test_what_is_not_whole_or_not_known_is_refused_and_leaves_nothing(damage, name, message, run, contents):
    damage(run)
    assert message in refusal(make, run.parent, contents, run, run.parent / name)
