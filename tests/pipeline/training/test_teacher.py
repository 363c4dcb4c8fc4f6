"""Runs that learn from a teacher: resumed, without a share, and what is refused as a teacher."""

import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image

import train
from pipeline.config.config import Config
from pipeline.config.presets import preset
from pipeline.console.training_request import parse_training_request
from pipeline.data.prepare import prepare_data
from pipeline.data.splits import describe_splits
from pipeline.errors import UserError
from pipeline.training.messages import print_plan
from pipeline.training.run import TrainingRun, finish
from pipeline.training.teacher import read_teacher
from tests.commands import refusal, run_command
from tests.pipeline.training.samples import StopAt, run_of

SETTINGS = (
    "digits --model mlp --width 4 --epochs 1 --batch-size 128 --devices cpu --dropout 0.1 --mixup 0.2 "
    "--ema-decay 0.9 --class-weights balanced --label-smoothing 0.1 --checkpoint-steps 1"
).split()
STEPS = 9

command = partial(run_command, train.main)


def taught_run(run_dir: Path, teacher: Path | str, *arguments: str) -> TrainingRun:
    return run_of(run_dir, *SETTINGS, "--teacher", str(teacher), *arguments)


def bits(run: TrainingRun) -> list[bytes]:
    variables = run.model.variables + run.model.optimizer.variables + run.average.variables
    return [variable.numpy().tobytes() for variable in variables]


@pytest.fixture(scope="module")
def whole(digits_run, tmp_path_factory) -> TrainingRun:
    """A run with a teacher that nobody stops."""
    run = taught_run(tmp_path_factory.mktemp("whole"), digits_run)
    run.fit([])
    return run


def test_a_run_with_a_teacher_resumes_bit_for_bit_and_wants_the_same_one(
    digits_run, own_run, whole, tmp_path
):
    assert whole.resolved.total_steps == STEPS
    stopped = taught_run(tmp_path / "stopped", own_run)
    with pytest.raises(KeyboardInterrupt):
        stopped.fit([StopAt(stopped, 4)])
    network = keras.saving.load_model(own_run / "model.keras", compile=False)
    network.get_layer("head").bias.assign_add([1e-3] * 10)
    network.save(own_run / "model.keras")
    outcome = command("--resume", "--run-dir", tmp_path / "stopped")
    assert outcome.code == 2
    assert outcome.error == (
        f"error: --resume needs the teacher that the run began with; {own_run} no longer has the "
        f"fingerprint in {tmp_path / 'stopped' / 'teacher.json'}\n"
    )
    shutil.copy(digits_run / "model.keras", own_run)
    resumed = taught_run(tmp_path / "stopped", own_run)
    assert resumed.progression.step == 4
    resumed.fit([])
    assert bits(resumed) == bits(whole)


def test_a_share_of_nothing_trains_to_the_bits_of_no_teacher(digits_run, whole, tmp_path):
    alone, silent = (
        run_of(tmp_path / "alone", *SETTINGS),
        taught_run(tmp_path / "silent", digits_run, "--teacher-share", "0"),
    )
    for run in (alone, silent):
        run.fit([])
    assert bits(silent) == bits(alone) != bits(whole)
    assert [v.path for v in silent.model.variables] == [v.path for v in alone.model.variables]


def test_the_plan_and_the_metrics_tell_of_the_teacher(digits_run, whole, capsys):
    print_plan(whole.resolved, whole.model, whole.parameters, whole.fresh)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("   teacher  ")]
    theirs = json.loads((digits_run / "metrics.json").read_text())
    accuracy, asked = theirs["validation"]["accuracy"], theirs["multiply_adds"]
    assert (
        f"  {digits_run}, resnet8, width 12, cifar stem, validation accuracy {accuracy:.2%}; 0.9 of" in line
    )
    metrics = finish(whole)
    share = asked / (asked + 3 * metrics["multiply_adds"])
    assert f"; {share:.0%} of a step's multiply-adds, in " in line
    assert "not at hand" not in line
    recorded = json.loads((whole.directory.path / "teacher.json").read_text())
    assert metrics["teacher"] == recorded
    assert recorded["name"] == str(digits_run)
    assert recorded["validation_accuracy"] == accuracy


def test_a_network_that_only_answers_agrees_with_the_deployed_one(digits_run, whole):
    teacher = whole.resolved.ground.teacher
    images = whole.resolved.ground.data.source.images.images[:64].astype(np.float32)
    deployed = keras.saving.load_model(digits_run / "model.keras", compile=False)
    expected = deployed(images, training=False).numpy()
    for precision, tolerance in (("float32", 1e-4), ("mixed_bfloat16", 0.05)):
        network = teacher.build(whole.resolved.config.with_values({"teacher_precision": precision}))
        assert not network.trainable_variables
        received = network(images, training=True).numpy()
        # bfloat16 holds 8 bits: twenty layers round by some 2^-9 each.
        np.testing.assert_allclose(received, expected, atol=tolerance * np.abs(expected).max())


@pytest.mark.parametrize("settings", [{"batch_size": 50}, {"clip_norm": 1.0}])
def test_a_teacher_answers_wherever_its_student_trains(whole, settings):
    """What its own run held for is not asked again of the devices of another."""
    teacher = whole.resolved.ground.teacher
    teacher = dataclasses.replace(teacher, config=teacher.config.with_values(settings))
    assert teacher.build(whole.resolved.config.with_values({"devices": "cpu:4"})).layers


DIGITS = [str(digit) for digit in range(10)]


def write_images(folder: Path, seed: int, classes: list[str] = DIGITS, images: int = 12) -> Path:
    """Write folders of noise, 8 x 8 pixels."""
    generator = np.random.default_rng(seed)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for index in range(images):
            pixels = generator.integers(0, 256, (8, 8, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / name / f"{index}.png")
    return folder


@pytest.fixture
def refuse(tmp_path, contents) -> Callable[..., str]:
    """Ask for a run that must be refused, and leave nothing; return the line."""

    def ask(*arguments: str | Path) -> str:
        return refusal(command, tmp_path, contents, *SETTINGS, "--run-dir", str(tmp_path / "run"), *arguments)

    return ask


def test_what_is_no_finished_run_is_refused(refuse, tmp_path):
    rule = "--teacher must be the directory of a finished run or a ready model; received"
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "file").write_text("x")
    (tmp_path / "empty").mkdir()
    for name in ("nowhere", str(tmp_path / "fifo"), str(tmp_path / "file")):
        assert refuse("--teacher", name).startswith(f"{rule} {name!r}; ready: ")
    assert "did you mean 'digits_resnet8'?" in refuse("--teacher", "digits_resnet")
    assert refuse("--teacher", str(tmp_path / "empty")).startswith("a run directory must hold a finished run")


def test_other_classes_and_sizes_are_refused_and_the_difference_named(refuse, digits_run, tmp_path):
    teacher = ["--teacher", str(digits_run), "--batch-size", "8", "--image-size"]
    three = write_images(tmp_path / "three", 0, ["a", "b", "c"])
    ten = write_images(tmp_path / "ten", 0, [*DIGITS[:8], "90", "9a"])
    assert refuse(*teacher, "8", "--data", f"folder:{three}").endswith(
        f" answer for the student's classes; {digits_run} has 10, here are 3"
    )
    assert refuse(*teacher, "8", "--data", f"folder:{ten}").endswith(
        f" in their order; of {digits_run} class 8 is '8', here '90'; class 9 is '9', here '9a'"
    )
    assert f"; {digits_run} takes 8 pixels, here they are 16 (--image-size 8)" in refuse(*teacher, "16")


def test_a_teacher_that_learned_from_validation_is_refused(refuse, digits_run):
    rule = f"--teacher must not have learned from what the student is measured on; {digits_run} has from "
    refused = refuse("--teacher", str(digits_run), "--split-seed", "1")
    assert refused.startswith(rule)
    # It was trained on 1,274 of all 1,797 images, and so on about 71 % of the 153.
    assert 90 < int(refused.removeprefix(rule).split()[0]) < 126
    end = "of the 153 images of validation (its splits: --split-seed 0 --validation-share 0.1)"
    assert refused.endswith(end)


def test_the_same_images_are_split_as_for_the_teacher(digits_run):
    def split_seed(*arguments: str) -> int:
        asked = [*SETTINGS, "--teacher", str(digits_run), *arguments]
        return parse_training_request(asked).chosen.build_config().split_seed

    # The teacher's splits are drawn from its own seed, 0.
    assert split_seed("--seed", "5") == 0
    assert split_seed("--seed", "5", "--data", "cifar10") == 5
    assert split_seed("--seed", "5", "--split-seed", "6") == 6
    assert split_seed("--seed", "5", "--teacher", "none") == 5


def folder_config(folder: Path) -> Config:
    return preset("folder_scratch").with_values(
        {"data": f"folder:{folder}", "image_size": 8, "batch_size": 8, "model": "resnet8", "width": 12}
    )


def test_images_of_two_folders_are_compared(own_run, tmp_path):
    # As if the teacher had been trained on one folder, and its student on another.
    theirs, ours = write_images(tmp_path / "theirs", 1), tmp_path / "ours"
    config = folder_config(theirs)
    data = prepare_data(config)
    (own_run / "config.json").write_text(config.to_json())
    (own_run / "splits.json").write_text(json.dumps(describe_splits(data.source, data.splits)))
    for number, split in enumerate(("train", "validation", "test"), 2):
        write_images(ours / split, number, images=3)
    student = folder_config(ours).with_values({"teacher": str(own_run)})

    assert read_teacher(student, prepare_data(student)).compared
    # Chosen by it: its weights were not fitted to it, but its epoch was.
    of_validation = Path(data.source.paths[data.splits.validation[0]])
    place = ours / "test" / of_validation.parent.name / "copy.png"
    shutil.copy(of_validation, place)
    with pytest.raises(UserError, match=r"has from 1 of the 31 images of test \(its splits"):
        read_teacher(student, prepare_data(student))
    # What the student is trained on as well, it may be tested on: some data sets hold images twice.
    twice = prepare_data(student)
    twice.source.digests[twice.splits.train[0]] = data.source.digests[data.splits.validation[0]]
    assert read_teacher(student, twice).compared
    # It may have been chosen by what its student is chosen by.
    place.rename(ours / "validation" / of_validation.parent.name / "copy.png")
    assert read_teacher(student, prepare_data(student)).compared
    # What has gone cannot be compared, and the plan says so.
    moved = folder_config(shutil.copytree(theirs, tmp_path / "moved")).with_values({"teacher": str(own_run)})
    of_validation.unlink()
    assert not read_teacher(student, prepare_data(student)).compared
    # But the same splits are, wherever they lie.
    assert read_teacher(moved, prepare_data(moved)).compared
