"""`python -m evaluation` on finished runs of digits: what it prints, measures and leaves."""

import csv
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import log_softmax
from sklearn.datasets import load_digits
from sklearn.metrics import accuracy_score, f1_score

from evaluation.__main__ import main
from export.__main__ import main as export_main
from pipeline.config.config import Config, load_values
from pipeline.data.prepare import prepare_data
from tests.commands import ROOT, Outcome, run_command
from tests.quick_export import draw_few, leave_out_micro, leave_out_timing

CORRUPTED = 10


def evaluate(*arguments: object) -> Outcome:
    with pytest.MonkeyPatch.context() as quick:
        draw_few(quick)
        leave_out_timing(quick)
        return run_command(main, *arguments)


@pytest.fixture(scope="module")
def run(digits_run, tmp_path_factory) -> Path:
    """A finished run with an int8 file in its bundle."""
    run = tmp_path_factory.mktemp("evaluated") / "exported"
    shutil.copytree(digits_run, run)
    with pytest.MonkeyPatch.context() as quick:
        leave_out_timing(quick)
        leave_out_micro(quick)
        # Of 270 images a few may turn.
        exported = run_command(export_main, run, "--formats", "int8", "--max-drop", "3")
    assert exported.code == 0, exported.error
    return run


@pytest.fixture(scope="module")
def outcome(run) -> Outcome:
    outcome = evaluate(run, "--flip", "--corrupted", CORRUPTED)
    assert outcome.code == 0, outcome.error
    return outcome


@pytest.fixture(scope="module")
def folder(run, outcome) -> Path:
    return run / "evaluation"


@pytest.fixture(scope="module")
def report(folder) -> dict:
    return json.loads((folder / "report.json").read_text())


@pytest.fixture(scope="module")
def held_out(run) -> tuple[np.ndarray, np.ndarray]:
    """Images of test, uint8 [270, 8, 8, 3], straight from scikit-learn, and their digits."""
    rows = prepare_data(Config().with_values(load_values(run / "config.json"))).splits.test
    digits = load_digits()
    # Grey 0..16 becomes 0..255.
    grey = np.rint(digits.images[rows] * 255 / 16).astype(np.uint8)
    return np.stack([grey] * 3, axis=-1), digits.target[rows]


@pytest.fixture(scope="module")
def logits(run, held_out) -> np.ndarray:
    network = keras.saving.load_model(run / "model.keras", compile=False)
    return network.predict(held_out[0].astype(np.float32), verbose=0)


def test_figures_are_those_of_the_images(report, logits, held_out):
    figures, (_, labels) = report["networks"]["keras"], held_out
    predicted = logits.argmax(axis=-1)
    accuracy = figures["accuracy"]
    assert accuracy["top1"]["value"] == pytest.approx(accuracy_score(labels, predicted))
    assert accuracy["macro"]["f1"]["value"] == pytest.approx(f1_score(labels, predicted, average="macro"))
    losses = -log_softmax(logits, axis=-1)[np.arange(len(labels)), labels]
    # Batches of another size may add up in another order.
    assert figures["calibration"]["before"]["nll"]["value"] == pytest.approx(losses.mean(), rel=1e-4)


def test_the_report_agrees_with_what_the_run_measured(run, report):
    metrics = json.loads((run / "metrics.json").read_text())
    assert report["networks"]["keras"]["accuracy"]["top1"]["value"] == pytest.approx(
        metrics["test"]["accuracy"]
    )
    assert report["cost"]["parameters"] == metrics["parameters"]
    assert report["cost"]["multiply_adds"] == metrics["multiply_adds"]


def test_int8_is_measured_beside_keras(run, report):
    exported = json.loads((run / "export/report.json").read_text())["files"]["int8"]
    beside = report["quantised"]["int8"]
    assert list(report["networks"]) == ["keras", "int8"]
    assert report["networks"]["int8"]["accuracy"]["top1"]["value"] == exported["accuracy"]
    for name in ("lost", "won", "agreement", "drop_points", "drop_interval_95_points"):
        assert beside[name] == exported[name]
    assert len(beside["broken"]) == beside["lost"]
    for figures in report["networks"].values():
        assert figures["robustness"]["images"] == CORRUPTED
        assert len(figures["robustness"]["corruptions"]) == 15
        assert figures["flip"]["top1"]["value"] < figures["accuracy"]["top1"]["value"]


def test_predictions_have_a_row_for_each_image(folder, logits, held_out):
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == held_out[1].tolist()
    assert [int(row["keras_predicted"]) for row in rows] == logits.argmax(axis=-1).tolist()
    chances = np.exp(log_softmax(logits, axis=-1)).max(axis=-1)
    # Printed to four digits.
    found = [float(row["keras_confidence"]) for row in rows]
    np.testing.assert_allclose(found, chances, atol=1e-4)


def test_the_page_is_whole_and_needs_nothing_else(folder, report):
    # No line breaks within a figure.
    page = (folder / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    top1 = report["networks"]["keras"]["accuracy"]["top1"]
    assert f"{100 * top1['value']:.2f} %" in page
    assert page.rstrip().endswith("</html>")
    assert not re.search(r'(src|href)="(?!data:|#)', page)


def test_what_is_printed(outcome, folder, report):
    top1 = report["networks"]["keras"]["accuracy"]["top1"]["value"]
    lines = outcome.printed.splitlines()
    (row,) = [line for line in lines if line.startswith("keras")]
    assert f"{top1:.2%}" in row
    assert any(str(folder) in line and "report.html" in line for line in lines)


def test_the_same_again_measures_nothing(run, outcome, folder, contents):
    before = contents(folder)
    again = evaluate(run, "--flip", "--corrupted", CORRUPTED)
    assert again.code == 0
    assert "not measured again" in again.printed
    assert contents(folder) == before


@pytest.fixture(scope="module")
def smaller(tmp_path_factory) -> Path:
    """A run of an earlier version on the same images, which has learned little."""
    run = tmp_path_factory.mktemp("smaller") / "smaller"
    others = shutil.ignore_patterns("evaluation", "export")
    return shutil.copytree(ROOT / "tests/fixtures/earlier/run", run, ignore=others)


def test_two_runs_are_compared_image_by_image(
    run, smaller, outcome, folder, contents, tmp_path, logits, held_out
):
    out, fuller = tmp_path / "comparison", contents(folder)
    compared = evaluate(smaller, run, "--corrupted", 0, "--out", out)
    assert compared.code == 0, compared.error
    # With flips and corruptions, which were not asked for now.
    assert contents(folder) == fuller
    comparison = json.loads((out / "comparison.json").read_text())
    first, second = comparison["runs"]
    assert [first["run"], second["run"]] == ["exported", "smaller"]
    assert comparison["best"] == "exported"
    network = keras.saving.load_model(smaller / "model.keras", compile=False)
    images, labels = held_out
    right = logits.argmax(axis=-1) == labels
    other = network.predict(images, verbose=0).argmax(axis=-1) == labels
    assert second["behind_best"]["lost"] == np.sum(right & ~other)
    assert second["behind_best"]["won"] == np.sum(other & ~right)
    # The cheapest and the best are on the front, whatever the cost.
    assert all(first["on_front"].values())
    assert second["on_front"]["multiply_adds"]
    assert first["int8_preview"] is False
    assert second["int8_preview"] is True
    assert first["corrupted_accuracy"] is not None is second["corrupted_accuracy"]
    page = (out / "comparison.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert f"{100 * second['accuracy']['value']:.2f} %" in page
    assert (smaller / "evaluation/report.html").exists()
    lines = compared.printed.splitlines()
    assert [line.split()[0] for line in lines if line.startswith(("exported ", "smaller "))] == [
        "exported",
        "smaller",
    ]


def test_a_labelled_folder_is_tested_on_as_test_is(run, outcome, folder, digit_folder, contents, tmp_path):
    new = shutil.copytree(digit_folder, tmp_path / "new")
    shutil.rmtree(new / "9")
    shutil.copy(new / "3" / "03.png", new / "3" / "again.png")
    (new / "3" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    own = contents(folder)
    tested = evaluate(run, "--corrupted", 0, "--data", f"folder:{new}")
    assert tested.code == 0, tested.error
    assert contents(folder) == own
    report = json.loads((run / "evaluation_new" / "report.json").read_text())
    digits = load_digits()
    # The folder holds the first forty.
    rows = np.flatnonzero(digits.target[:40] != 9)
    assert report["images"]["test"] == len(rows)
    with (run / "evaluation_new" / "predictions.csv").open(newline="") as file:
        answers = {Path(row["path"]).stem: row for row in csv.DictReader(file)}
    assert {int(stem): int(row["label"]) for stem, row in answers.items()} == {
        row: digits.target[row] for row in rows.tolist()
    }
    pixels = np.repeat(np.rint(digits.images[rows] * (255 / 16))[..., None], 3, axis=-1)
    network = keras.saving.load_model(run / "model.keras", compile=False)
    found = network.predict(pixels.astype(np.float32), verbose=0).argmax(axis=-1)
    assert [int(answers[f"{row:02d}"]["keras_predicted"]) for row in rows] == found.tolist()
    # What is not of test was learned from.
    test = prepare_data(Config().with_values(load_values(run / "config.json"))).splits.test
    told = report["new_images"]
    learned = [int(Path(path).stem) for path in told["learned"]]
    assert sorted(learned) == sorted(set(rows.tolist()) - set(test.tolist()))
    assert {Path(path).name: problem.split(" of ")[0] for path, problem in told["left_out"]} == {
        "again.png": "exact duplicate",
        "broken.png": "truncated or damaged",
    }
    assert f"{len(learned)} of the {len(rows)} images of folder:{new} are among those" in tested.printed

    refused = evaluate(run, "--corrupted", 0, "--data", new, "--out", folder)
    assert refused.error == (
        f"error: --out must not hold a report on other images; {folder} has one on the test of the run\n"
    )
