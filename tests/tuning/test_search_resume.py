"""Searches that are killed and stopped find what the search that nobody touched finds."""

import json
import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest
from keras_tuner.engine.trial import Trial as OracleTrial
from keras_tuner.engine.trial import TrialStatus

from tests.commands import Outcome, run_command
from tests.tuning.search_samples import (
    SETTINGS,
    after_each_file,
    comparable,
    end_of,
    signal_at,
    start,
    without_report,
)
from tuning import __main__ as command
from tuning.oracles.oracles import ORACLES
from tuning.oracles.search_oracle import SearchOracle
from tuning.plan import SearchPlan
from tuning.request import parse_tuning_request
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import apply, settle
from tuning.trials.results import COMPLETED, STOPPED, TrialResult, load_results
from tuning.trials.trial import CONFIRMATION_SEED, LAST_EPOCH

TRIALS = ("--tuner", "bayesian", "--max-trials", "4")
"""The start, two spread points, and one by the Gaussian process."""


def what_ended(directory: SearchDirectory) -> dict[str, tuple[int, int]]:
    """Each trial that has ended -> inode and time of its result's file."""
    paths = directory.trials.glob("*/result.json")
    return {p.parent.name: (p.stat().st_ino, p.stat().st_mtime_ns) for p in paths}


def interrupt_at(ending: str) -> Callable[[Path], None]:
    def interrupt(path: Path) -> None:
        if str(path).endswith(ending):
            os.kill(os.getpid(), signal.SIGINT)

    return interrupt


def verdict_of(out: str) -> str:
    return out[out.index("trained again") :]


def search(directory: SearchDirectory, *arguments: str) -> Outcome:
    return run_command(command.main, *SETTINGS, *(arguments or TRIALS), "--out", directory.path)


@pytest.fixture(scope="module")
def searches(tmp_path_factory) -> tuple[SearchDirectory, SearchDirectory, str]:
    """A search that was killed and interrupted; one that nobody touched; its output."""
    touched, untouched = (SearchDirectory(tmp_path_factory.mktemp(name) / "search") for name in "ab")
    # In the middle of the second epoch, after a state of it was saved.
    death = signal_at(signal.SIGKILL, "trials/0001/checkpoints/step_000000013.npz")
    code, out, error = end_of(start(touched.path, *TRIALS, **death))
    assert code == -signal.SIGKILL, out + error
    first = what_ended(touched)
    assert len(first) == 1
    handler = signal.getsignal(signal.SIGTERM)
    with pytest.MonkeyPatch.context() as monkeypatch:
        without_report(monkeypatch)
        with monkeypatch.context() as interrupting:
            # Outside of training: before KerasTuner knows of the result.
            interrupting.setattr(Path, "replace", after_each_file(interrupt_at("trials/0002/result.json")))
            outcome = search(touched)
        assert (outcome.code, outcome.error) == (130, "interrupted; the same command goes on\n"), outcome
        ended = what_ended(touched)
        assert len(ended) == 3
        # What ended before is not trained again.
        assert first.items() <= ended.items()
        outcome, whole = search(touched), search(untouched)
    signal.signal(signal.SIGTERM, handler)
    assert outcome.code == whole.code == 0, (outcome, whole)
    assert "3 trials that ended before" in outcome.printed
    assert ended.items() <= what_ended(touched).items()
    return touched, untouched, whole.printed


def test_killed_and_stopped_searches_find_the_same(searches) -> None:
    touched, untouched, _ = searches
    results = comparable(load_results(untouched.trials))
    assert len(results) >= 4 + 1
    assert comparable(load_results(touched.trials)) == results
    assert touched.best_config.read_bytes() == untouched.best_config.read_bytes()


def test_a_cut_off_trial_resumes_from_its_checkpoint(searches) -> None:
    touched, untouched, _ = searches
    attempts = {
        name: [json.loads((d.run(name).path / "attempts.json").read_text()) for d in (touched, untouched)]
        for name in ("0001", "0002", "0003")
    }
    once = {"step": 0, "attempts": 1}
    assert attempts == {
        "0001": [{"step": 13, "attempts": 1}, once],
        "0002": [once, once],
        "0003": [once, once],
    }


def test_a_finished_search_says_the_same_again_and_goes_on_with_more(searches, monkeypatch) -> None:
    without_report(monkeypatch)
    _, untouched, out = searches
    before = what_ended(untouched)
    assert verdict_of(search(untouched).printed) == verdict_of(out)
    assert what_ended(untouched) == before

    assert search(untouched, "--max-trials", "5").code == 0
    assert before.items() <= what_ended(untouched).items()
    searched = [result for result in load_results(untouched.trials) if result.purpose == "search"]
    assert len(searched) == 5
    values = [tuple(result.values.items()) for result in searched]
    assert len(set(values)) == 5


class _Killed(BaseException):
    """Ends a process as a kill does: nothing is tidied up."""


class Search:
    """A search without training: what a trial finds out is a function of its values.

    Args:
        tuner: name of the tuner.
        path: directory of the search.
    """

    def __init__(self, tuner: str, path: Path) -> None:
        space = "peak_learning_rate=0.01|0.1|1,weight_decay=0|1e-3" if tuner == "grid" else ""
        trials = "3" if tuner == "freeze_thaw" else "4"
        self.plan: SearchPlan = parse_tuning_request(
            [*SETTINGS, "--tuner", tuner, "--max-trials", trials, *(["--space", space] * bool(space))]
        ).plan
        self.directory = SearchDirectory(path)
        self.found: dict[str, TrialResult] = {}
        """Outlives a kill, as the files of the trials do."""
        self.trained: list[str] = []

    def oracle(self) -> SearchOracle:
        """Set up the oracle of a new process, as `SearchTuner` does."""
        oracle = ORACLES[self.plan.tuner](
            self.plan, lambda values: True, lambda: list(self.found.values()), lambda trial: None
        )
        oracle._set_project_dir(str(self.directory.path), self.directory.state.name)
        if (self.directory.state / "oracle.json").exists():
            oracle.reload()
        return oracle

    def run(self) -> SearchOracle:
        """Search to the end."""
        oracle = self.oracle()
        while (trial := oracle.create_trial("tuner0")).status != TrialStatus.STOPPED:
            if trial.status == TrialStatus.IDLE:
                continue
            found = self.found.get(trial.trial_id)
            if found is None or self.epochs_of(trial) > found.epochs:
                self.trained.append(f"{trial.trial_id} to epoch {self.epochs_of(trial)}")
                self.found[trial.trial_id] = self.train(trial)
            oracle.update_trial(trial.trial_id, {"score": self.found[trial.trial_id].score})
            trial.status = TrialStatus.COMPLETED
            oracle.end_trial(trial)
        return oracle

    def epochs_of(self, trial: OracleTrial) -> int:
        return trial.hyperparameters.values.get(LAST_EPOCH, self.plan.config.total_epochs)

    def train(self, trial: OracleTrial) -> TrialResult:
        """Make up a curve that rises to the more the nearer the learning rate is to 0.3."""
        values = settle(self.plan.space, trial.hyperparameters.values)
        rate = apply(values, self.plan.config).fit.peak_learning_rate
        seed = trial.hyperparameters.values.get(CONFIRMATION_SEED)
        purpose = "search" if seed is None else "confirmation"
        epochs, whole = self.epochs_of(trial), self.plan.config.total_epochs
        curve = tuple((1 - abs(rate - 0.3)) * epoch / whole for epoch in range(1, epochs + 1))
        return TrialResult(
            trial.trial_id,
            purpose,
            COMPLETED if epochs == whole else STOPPED,
            values,
            seed or 0,
            curve[-1],
            0.5,
            100,
            best_epoch=epochs,
            epochs=epochs,
            accuracies=curve,
        )


@pytest.mark.parametrize("tuner", ORACLES)
def test_a_kill_between_any_two_files_loses_and_doubles_nothing(tuner, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("os.fsync", lambda file: None)
    files: list[Path] = []
    kill_after = 0

    def note(path: Path) -> None:
        files.append(path)
        if len(files) == kill_after:
            raise _Killed

    monkeypatch.setattr(Path, "replace", after_each_file(note))
    untouched = Search(tuner, tmp_path / "untouched")
    order = untouched.run().end_order
    assert len(untouched.found) >= 5
    if tuner == "freeze_thaw":
        names = [entry.partition(" ")[0] for entry in untouched.trained]
        assert len(names) > len(set(names)), "a trial must be thawed"

    for kill_after in range(1, len(files) + 1):
        files.clear()
        search = Search(tuner, tmp_path / str(kill_after))
        with pytest.raises(_Killed):
            search.run()
        where = f"killed after {files[-1].relative_to(tmp_path)}, file {kill_after}"
        assert search.run().end_order == order, where
        assert search.found == untouched.found, where
        assert sorted(search.trained) == sorted(untouched.trained), where
