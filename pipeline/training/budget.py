"""How many epochs fit in the minutes that a run may take, measured on a small run that is thrown away."""

import contextlib
import io
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.config.settings import MAX_EPOCHS
from pipeline.console.progress import duration
from pipeline.errors import UserError
from pipeline.hosts.hosts import Hosts
from pipeline.run_directory import PROBE, RunDirectory
from pipeline.training.checkpoint import Progression
from pipeline.training.checkpoint_callbacks import Interrupted
from pipeline.training.linear_head import compute_features, fit_linear_head
from pipeline.training.resolve import Resolved
from pipeline.training.run import (
    TrainingRun,
    build_run,
    draw_contact_sheet,
    evaluation_batches,
    finish,
    fit_showing_progress,
)

PROBE_STEPS = 30
"""Most steps in an epoch of the probe."""

PROBE_EPOCHS = 3
"""Fewest epochs of the probe: the first one traces and compiles, and says nothing about the others."""

PROBE_SHARE = 0.05
"""Of the time that is left: for so long the probe goes on after its first epoch."""

MARGIN = 0.02
"""Of the time that is left, kept for what the probe cannot foresee."""

START_SECONDS = 0.3
"""Python's own start, before the clock."""


@dataclass(frozen=True)
class Pace:
    """What a run takes, in seconds.

    Attributes:
        once: all but its epochs and linear head: building, compiling, the final test, files.
        step: one training step.
        epoch_end: validation, checkpoint and whatever else an epoch has beside its steps.
        linear_head: features and fit of the head that the run begins with; 0 where it begins with none.
    """

    once: float
    step: float
    epoch_end: float
    linear_head: float = 0.0

    def epochs_within(self, seconds: float, steps_per_epoch: int) -> int:
        """Return the whole epochs that end in time: floor((seconds - fixed) / seconds of an epoch)."""
        return int((seconds - self.fixed) / (steps_per_epoch * self.step + self.epoch_end))

    @property
    def fixed(self) -> float:
        """All that takes as long however many epochs there are, seconds."""
        return self.once + self.linear_head


class _Stopwatch(keras.callbacks.Callback):
    """Take the times of a probe, and end it: each list has an entry an epoch, in seconds.

    Args:
        progression: the probe's.
        hosts: that run it together; the chief's clock counts.
        seconds: how long it goes on after its first epoch.
        deadline: of the run that is planned, by `time.monotonic`; a probe that is as late as that has
            measured enough to refuse it.
    """

    def __init__(self, progression: Progression, hosts: Hosts, seconds: float, deadline: float) -> None:
        super().__init__()
        self.progression, self.hosts = progression, hosts
        self.seconds, self.deadline = seconds, deadline
        self.epochs: list[float] = []
        self.steps: list[float] = []
        self.validations: list[float] = []
        self._epoch_began = self._steps_began = self._validation_began = 0.0
        self._steps_ended = 0.0
        self._steps_in_epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Close the epoch before, its checkpoint included."""
        now = time.monotonic()
        if epoch:
            self.epochs.append(now - self._epoch_began)
        self._epoch_began, self._steps_in_epoch = now, 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count a step.

        Raises:
            UserError: the time is over.
        """
        self._steps_in_epoch += 1
        self._steps_ended = time.monotonic()
        if self.hosts.is_chief and self._steps_ended > self.deadline:
            raise UserError(
                "--minutes must be enough for one epoch; they were over in epoch "
                f"{len(self.epochs) + 1}, step {self._steps_in_epoch} of a probe"
            )

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Begin validation."""
        self.steps.append((self._steps_ended - self._epoch_began) / self._steps_in_epoch)
        self._validation_began = time.monotonic()

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """End validation."""
        self.validations.append(time.monotonic() - self._validation_began)

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """End the probe once it knows enough."""
        if self.hosts.tell(epoch + 1 > PROBE_EPOCHS and sum(self.epochs[1:]) >= self.seconds):
            self.progression.stopped_early = self.model.stop_training = True


def plan_epochs(resolved: Resolved, directory: RunDirectory, deadline: float) -> Resolved:
    """Return the run with as many epochs as end by `deadline`, and say so.

    The probe has weights, files and seeds of its own: the run begins as one that was given its epochs.

    Args:
        resolved: the run; its epochs are replaced.
        directory: where it is written; the probe's files lie there for a while.
        deadline: by `time.monotonic`.

    Raises:
        UserError: not one epoch ends in time, or the run has two phases.
    """
    began = time.monotonic()
    if finetune_epochs := resolved.config.transfer.finetune_epochs:
        raise UserError(
            "--minutes plans a run of one phase, without --finetune-epochs; received "
            f"--finetune-epochs {finetune_epochs}"
        )
    with tempfile.TemporaryDirectory(prefix=PROBE, dir=directory.path) as scratch:
        pace = measure_pace(resolved, RunDirectory(Path(scratch)), deadline - began, deadline)
    probed = time.monotonic()
    left = deadline - probed
    epochs = pace.epochs_within((1 - MARGIN) * left - START_SECONDS, resolved.steps_per_epoch)
    one = pace.fixed + resolved.steps_per_epoch * pace.step + pace.epoch_end
    epochs, one = resolved.ground.hosts.tell([epochs, one])
    if epochs < 1:
        raise UserError(
            f"--minutes must be enough for one epoch, which ends after another {duration(one)} here; "
            f"{duration(max(left, 0))} of them are left"
        )
    epochs = min(epochs, MAX_EPOCHS)
    print(
        f"{epochs:,} epoch{'s' if epochs > 1 else ''} of {one - pace.fixed:.3g} s fit in the "
        f"{duration(left)} that are left (measured in {duration(probed - began)}; {duration(pace.fixed)} "
        f"go to building, compiling and the test); the same run again: --epochs {epochs}"
    )
    return replace(resolved, config=resolved.config.with_values({"epochs": epochs}))


def measure_pace(resolved: Resolved, scratch: RunDirectory, seconds: float, deadline: float) -> Pace:
    """Train, validate, save and finish a small run on a part of the images; test is not looked at.

    Args:
        resolved: the run that is to be planned.
        scratch: an empty directory, for the probe.
        seconds: what the probe and the run have together.
        deadline: of both, by `time.monotonic`.

    Raises:
        UserError: the probe is not done by then.
    """
    probe = _small(resolved)
    for folder in (scratch.checkpoints, scratch.plots):
        folder.mkdir()
    keras.utils.clear_session()
    began = time.monotonic()
    run = build_run(probe, scratch)
    draw_contact_sheet(probe, scratch.plots / "augmented_batch.png")
    built = time.monotonic()
    watch = _Stopwatch(run.progression, resolved.ground.hosts, PROBE_SHARE * seconds, deadline)
    # What it shows costs time as well, and would be taken for the run's.
    with contextlib.redirect_stdout(io.StringIO()):
        try:
            fit_showing_progress(run, watch)
        except Interrupted:
            # Nothing of the run is there yet to go on with.
            raise KeyboardInterrupt from None
    fitted = time.monotonic()
    finish(run)
    finished = time.monotonic()

    step = statistics.fmean(watch.steps[1:])
    validation = statistics.median(watch.validations[1:])
    epoch = statistics.fmean(watch.epochs[1:])
    beside = epoch - step * probe.steps_per_epoch - validation
    used = len(probe.ground.data.splits.validation)
    splits = resolved.ground.data.splits
    image = validation / used
    compiling = fitted - built - epoch * len(watch.steps)
    once = built - began + compiling + finished - fitted + image * (len(splits.test) - used)
    head = _head_seconds(run, resolved, image) if resolved.config.transfer.linear_head else 0.0
    return Pace(once, step, image * len(splits.validation) + beside, head)


def _head_seconds(run: TrainingRun, resolved: Resolved, image: float) -> float:
    """Measure what a linear head takes, in seconds, on the images that the probe validates on.

    Their labels are made up: a part of the images may lack a class.

    Args:
        run: the probe.
        resolved: the run that is to be planned.
        image: seconds in which the network answers for an image that is decoded.
    """
    splits, seen = resolved.ground.data.splits, len(run.resolved.ground.data.splits.validation)
    began = time.monotonic()
    for _ in evaluation_batches(run.resolved, "validation"):
        pass
    read = time.monotonic()
    with contextlib.redirect_stdout(io.StringIO()):
        batches = {"validation": (evaluation_batches(run.resolved, "validation"), seen)}
        features = compute_features(run.model, batches)["validation"]
    train, validation = (
        (np.resize(features, (len(rows), features.shape[1])), np.arange(len(rows)) % resolved.classes)
        for rows in (splits.train, splits.validation)
    )
    fit_linear_head(train, validation, balanced=resolved.config.fit.class_weights == "balanced")
    others = len(splits.train) + len(splits.validation) - seen
    return time.monotonic() - read + others * (image + (read - began) / seen)


def _small(resolved: Resolved) -> Resolved:
    """Return a run of short epochs, with images of validation in place of test's."""
    data, batch = resolved.ground.data, resolved.config.fit.batch_size
    train = _spread(data.splits.train, min(PROBE_STEPS, resolved.steps_per_epoch) * batch)
    seen = _spread(data.splits.validation, PROBE_STEPS * batch)
    splits = replace(data.splits, train=train, validation=seen, test=seen)
    # What a part of the images may lack an image for takes no time worth measuring.
    config = resolved.config.with_values(
        {"epochs": MAX_EPOCHS, "early_stopping": 0, "linear_head": False, "class_weights": "none"}
    )
    return replace(
        resolved, config=config, ground=replace(resolved.ground, data=replace(data, splits=splits))
    )


def _spread(rows: np.ndarray, count: int) -> np.ndarray:
    """Return at most `count` of the rows, evenly spread."""
    return rows[np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(np.int64)]
