"""The models that come along: found by name, and as good as their cards say."""

import functools
import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

import predict
from evaluation.request import parse_evaluation_request
from export.request import parse_export_request
from pipeline import load_classifier
from pipeline.config.config import Config, load_values
from pipeline.data.prepare import prepare_data
from pipeline.errors import UserError
from pipeline.places import check_weights
from pipeline.prediction.model_file import find_export, find_model
from pipeline.pretrained import read_pretrained
from pipeline.ready_models import READY, list_ready
from tests.commands import run_command

run_predict = functools.partial(run_command, predict.main)

DIGITS = "digits_resnet8"
MOST_BYTES = 6_000_000


def card_of(name: str) -> str:
    return (READY / name / "card.md").read_text()


@pytest.mark.parametrize("name", list_ready())
def test_a_card_has_the_digests_of_its_files(name):
    told = dict(re.findall(r"\| `(\S+)` \| ([0-9a-f]{64}) \|", card_of(name)))
    assert set(told) == {"model.keras", "model_int8.tflite"}
    for file, digest in told.items():
        assert hashlib.sha256((READY / name / file).read_bytes()).hexdigest() == digest
    assert read_pretrained(name).fingerprint in card_of(name)
    assert card_of(name).startswith(f"# {name}\n")
    assert f"--config ready/{name}/config.json" in card_of(name)


def test_the_store_is_small():
    sizes = {path: path.stat().st_size for path in READY.rglob("*") if path.is_file()}
    assert sum(sizes.values()) < MOST_BYTES


def test_both_files_are_as_accurate_as_the_card_says():
    data = prepare_data(Config().with_values(load_values(READY / DIGITS / "config.json")))
    rows = data.splits.test
    images, labels = data.source.images.images[rows], data.source.labels[rows]
    for file in ("model.keras", "model_int8.tflite"):
        answered = load_classifier(READY / DIGITS / file)(images).classes
        accuracy = np.mean(np.array(answered, int) == labels)
        (told,) = re.findall(rf"\| `{file}` \| [\d,.]+ \| ([\d.]+%) \|", card_of(DIGITS))
        assert f"{accuracy:.2%}" == told


def test_a_name_answers_and_is_scored(digit_folder):
    outcome = run_predict(DIGITS, digit_folder)
    assert outcome.code == 0, outcome.error
    accuracy = re.search(r"accuracy ([\d.]+) % .* on 40 labelled images", outcome.error)
    assert float(accuracy[1]) > 95
    digits = tuple(map(str, range(10)))
    keras, int8 = find_model(DIGITS), find_export(DIGITS)
    assert (keras.path.name, int8.path.name) == ("model.keras", "model_int8.tflite")
    assert keras.class_names == int8.class_names == digits


def test_what_is_ready_is_listed_and_the_nearest_name_told(digit_folder):
    assert DIGITS in list_ready()
    outcome = run_predict()
    assert outcome.code == 2
    assert (
        f"a model must be given; received none, see --help; ready: {', '.join(list_ready())}" in outcome.error
    )
    outcome = run_predict("digits_resnet9", digit_folder)
    assert outcome.code == 2
    assert outcome.error.count("\n") == 1
    assert f"received 'digits_resnet9'; did you mean '{DIGITS}'? ready: " in outcome.error
    assert "did you mean" not in run_predict("elephant", digit_folder).error


def test_a_path_of_that_name_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_model(DIGITS).path == READY / DIGITS / "model.keras"
    Path(DIGITS).mkdir()
    with pytest.raises(UserError, match=f"a model must be a run directory.*received '{DIGITS}'"):
        find_model(DIGITS)
    with pytest.raises(UserError, match=f"must hold a finished run; received {DIGITS}"):
        check_weights(DIGITS)


def test_a_run_may_start_from_one():
    check_weights(DIGITS)
    weights = read_pretrained(DIGITS)
    assert weights.class_names == tuple(map(str, range(10)))
    assert json.loads((READY / DIGITS / "config.json").read_text())["model"]["model"] in weights.origin


@pytest.mark.parametrize("parse", [parse_export_request, parse_evaluation_request])
def test_export_and_evaluation_take_one_and_write_elsewhere(parse, tmp_path):
    request = parse([DIGITS, "--out", str(tmp_path)])
    run = request.run if parse is parse_export_request else request.runs[0]
    assert run.path == READY / DIGITS
    for out in ([], ["--out", str(READY / "report")]):
        with pytest.raises(UserError, match="--out must be outside the ready models"):
            parse([DIGITS, *out])
