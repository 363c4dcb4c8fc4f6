"""Exact resume: everything that a training run is, in one file that is written whole."""

import json
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path

import keras
import numpy as np

from pipeline.errors import UserError
from pipeline.hosts.hosts import Hosts
from pipeline.run_directory import RunDirectory
from pipeline.training.variables import (
    Damaged,
    Unreadable,
    copy_variables,
    name_variables,
    parts_of_sum,
    read_variables,
    save_variables,
    write_arrays,
)

KEPT_CHECKPOINTS = 2
"""The newest, and one before it in case the newest cannot be read."""

PARTS = "parts_of_sums"
"""What a state has beside its variables where several replicas share the running means."""

MAX_DIGITS = 18
"""Of a step in a file's name."""

ROW = (
    "epoch",
    "step",
    "learning_rate",
    "loss",
    "accuracy",
    "cross_entropy",
    "val_accuracy",
    "val_cross_entropy",
    "seconds",
    "images_per_second",
)
"""The figures of an epoch in a run's history."""

START = ("step", "val_accuracy", "val_cross_entropy")
"""Those of them that there are before the first step, which is step 0."""


@dataclass
class Progression:
    """What a run knows beside its variables.

    Attributes:
        step: training steps done.
        history: one row of figures, a `ROW`, for each finished epoch.
        best_epoch: epoch (from 1) that validated best; 0 before the first, or where none was better
            than `start`.
        stopped_early: early stopping has ended the run.
        start: how the run validated with a fitted head, before its first step: `START`.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False
    start: dict[str, float] | None = None

    @property
    def best(self) -> dict[str, float] | None:
        """The figures of the best weights so far: a row of the history, or those of the start."""
        return self.history[self.best_epoch - 1] if self.best_epoch else self.start


class Checkpoints:
    """The resumable states of one run.

    Args:
        directory: the run's.
        variables: everything that changes in training: weights, optimizer, random generators,
            metrics, moving average.
        best: those of them that are saved apart where they validate best, by the model's names.
        sums: those of them that are sums over the replicas, of which each has a part.
        hosts: that train together; each has a directory of its own.
    """

    def __init__(
        self,
        directory: RunDirectory,
        variables: list[keras.Variable],
        best: dict[str, keras.Variable] | None = None,
        sums: Sequence[keras.Variable] = (),
        hosts: Hosts | None = None,
    ) -> None:
        self.directory, self.variables = directory, name_variables(variables)
        self.best, self.sums, self.hosts = best or {}, sums, hosts or Hosts()
        self._writer = ThreadPoolExecutor(1, "checkpoint")
        self._written: Future[None] | None = None

    def save(self, progression: Progression) -> Path:
        """Write the state and forget all but the newest two.

        Raises:
            NonFinite: a variable holds an infinity or NaN; nothing is written.
            UserError: it cannot be written.
        """
        path = self.begin_to_save(progression)
        self.wait()
        return path

    def begin_to_save(self, progression: Progression) -> Path:
        """Copy the state, and write it while training goes on; the one before must be written first.

        Raises:
            NonFinite: a variable holds an infinity or NaN; nothing is written.
            UserError: the one before could not be written.
        """
        self.wait()
        text = np.frombuffer(json.dumps(asdict(progression)).encode(), np.uint8)
        path = self.directory.checkpoints / f"step_{progression.step:09d}.npz"
        arrays = {**copy_variables(self.variables), "progression": text, **self._parts()}
        self._written = self._writer.submit(self._write, path, arrays)
        return path

    def _write(self, path: Path, arrays: dict[str, np.ndarray]) -> None:
        write_arrays(path, arrays)
        for old in self.saved()[:-KEPT_CHECKPOINTS]:
            old.unlink()

    def check(self) -> None:
        """Raise what a write that has ended failed with, a `UserError`."""
        if self._written and self._written.done():
            self.wait()

    def wait(self) -> None:
        """Wait until the state that is being written, if one is, is on the disk.

        Raises:
            UserError: it cannot be written.
        """
        written, self._written = self._written, None
        if written:
            written.result()

    def _parts(self) -> dict[str, np.ndarray]:
        """Return each replica's part of each sum, [sums, replicas], where there are several.

        Another division of a sum would round what is added to it in another way.
        """
        own = [[part.numpy().item() for part in parts_of_sum(variable)] for variable in self.sums]
        gathered = self.hosts.gather(own)
        if not gathered or not self.sums or len(gathered) * len(own[0]) == 1:
            return {}
        return {PARTS: np.concatenate(gathered, axis=1, dtype=np.float32)}

    def _assign_parts(self, parts: np.ndarray | None) -> None:
        """Give the replicas of this host their parts, where there were as many replicas."""
        own = len(parts_of_sum(self.sums[0])) if self.sums else 0
        if parts is None or parts.shape != (len(self.sums), own * self.hosts.count):
            return
        first = own * self.hosts.index
        for variable, values in zip(self.sums, parts, strict=True):
            for part, value in zip(parts_of_sum(variable), values[first : first + own], strict=True):
                part.assign(value)

    def saved(self) -> list[Path]:
        """Saved states, oldest first."""
        return saved_states(self.directory)

    def restore(self) -> Progression:
        """Load the newest state that is whole; a fresh progression where there is none.

        Files that are not are set aside under another name.

        Raises:
            UserError: a state is of another model, and none is whole; or one cannot be read now.
        """
        states, another, progression = self.saved(), None, Progression()
        passed: dict[Path, Exception] = {}
        while states:
            path = states.pop()
            try:
                progression = self._load(path)
                another = None
                break
            except Unreadable:
                raise  # nothing is set aside, as it may be read another time
            except (Damaged, UserError) as error:
                passed[path] = error
                another = error if isinstance(error, UserError) else another
        if another:
            raise another
        to = "going back to the one before" if progression.step else "starting from the beginning"
        for path, reason in passed.items():
            print(f"checkpoint {path} cannot be read ({reason}); {to}")
            set_aside(path)
        return progression

    def _load(self, path: Path) -> Progression:
        """Assign a state once all of it, and the best weights that it goes on with, are whole."""
        arrays = read_variables(path, self.variables)
        progression = _read_progression(arrays.get("progression"), path)
        lost: Damaged | None = None
        if progression.best:
            try:
                read_variables(self.directory.best_weights, self.best)
            except Damaged as error:
                lost = error
        if lost and progression.best and progression.step != progression.best["step"]:
            raise Damaged(f"its best weights, in {self.directory.best_weights}: {lost}")
        for name, variable in self.variables.items():
            variable.assign(arrays[name])
        self._assign_parts(arrays.get(PARTS))
        if lost:
            # They are this very state's.
            save_variables(self.directory.best_weights, self.best)
        return progression


def set_aside(path: Path) -> None:
    """Give a damaged state a name that is free and no state's.

    Raises:
        UserError: its folder cannot be written.
    """
    taken = len([*path.parent.glob(f"damaged_{path.name}*")])
    try:
        path.rename(path.with_name(f"damaged_{path.name}" + (f".{taken}" if taken else "")))
    except OSError as error:
        raise UserError(f"a damaged checkpoint must be set aside; {path}: {error.strerror}") from error


def saved_states(directory: RunDirectory) -> list[Path]:
    """List the states that a run has saved, oldest first."""
    paths = directory.checkpoints.glob("step_*.npz")
    return sorted((path for path in paths if step_of(path) >= 0), key=step_of)


def step_of(path: Path) -> int:
    """Return the step of a saved state by its name; -1 of another file."""
    number = path.stem.removeprefix("step_")
    return int(number) if number.isdecimal() and len(number) <= MAX_DIGITS else -1


def _read_progression(text: np.ndarray | None, path: Path) -> Progression:
    """Read what a state has beside its variables.

    Raises:
        Damaged: it is none, or cannot be that of the state in `path`.
    """
    try:
        if text is None:
            raise ValueError("it has none")
        progression = Progression(**json.loads(text.tobytes()))
        history, best = progression.history, progression.best_epoch
        if (type(progression.step), progression.step) != (int, step_of(path)):
            raise ValueError(f"step {progression.step!r}")
        if type(progression.stopped_early) is not bool or type(history) is not list:
            raise ValueError("another type")
        for epoch, row in enumerate(history, 1):
            if tuple(row) != ROW or any(type(value) not in (int, float) for value in row.values()):
                raise ValueError(f"row {epoch} of its history")
            if row["epoch"] != epoch or row["step"] > progression.step:
                raise ValueError(f"row {epoch} of its history is of another epoch")
        start = progression.start
        if start is not None and (tuple(start) != START or not {*map(type, start.values())} <= {int, float}):
            raise ValueError("the figures of its start")
        least = bool(history) and start is None
        if type(best) is not int or not least <= best <= len(history):
            raise ValueError(f"best epoch {best!r} of {len(history)}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"its progression: {error}") from error
    return progression
