"""What an earlier version left is read, finished and replaced by this one."""

import json
import shutil
from functools import partialmethod
from pathlib import Path

import keras
import numpy as np
import pytest

import evaluation.__main__
import export.__main__
import train
import tuning.__main__
from pipeline.config.presets import preset
from pipeline.console.training_request import parse_training_request
from pipeline.training.run import TrainingRun, finish
from tests.commands import ROOT, Outcome, run_command
from tests.pipeline.training.samples import run_of
from tests.quick_export import draw_few, leave_out_micro, leave_out_timing

EARLIER = ROOT / "tests" / "fixtures" / "earlier"
NETWORK = ("digits", "--model", "resnet8", "--width", "4")


@pytest.fixture
def earlier(tmp_path) -> Path:
    """A copy of what the earlier version left: `run`, `unfinished` and `search`."""
    return shutil.copytree(EARLIER, tmp_path / "earlier")


def resume(run_dir: Path) -> Outcome:
    return run_command(train.main, "--resume", "--run-dir", run_dir)


def test_an_unfinished_run_goes_on_as_it_would_have_gone_on(earlier, tmp_path, monkeypatch):
    fresh, unfinished = tmp_path / "fresh", earlier / "unfinished"
    settings = [*NETWORK, "--epochs", 8, "--ema-decay", 0.9, "--devices", "cpu"]
    # It was left after the first epoch: what the next two make the same, all would.
    monkeypatch.setattr(TrainingRun, "fit", partialmethod(TrainingRun.fit, last_epoch=3))
    resumed = resume(unfinished)
    assert resumed.code == 0, resumed.error
    assert "epoch 1/8" not in resumed.printed
    assert "epoch 3/8" in resumed.printed
    run = run_of(fresh, *map(str, settings))
    run.fit([])
    finish(run)
    weights = [
        keras.saving.load_model(run / "model.keras", compile=False).get_weights()
        for run in (fresh, unfinished)
    ]
    for expected, received in zip(*weights, strict=True):
        np.testing.assert_array_equal(received, expected)
    figures = [json.loads((run / "metrics.json").read_text()) for run in (fresh, unfinished)]
    assert figures[0] == figures[1]


def test_a_finished_run_is_finished(earlier):
    outcome = resume(earlier / "run")
    assert outcome.code == 0, outcome.error
    assert "is finished already" in outcome.printed
    assert "test accuracy 68.15% on 270 images (validation 62.75%, best epoch 3)" in outcome.printed
    for path in (EARLIER / "run").rglob("*.*"):
        assert (earlier / path.relative_to(EARLIER)).read_bytes() == path.read_bytes()


def test_a_finished_run_is_exported_as_before_and_evaluated_with_its_own_bundle(earlier, monkeypatch):
    leave_out_timing(monkeypatch)
    leave_out_micro(monkeypatch)
    draw_few(monkeypatch)
    run, bundle = earlier / "run", earlier / "bundle"
    whole = "--formats", "int8", "--no-slim", "--max-drop", 60
    outcome = run_command(export.__main__.main, run, *whole, "--out", bundle)
    assert outcome.code == 0, outcome.error
    # Not the same bytes: another processor's float kernels see ranges that differ in their last bits.
    ours, theirs = (
        json.loads((b / "report.json").read_text())["files"]["int8"] for b in (bundle, run / "export")
    )
    # The name of the output is shorter than it was, which is up to one block of 16 bytes.
    assert theirs["bytes"] - ours["bytes"] in (0, 16)
    assert ours["accuracy"] == pytest.approx(theirs["accuracy"], abs=2 / 270)

    outcome = run_command(evaluation.__main__.main, run, "--corrupted", 0)
    assert outcome.code == 0, outcome.error
    networks = json.loads((run / "evaluation" / "report.json").read_text())["networks"]
    assert networks.keys() == {"keras", "int8"}
    assert networks["keras"]["accuracy"]["top1"]["value"] == pytest.approx(0.6814814805)


SINCE = {
    "data": {
        **{"exclude": "", "resize": "squash", "eval_crop_share": 0.875},
        **{"exif_orientation": False, "image_formats": "basic", "duplicates": "bytes"},
        "quick_reading": False,
    },
    "transfer": {
        **{"linear_head": False, "teacher": "", "teacher_share": 0.9},
        **{"temperature": 4.0, "teacher_precision": "auto"},
    },
    "fit": {"muon_rate": 0.24},
}
"""Section -> settings that the fixture's version did not have, at what it did."""


def test_a_search_goes_on_without_training_what_it_knows(earlier, contents):
    search = earlier / "search"
    trials, best = contents(search / "trials"), json.loads((search / "best_config.json").read_text())
    settings = ["--epochs", 2, "--max-trials", 2, "--confirm", "1x2", "--out", search]
    outcome = run_command(tuning.__main__.main, *map(str, [*NETWORK, *settings]))
    assert outcome.code == 0, outcome.error
    assert "4 trials that ended before" in outcome.printed
    assert contents(search / "trials") == trials
    best = {section: settings | SINCE.get(section, {}) for section, settings in best.items()}
    # Its trials from here on read images as a new run does.
    best["data"] |= {
        "exif_orientation": True,
        "image_formats": "all",
        "duplicates": "pixels",
        "quick_reading": True,
    }
    assert json.loads((search / "best_config.json").read_text()) == best


def test_the_best_settings_of_a_search_are_settings():
    config = EARLIER / "search" / "best_config.json"
    chosen = parse_training_request(["--config", str(config)]).chosen
    recorded = json.loads(config.read_text())
    assert chosen.build_config().values() == {
        name: value for section in [*recorded.values(), *SINCE.values()] for name, value in section.items()
    }


def test_the_settings_of_an_earlier_run_leave_nothing_to_a_preset(earlier, capsys):
    config = earlier / "run" / "config.json"
    settings = json.loads(config.read_text())
    del settings["augment"]["rotation"]
    config.write_text(json.dumps(settings))
    chosen = parse_training_request(["--config", str(config)]).chosen
    assert chosen.build_config().augment.rotation == 0 != preset("digits").augment.rotation
    assert "rotation read as 0.0" in capsys.readouterr().err


def test_a_setting_that_an_earlier_run_lacks_is_said_and_one_that_is_unknown_refused(earlier):
    config = earlier / "run" / "config.json"
    settings = json.loads(config.read_text())
    del settings["transfer"]["finetune_epochs"]
    config.write_text(json.dumps(settings))
    outcome = resume(earlier / "run")
    assert outcome.code == 0
    assert outcome.error.startswith(f"{config} is of an earlier version: ")
    assert "finetune_epochs read as 0" in outcome.error

    settings["fit"]["epoch"] = 3
    config.write_text(json.dumps(settings))
    refused = f"error: unknown setting in {config}: 'epoch'; did you mean 'epochs'? known: "
    for command, *arguments in (
        (train.main, "--resume", "--run-dir", earlier / "run"),
        (train.main, "--config", config, "--run-dir", earlier / "new"),
        (export.__main__.main, earlier / "run"),
        (evaluation.__main__.main, earlier / "run"),
    ):
        outcome = run_command(command, *arguments)
        assert outcome.code == 2
        assert outcome.error.startswith(refused)
