"""One trial: a training run like any other, but never tested, and ended early where it is weak."""

import shutil
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.errors import UserError
from pipeline.files.csv_file import read_csv
from pipeline.files.json_file import read_json, write_json
from pipeline.files.whole import flush_files, write_text
from pipeline.run_directory import RunDirectory
from pipeline.training.checkpoint import saved_states, step_of
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.resolve import Ground, Resolved, images_in_place, resolve
from pipeline.training.run import TrainingRun
from pipeline.training.train import open_run
from pipeline.training.variables import NonFinite
from tuning.plan import SearchPlan
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import Value, Values, settle
from tuning.trials.confirmation import best_config
from tuning.trials.median_stopping import StopWeak
from tuning.trials.results import (
    COMPLETED,
    CONFIRMATION,
    FAILED,
    SEARCH,
    STOPPED,
    TrialResult,
    load_result,
    load_results,
)

MAX_ATTEMPTS = 3
"""Times that a trial may end its process at one and the same step."""

CONFIRMATION_SEED = "tuner/confirmation_seed"
"""Under this name a trial of the confirmation has its seed among KerasTuner's values."""

PARENT, FIRST_EPOCH, LAST_EPOCH = "tuner/trial_id", "tuner/initial_epoch", "tuner/epochs"
"""Under these names Hyperband has the trial to go on with, and from and to which epoch. What is frozen
has the last."""

Report = Callable[[str, Sequence[float]], None]
"""Takes a trial's name and its accuracies on validation, epoch by epoch."""

OpenRun = Callable[[Resolved, RunDirectory], TrainingRun]
"""Sets up a training run at its newest checkpoint; see `open_run`."""


@dataclass(frozen=True)
class Trial:
    """What one trial trains.

    Attributes:
        name: four digits.
        values: its hyperparameters.
        purpose: `search` or `confirmation`.
        seed: of the training.
        config: the settings, on the splits of the search whatever the seed.
        parent: the trial that it goes on with; None for none.
        first_epoch: epochs that the parent trained.
        last_epoch: where it ends.
        stop_weak: whether it ends early where it is weak.
    """

    name: str
    values: Values
    purpose: str
    seed: int
    config: Config
    parent: str | None
    first_epoch: int
    last_epoch: int
    stop_weak: bool

    @property
    def epochs(self) -> int:
        """What it trains itself, where it trains to its end."""
        return self.last_epoch - self.first_epoch


def read_trial(name: str, values: Mapping[str, Any], plan: SearchPlan) -> Trial:
    """Read a trial from its hyperparameters and the entries that a tuner adds to them."""
    own = settle(plan.space, values)
    purpose = CONFIRMATION if CONFIRMATION_SEED in values else SEARCH
    seed = values.get(CONFIRMATION_SEED, plan.config.run.seed)
    return Trial(
        name,
        own,
        purpose,
        seed,
        config=best_config(plan, own).with_values({"seed": seed}),
        parent=values.get(PARENT),
        first_epoch=values.get(FIRST_EPOCH, 0),
        last_epoch=values.get(LAST_EPOCH, plan.config.total_epochs),
        stop_weak=plan.stop_weak and purpose == SEARCH and plan.tuner != "hyperband" and not plan.freezes,
    )


def train_trial(
    name: str,
    values: Mapping[str, Value],
    plan: SearchPlan,
    directory: SearchDirectory,
    ground: Ground,
    report: Report,
    open_run: OpenRun = open_run,
) -> TrialResult:
    """Train a trial from the newest checkpoint on, or return what was found out already.

    Args:
        name: four digits.
        values: its hyperparameters, and the entries that a tuner adds to them.
        plan: of the search.
        directory: of the search.
        ground: the data and devices of all trials.
        report: called after each epoch.
        open_run: sets up its training.

    Raises:
        Interrupted: a signal asked to stop; the state is saved.
        UserError: the run cannot be written, or its images are gone.
    """
    path, run_directory = directory.result(name), directory.run(name)
    trial = read_trial(name, values, plan)
    if not path.exists() or _is_thawed(trial, load_result(path), plan):
        parent = load_result(directory.result(trial.parent)) if trial.parent else None
        if trial.parent and not run_directory.path.exists():
            _copy_run(directory.run(trial.parent).path, run_directory.path)

        def train() -> TrialResult:
            if parent and parent.status == FAILED:
                # Hyperband goes on with one where fewer did not fail than go on.
                return _failed(trial, run_directory, parent.reason)
            run = open_run(resolve(trial.config, ground), run_directory)
            run.fit(_watchers(trial, run, directory.trials, report), trial.last_epoch)
            return _measured(trial, run)

        with run_directory.open():
            result = _attempt(trial, run_directory, train)
        result.save(path)
    result = load_result(path)
    if plan.freezes and result.status == STOPPED:
        # To be thawed from the newest; many of them fill the disk.
        for state in saved_states(run_directory)[:-1]:
            state.unlink()
    elif plan.tuner != "hyperband":
        # Trained again anyway where it wins.
        shutil.rmtree(run_directory.checkpoints, ignore_errors=True)
    return result


def _is_thawed(trial: Trial, result: TrialResult, plan: SearchPlan) -> bool:
    """Whether a trial that was frozen is to go on."""
    return plan.freezes and result.status == STOPPED and result.epochs < trial.last_epoch


def _copy_run(parent: Path, child: Path) -> None:
    """Begin where the parent stopped: with a copy of its run, but not of its result.

    It is on the disk before it has its name, so that a power cut leaves no part of it.
    """
    aside = child.with_name(f".aside-{child.name}")
    shutil.rmtree(aside, ignore_errors=True)
    shutil.copytree(parent, aside, ignore=shutil.ignore_patterns("result.json", ".lock", "attempts*"))
    flush_files(aside)
    aside.rename(child)


def _attempt(trial: Trial, directory: RunDirectory, train: Callable[[], TrialResult]) -> TrialResult:
    """Train; what may go wrong with one configuration alone is a result as well."""
    attempts, step = directory.path / "attempts.json", newest_step(directory)
    # Before the network is built, for that may be what ends the process.
    if not _may_try(attempts, step):
        reason = f"its process ended {MAX_ATTEMPTS} times at step {step:,} (out of memory?)"
        return _failed(trial, directory, reason)
    try:
        with images_in_place():
            return train()
    except (Interrupted, KeyboardInterrupt, UserError):
        # None of them says anything about the configuration.
        attempts.unlink()
        raise
    except NonFinite as error:
        return _failed(trial, directory, str(error))
    except (tf.errors.ResourceExhaustedError, MemoryError):
        batch_size, width = trial.config.fit.batch_size, trial.config.model.width
        return _failed(trial, directory, f"out of memory with batch_size {batch_size}, width {width}")
    except tf.errors.OpError as error:
        path = directory.path / "error.txt"
        write_text(path, traceback.format_exc())
        return _failed(trial, directory, f"{type(error).__name__}, see {path}")


def newest_step(directory: RunDirectory) -> int:
    """Return the step of the newest checkpoint; 0 where there is none."""
    return max(map(step_of, saved_states(directory)), default=0)


def _may_try(path: Path, step: int) -> bool:
    """Count the attempts at one step: what kills its process each time must not do so for ever."""
    known = {"step": step, "attempts": 0}
    if path.exists():
        known = read_json(path, {"step": int, "attempts": int}, of="a trial")
    attempts = known["attempts"] + 1 if known["step"] == step else 1
    write_json(path, {"step": step, "attempts": attempts})
    return attempts <= MAX_ATTEMPTS


def _watchers(trial: Trial, run: TrainingRun, trials: Path, report: Report) -> list[keras.callbacks.Callback]:
    watchers: list[keras.callbacks.Callback] = [
        ReportEpochs(run, lambda accuracies: report(trial.name, accuracies))
    ]
    if trial.stop_weak:

        def peers() -> list[tuple[float, ...]]:
            return [r.accuracies for r in load_results(trials) if r.purpose == SEARCH]

        watchers.append(StopWeak(run.progression, peers, trial.config.total_epochs))
    return watchers


class ReportEpochs(keras.callbacks.Callback):
    """Call `report` with the accuracies so far after each epoch."""

    def __init__(self, run: TrainingRun, report: Callable[[Sequence[float]], None]) -> None:
        super().__init__()
        self.run, self.report = run, report

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Report."""
        self.report(accuracies_of(self.run))


def accuracies_of(run: TrainingRun) -> list[float]:
    """Return the accuracy on validation after each epoch."""
    return [row["val_accuracy"] for row in run.progression.history]


def _measured(trial: Trial, run: TrainingRun) -> TrialResult:
    history, best, figures = run.progression.history, run.progression.best_epoch, run.progression.best
    assert figures is not None
    patience = trial.config.fit.early_stopping
    whole = len(history) == trial.config.total_epochs
    patient = patience > 0 and len(history) - best >= patience
    return TrialResult(
        trial.name,
        trial.purpose,
        COMPLETED if whole or patient else STOPPED,
        trial.values,
        trial.seed,
        accuracy=figures["val_accuracy"],
        cross_entropy=figures["val_cross_entropy"],
        images=len(run.resolved.ground.data.splits.validation),
        best_epoch=best,
        epochs=max(len(history) - trial.first_epoch, 0),
        seconds=sum(row["seconds"] for row in history[trial.first_epoch :]),
        accuracies=tuple(accuracies_of(run)),
    )


def _failed(trial: Trial, directory: RunDirectory, reason: str) -> TrialResult:
    # What it trained before it failed was taken from the budget all the same.
    rows = read_csv(directory.history)[trial.first_epoch :] if directory.history.exists() else []
    return TrialResult(
        trial.name,
        trial.purpose,
        FAILED,
        trial.values,
        trial.seed,
        epochs=len(rows),
        seconds=sum(float(row["seconds"]) for row in rows),
        reason=reason,
    )
