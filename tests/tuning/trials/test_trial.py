"""What one trial does: fails alone, stops where it is weak, keeps the test split out of it."""

import errno
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import tensorflow as tf
from keras_tuner.engine.trial import Trial as OracleTrial

from pipeline.config.config import Config, load_values
from pipeline.data.prepare import PreparedData, prepare_data
from pipeline.data.splits import describe_splits
from pipeline.errors import UserError
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.resolve import Ground, prepare_ground
from pipeline.training.run import TrainingRun
from pipeline.training.train import open_run
from pipeline.training.variables import NonFinite
from tests.tuning.search_samples import EPOCHS, SETTINGS, STEPS_PER_EPOCH, timeless_history, without_report
from tuning import __main__ as command
from tuning.cost import Costs
from tuning.plan import SearchPlan
from tuning.request import parse_tuning_request
from tuning.search import build_tuner
from tuning.search_directory import SearchDirectory
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult, load_results
from tuning.trials.trial import CONFIRMATION_SEED, FIRST_EPOCH, LAST_EPOCH, PARENT, OpenRun, train_trial

VALUES = {"peak_learning_rate": 0.05, "weight_decay": 1e-4}


def plan_of(*arguments: str) -> SearchPlan:
    return parse_tuning_request([*SETTINGS, "--max-trials", "4", *arguments]).plan


@pytest.fixture(scope="module")
def ground() -> Ground:
    return prepare_ground(plan_of().config)


@pytest.fixture(autouse=True)
def _no_report_and_no_test_split(monkeypatch):
    """Whatever reads an image of the test split fails."""
    without_report(monkeypatch)
    examples = PreparedData.examples

    def guarded(self: PreparedData, split: str) -> Any:
        if split == "test":
            raise AssertionError("a search must not read the test split")
        return examples(self, split)

    monkeypatch.setattr(PreparedData, "examples", guarded)


@pytest.fixture
def directory(tmp_path) -> SearchDirectory:
    directory = SearchDirectory(tmp_path / "search")
    directory.trials.mkdir(parents=True)
    return directory


@pytest.fixture
def train(directory, ground) -> Callable[..., TrialResult]:
    """Train a trial of the directory's search."""

    def train_one(name: str, *arguments: str, open_run: OpenRun = open_run, **values: Any) -> TrialResult:
        values = {**VALUES, **values}
        return train_trial(name, values, plan_of(*arguments), directory, ground, ignore, open_run)

    return train_one


def ignore(trial: str, accuracies: Sequence[float]) -> None:
    """Nobody watches."""


def raising(error: BaseException) -> Callable[..., Any]:
    def call(*arguments: Any) -> Any:
        raise error

    return call


def fit_raises(error: BaseException) -> OpenRun:
    """Set up a run whose training ends with an exception."""
    return lambda *where: Mock(fit=raising(error))


def leave_results(
    directory: SearchDirectory, accuracies: tuple[float, ...], count: int, first: int = 0
) -> None:
    for name in (f"{number:04d}" for number in range(first, first + count)):
        directory.run(name).path.mkdir()
        TrialResult(
            name,
            SEARCH,
            COMPLETED,
            VALUES,
            0,
            max(accuracies),
            0.1,
            153,
            best_epoch=accuracies.index(max(accuracies)) + 1,
            epochs=len(accuracies),
            accuracies=accuracies,
        ).save(directory.result(name))


def test_a_loss_that_is_not_finite_fails_the_trial_alone(train, directory) -> None:
    # Of so long a step the products of weights are past the greatest float32, 3.4e38.
    result = train("0000", peak_learning_rate=1e30)
    assert result.status == FAILED
    assert "became" in result.reason or "finite" in result.reason
    assert result.score is None
    assert load_results(directory.trials) == [result]


@pytest.mark.parametrize(
    "error", [tf.errors.ResourceExhaustedError(None, None, "OOM when allocating"), MemoryError()]
)
def test_too_little_memory_fails_the_trial_alone(train, error) -> None:
    result = train("0000", open_run=fit_raises(error))
    assert (result.status, result.reason) == (FAILED, "out of memory with batch_size 128, width 2")


@pytest.mark.parametrize(
    "error",
    [
        tf.errors.ResourceExhaustedError(None, None, "{{f op}} a/events.v2; No space left on device\nmore"),
        tf.errors.ResourceExhaustedError(None, None, "a/events.v2; Disk quota exceeded"),
        OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "a/events.v2"),
    ],
)
def test_a_full_disk_ends_the_search_and_fails_no_trial(train, directory, error) -> None:
    with pytest.raises(
        UserError, match=r"^the disk must have room for what is written; .*a/events"
    ) as raised:
        train("0000", open_run=fit_raises(error))
    assert "\n" not in str(raised.value)
    assert "{" not in str(raised.value)
    assert load_results(directory.trials) == []
    # However often: it says nothing about the trial.
    assert not (directory.run("0000").path / "attempts.json").exists()


def test_a_trial_that_fails_late_has_spent_the_epochs_before(train) -> None:
    def fails_in_the_second(*where: Any) -> Any:
        run = open_run(*where)

        def fit(watchers: Any, last_epoch: int) -> None:
            TrainingRun.fit(run, watchers, 1)
            raise NonFinite("the loss became nan")

        return Mock(fit=fit, progression=run.progression)

    result = train("0000", open_run=fails_in_the_second)
    assert (result.status, result.epochs) == (FAILED, 1)
    assert result.seconds > 0


def test_memory_that_does_not_suffice_to_build_fails_the_trial(train) -> None:
    result = train("0000", open_run=raising(MemoryError()))
    assert (result.status, result.reason) == (FAILED, "out of memory with batch_size 128, width 2")


def test_an_error_of_tensorflow_fails_the_trial_alone(train, directory) -> None:
    result = train("0000", open_run=fit_raises(tf.errors.InternalError(None, None, "cuDNN said no")))
    path = directory.run("0000").path / "error.txt"
    assert (result.status, result.reason) == (FAILED, f"InternalError, see {path}")
    assert "Traceback" in path.read_text()
    assert "cuDNN said no" in path.read_text()


def test_images_that_vanish_end_the_search(train, directory) -> None:
    gone = tf.errors.NotFoundError(None, None, "a.png; No such file")
    with pytest.raises(UserError, match=r"images must stay where they are .*a\.png"):
        train("0000", open_run=fit_raises(gone))
    assert load_results(directory.trials) == []


def test_what_the_user_can_put_right_is_one_line(tmp_path, capsys, monkeypatch) -> None:
    error = UserError("history.csv must be writable; No space left on device")
    monkeypatch.setattr(TrainingRun, "fit", raising(error))
    arguments = [*SETTINGS, "--max-trials", "2", "--out", str(tmp_path / "search")]
    assert command.main(arguments) == 2
    error = capsys.readouterr().err
    assert error == "error: history.csv must be writable; No space left on device\n"
    assert not any((tmp_path / "search" / "trials").glob("*/result.json"))


def test_a_failed_trial_has_its_reason_in_the_table_and_no_traceback(tmp_path, capsys, monkeypatch) -> None:
    monkeypatch.setattr(TrainingRun, "fit", raising(NonFinite("the loss became nan at step 3")))
    arguments = [*SETTINGS, "--max-trials", "1", "--tuner", "random", "--out", str(tmp_path / "search")]
    assert command.main(arguments) == 1
    out, error = capsys.readouterr()
    assert error == ""
    assert " 0000  failed              the loss became nan at step 3\n" in out
    assert "Traceback" not in out


@pytest.mark.parametrize("text", ["[" * 100_000, "[]", '{"step": "0", "attempts": 1}', '{"step": 0}'])
def test_damaged_attempts_are_a_user_error(train, directory, text) -> None:
    directory.run("0000").path.mkdir()
    (directory.run("0000").path / "attempts.json").write_text(text)
    with pytest.raises(UserError, match=r"a trial must have a whole attempts\.json"):
        train("0000")


def test_any_other_exception_ends_the_search(directory, ground, monkeypatch) -> None:
    error = ZeroDivisionError("a fault of this program")
    monkeypatch.setattr(TrainingRun, "fit", raising(error))
    tuner = build_tuner(plan_of("--tuner", "random"), directory, ground, Costs(directory.costs, ground))
    with pytest.raises(ZeroDivisionError) as caught:
        tuner.search()
    assert caught.value is error
    assert load_results(directory.trials) == []
    # It is given out again once the fault is gone.
    assert [type(trial) for trial in tuner.oracle.ongoing_trials.values()] == [OracleTrial]


def test_a_trial_that_has_ended_is_not_trained_again(train, directory) -> None:
    # As where a kill comes before the oracle knows of the result.
    leave_results(directory, (0.2, 0.5, 0.4), count=1)
    never = raising(AssertionError("nothing is left to train"))
    assert [train("0000", open_run=never)] == load_results(directory.trials)


def test_a_weak_trial_stops_early_and_says_so(train, directory) -> None:
    # Nothing is better than the others' 100 %; two epochs are the grace.
    leave_results(directory, (1.0, 1.0, 1.0), count=3)
    result = train("0003")
    assert (result.status, result.epochs, len(result.accuracies)) == (STOPPED, 2, 2)
    assert result.accuracy == max(result.accuracies)


def test_a_confirmation_trains_whole_with_its_own_seed_on_the_same_splits(train, directory) -> None:
    searched = train("0000")
    assert (searched.status, searched.epochs, searched.seed) == (COMPLETED, EPOCHS, 0)
    leave_results(directory, (1.0, 1.0, 1.0), first=1, count=3)
    again = train("0004", **{CONFIRMATION_SEED: 1})
    assert (again.purpose, again.status, again.epochs) == (CONFIRMATION, COMPLETED, EPOCHS)
    assert again.seed == 1
    assert again.values == searched.values
    assert again.accuracies != searched.accuracies
    splits = [json.loads(directory.run(name).splits.read_text()) for name in ("0000", "0004")]
    assert splits[0] == splits[1]
    # And what it recorded leads to them again.
    config = Config().with_values(load_values(directory.run("0004").config))
    assert config.run.seed == 1
    data = prepare_data(config)
    assert describe_splits(data.source, data.splits) == splits[0]


def arrays_of(path: Path) -> dict[str, bytes]:
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files if name != "progression"}


def test_what_hyperband_goes_on_with_ends_as_if_it_had_never_stopped(train, directory) -> None:
    hyperband = ("--tuner", "hyperband")
    whole = train("0000", *hyperband)
    parent = train("0001", *hyperband, **{LAST_EPOCH: 1})
    assert (parent.status, parent.epochs) == (STOPPED, 1)
    kept = sorted(directory.run("0001").path.rglob("*"))
    child = train("0002", *hyperband, **{PARENT: "0001", FIRST_EPOCH: 1, LAST_EPOCH: EPOCHS})
    assert (child.status, child.epochs) == (COMPLETED, EPOCHS - 1)
    assert child.accuracies == whole.accuracies
    assert (child.accuracy, child.cross_entropy) == (whole.accuracy, whole.cross_entropy)
    assert timeless_history(directory.run("0002").history) == timeless_history(directory.run("0000").history)
    for name in (f"step_{EPOCHS * STEPS_PER_EPOCH:09d}.npz", "best.npz"):
        ours, theirs = (arrays_of(directory.run(t).checkpoints / name) for t in ("0002", "0000"))
        assert ours == theirs
    # It went on with a copy.
    attempts = directory.run("0002").path / "attempts.json"
    assert json.loads(attempts.read_text())["step"] == STEPS_PER_EPOCH
    assert sorted(directory.run("0001").path.rglob("*")) == kept
    assert load_results(directory.trials)[1] == parent


def test_what_goes_on_with_one_that_failed_fails_as_that_did(train, directory) -> None:
    train("0000", open_run=fit_raises(MemoryError()))
    never = raising(AssertionError("it would fail once more"))
    values = {PARENT: "0000", FIRST_EPOCH: 1, LAST_EPOCH: EPOCHS}
    child = train("0001", "--tuner", "hyperband", open_run=never, **values)
    assert (child.status, child.epochs) == (FAILED, 0)
    assert child.reason == load_results(directory.trials)[0].reason


def test_the_copy_that_a_trial_goes_on_with_is_on_the_disk_first(train, directory, monkeypatch) -> None:
    leave_results(directory, (0.5,), count=1)
    directory.run("0000").splits.write_text("{}")
    flushed = set()
    monkeypatch.setattr(os, "fsync", lambda descriptor: flushed.add(os.fstat(descriptor).st_ino))
    values = {PARENT: "0000", FIRST_EPOCH: 1, LAST_EPOCH: EPOCHS}
    with pytest.raises(Interrupted):
        train("0001", "--tuner", "hyperband", open_run=raising(Interrupted()), **values)
    assert directory.run("0001").splits.stat().st_ino in flushed


class _Killed(BaseException):
    """Ends a process as a kill does: nothing is tidied up."""


def test_what_ends_its_process_three_times_at_one_step_is_given_up(train) -> None:
    for _ in range(3):
        with pytest.raises(_Killed):
            train("0000", open_run=fit_raises(_Killed()))
    result = train("0000")
    assert result.status == FAILED
    assert result.reason == "its process ended 3 times at step 0 (out of memory?)"


def test_ctrl_c_while_the_network_is_built_is_no_attempt(train) -> None:
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            train("0000", open_run=raising(KeyboardInterrupt()))
    assert train("0000").status != FAILED


def test_stopping_a_trial_on_purpose_never_gives_it_up(train) -> None:
    for _ in range(4):
        with pytest.raises(Interrupted):
            train("0000", open_run=fit_raises(Interrupted()))
    assert train("0000").status == COMPLETED


def test_a_frozen_and_thawed_trial_is_the_one_that_was_never_frozen(directory, train):
    tuner = ("--tuner", "freeze_thaw")
    frozen = train("0000", *tuner, **{LAST_EPOCH: 1})
    assert (frozen.status, frozen.epochs) == (STOPPED, 1)
    first = timeless_history(directory.run("0000").history)
    # Asked for what it has found out already, as after a kill, it trains nothing.
    assert train("0000", *tuner, open_run=raising(AssertionError), **{LAST_EPOCH: 1}) == frozen
    assert len([*directory.run("0000").checkpoints.glob("step_*.npz")]) == 1
    thawed = train("0000", *tuner, **{LAST_EPOCH: EPOCHS})
    whole = train("0001", "--tuner", "random")
    assert (thawed.status, thawed.epochs) == (COMPLETED, EPOCHS)
    assert thawed.accuracies == whole.accuracies
    assert thawed.cross_entropy == whole.cross_entropy
    histories = [timeless_history(directory.run(name).history) for name in ("0000", "0001")]
    assert histories[0] == histories[1]
    assert histories[0][:1] == first
