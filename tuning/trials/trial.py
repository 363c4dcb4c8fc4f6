"""One trial: a training run like any other, but never tested, and ended early where it is weak."""

import json
import shutil
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.files import write_whole
from pipeline.run_directory import RunDirectory
from pipeline.training.checkpoint import Interrupted, NonFinite
from pipeline.training.resolve import Ground, images_in_place, resolve
from pipeline.training.run import TrainingRun
from pipeline.training.train import open_run
from tuning.plan import SearchPlan
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import Value, settle
from tuning.trials.confirmation import best_config
from tuning.trials.median_stopping import StopWeak
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult, load_result

MAX_ATTEMPTS = 3
"""Times that a trial may end its process at one and the same step."""

CONFIRMATION_SEED = "tuner/confirmation_seed"
"""Under this name a trial of the confirmation has its seed among KerasTuner's values."""

PARENT, FIRST_EPOCH, LAST_EPOCH = "tuner/trial_id", "tuner/initial_epoch", "tuner/epochs"
"""Under these names Hyperband has the trial to go on with, and from and to which epoch."""

Report = Callable[[str, Sequence[float]], None]
"""Takes a trial's name and its accuracies on validation, epoch by epoch."""


class Trial:
    """One trial of a search.

    Args:
        name: four digits.
        values: its hyperparameters, and KerasTuner's own entries.
        plan: of the search.
        directory: of the search.
    """

    def __init__(
        self, name: str, values: dict[str, Value], plan: SearchPlan, directory: SearchDirectory
    ) -> None:
        self.name, self.plan, self.directory = name, plan, directory
        self.values = settle(plan.space, values)
        self.first_epoch = values.get(FIRST_EPOCH, 0)
        self.last_epoch = values.get(LAST_EPOCH, plan.config.total_epochs)
        self.parent = values.get(PARENT)
        self.seed = values.get(CONFIRMATION_SEED, plan.config.run.seed)
        self.purpose = CONFIRMATION if CONFIRMATION_SEED in values else SEARCH
        self.run_directory = directory.run(name)

    @property
    def config(self) -> Config:
        """The settings it trains with, on the splits of the search whatever its seed."""
        return best_config(self.plan, self.values).with_values({"seed": self.seed})

    def train(self, ground: Ground, report: Report) -> TrialResult:
        """Train from the newest checkpoint on, or return what was found out already.

        Raises:
            Interrupted: a signal asked to stop; the state is saved.
            UserError: the run cannot be written, or its diagrams are gone.
        """
        path = self.directory.result(self.name)
        if not path.exists():
            if self.parent and not self.run_directory.path.exists():
                self._continue_parent()
            with self.run_directory.open():
                result = self._attempt(ground, report)
            result.save(path)
        if self.plan.tuner != "hyperband":
            # Trained again anyway where it wins; many of them would fill the disk.
            shutil.rmtree(self.run_directory.checkpoints, ignore_errors=True)
        return load_result(path)

    def _continue_parent(self) -> None:
        """Begin where the parent stopped: with a copy of its run, but not of its result."""
        aside = self.run_directory.path.with_name(f".aside-{self.name}")
        shutil.rmtree(aside, ignore_errors=True)
        parent = self.directory.run(self.parent)
        shutil.copytree(
            parent.path, aside, ignore=shutil.ignore_patterns("result.json", ".lock", "attempts*")
        )
        aside.rename(self.run_directory.path)

    def _attempt(self, ground: Ground, report: Report) -> TrialResult:
        """Train; what may go wrong with one configuration alone is a result as well."""
        try:
            with images_in_place():
                return self._train(ground, report)
        except NonFinite as error:
            return self._failed(str(error))
        except (tf.errors.ResourceExhaustedError, MemoryError):
            config = self.config
            return self._failed(
                f"out of memory with batch_size {config.fit.batch_size}, width {config.model.width}"
            )
        except tf.errors.OpError as error:
            path = self.run_directory.path / "error.txt"
            write_whole(path, lambda aside: aside.write_text(traceback.format_exc()))
            return self._failed(f"{type(error).__name__}, see {path}")

    def _train(self, ground: Ground, report: Report) -> TrialResult:
        attempts = self.run_directory.path / "attempts.json"
        step = newest_step(self.run_directory)
        # Before the network is built, for that may be what ends the process.
        if not _may_try(attempts, step):
            return self._failed(f"its process ended {MAX_ATTEMPTS} times at step {step:,} (out of memory?)")
        try:
            run = open_run(resolve(self.config, ground), self.run_directory)
            run.fit(self._watchers(run, report), self.last_epoch)
        except (Interrupted, KeyboardInterrupt):
            attempts.unlink()
            raise
        return self._measured(run)

    def _watchers(self, run: TrainingRun, report: Report) -> list[keras.callbacks.Callback]:
        watchers: list[keras.callbacks.Callback] = [
            ReportEpochs(run, lambda accuracies: report(self.name, accuracies))
        ]
        if self.plan.stop_weak and self.purpose == SEARCH and self.plan.tuner != "hyperband":
            watchers.append(StopWeak(run.progression, self._peers, self.plan.config.total_epochs))
        return watchers

    def _peers(self) -> list[tuple[float, ...]]:
        return [r.accuracies for r in self.directory.results() if r.purpose == SEARCH]

    def _measured(self, run: TrainingRun) -> TrialResult:
        history, best = run.progression.history, run.progression.best_epoch
        config, data = run.resolved.config, run.resolved.ground.data
        patience = config.fit.early_stopping
        whole = len(history) == config.total_epochs
        patient = patience > 0 and len(history) - best >= patience
        return TrialResult(
            self.name,
            self.purpose,
            COMPLETED if whole or patient else STOPPED,
            self.values,
            self.seed,
            accuracy=history[best - 1]["val_accuracy"],
            cross_entropy=history[best - 1]["val_cross_entropy"],
            images=len(data.splits.validation),
            best_epoch=best,
            epochs=max(len(history) - self.first_epoch, 0),
            seconds=sum(row["seconds"] for row in history[self.first_epoch :]),
            accuracies=tuple(accuracies_of(run)),
        )

    def _failed(self, reason: str) -> TrialResult:
        return TrialResult(self.name, self.purpose, FAILED, self.values, self.seed, reason=reason)


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


def newest_step(directory: RunDirectory) -> int:
    """Return the step of the newest checkpoint; 0 where there is none."""
    steps = (path.stem.removeprefix("step_") for path in directory.checkpoints.glob("step_*.npz"))
    return max(map(int, steps), default=0)


def _may_try(path: Path, step: int) -> bool:
    """Count the attempts at one step: what kills its process each time must not do so for ever."""
    known = json.loads(path.read_text()) if path.exists() else {"step": step, "attempts": 0}
    attempts = known["attempts"] + 1 if known["step"] == step else 1
    text = json.dumps({"step": step, "attempts": attempts})
    write_whole(path, lambda aside: aside.write_text(text))
    return attempts <= MAX_ATTEMPTS
