"""Exact resume: everything that a training run is, in one file that is written whole."""

import contextlib
import json
import signal
import time
import zipfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

import keras
import numpy as np

from pipeline.console.run_command import stopping_signals
from pipeline.errors import UserError
from pipeline.files import open_regular, write_whole
from pipeline.run_directory import RunDirectory

KEPT_CHECKPOINTS = 2
"""The newest, and one before it in case the newest cannot be read."""

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


class Damaged(Exception):
    """A file of arrays cannot be read, or holds what no run saves."""


class Interrupted(Exception):
    """A signal stopped the run; its state is saved."""


class NonFinite(Exception):
    """The loss or a weight is infinite or not a number."""


@dataclass
class Progression:
    """What a run knows beside its variables.

    Attributes:
        step: training steps done.
        history: one row of figures, a `ROW`, for each finished epoch.
        best_epoch: epoch (from 1) that validated best; 0 before the first.
        stopped_early: early stopping has ended the run.
    """

    step: int = 0
    history: list[dict[str, float]] = field(default_factory=list)
    best_epoch: int = 0
    stopped_early: bool = False


def name_variables(variables: list[keras.Variable]) -> dict[str, keras.Variable]:
    """Give each variable a unique name: its place and its path."""
    return {f"{place:04d} {variable.path}": variable for place, variable in enumerate(variables)}


def save_variables(path: Path, variables: dict[str, keras.Variable], **extra: np.ndarray) -> None:
    """Write named variables, and `extra` arrays, to an .npz file (a CRC-32 an array) in whole.

    Raises:
        NonFinite: a variable holds an infinity or NaN; nothing is written.
    """
    arrays = {name: _to_numpy(variable) for name, variable in variables.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFinite(f"variable {name} is no longer finite")

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, **arrays, **extra)  # type: ignore[arg-type]  # none is allow_pickle

    write_whole(path, write)


def load_variables(path: Path, variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Assign the named variables from `path`; return the arrays saved beside them.

    Raises:
        UserError: the file is of another model.
        Damaged: as of `read_variables`; nothing is assigned.
    """
    arrays = read_variables(path, variables)
    for name, variable in variables.items():
        variable.assign(arrays.pop(name))
    return arrays


def read_variables(path: Path, variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Read all arrays of `path`, those of the named variables as `save_variables` wrote them.

    Raises:
        UserError: the file is of another model.
        Damaged: it cannot be read, or a variable's array is of another type or not finite.
    """
    arrays = _read_arrays(path)
    for name, variable in variables.items():
        saved = arrays[name].shape if name in arrays else "nothing"
        if saved != tuple(variable.shape):
            raise UserError(
                f"a checkpoint must come from the same model; {path} has {saved} "
                f"for {name}, which needs {tuple(variable.shape)}"
            )
    for name, variable in variables.items():
        array, kind = arrays[name], _to_numpy(variable).dtype
        if array.dtype != kind:
            raise Damaged(f"variable {name} is {array.dtype}, not {kind}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Damaged(f"variable {name} is not finite")
    return arrays


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # NumPy leaves a damaged file open that it opened itself.
        with open_regular(path) as content, np.load(content, allow_pickle=False) as file:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.zip.infolist()):
                # A run's never are; a small file could unfold to more than the memory holds.
                raise ValueError("its arrays are compressed")
            return {name: file[name] for name in file.files}
    except Exception as error:
        # Every byte of its headers can be wrong: zipfile, zlib and NumPy raise what they like.
        raise Damaged(str(error).partition("\n")[0] or type(error).__name__) from error


def _to_numpy(variable: keras.Variable) -> np.ndarray:
    # Not `keras.ops.convert_to_numpy`, which cannot read a metric under a mirrored strategy.
    return np.asarray(variable.numpy())


class Checkpoints:
    """The resumable states of one run.

    Args:
        directory: the run's.
        variables: everything that changes in training: weights, optimizer, random generators,
            metrics, moving average.
        best: those of them that are saved apart where they validate best, by the model's names.
    """

    def __init__(
        self,
        directory: RunDirectory,
        variables: list[keras.Variable],
        best: dict[str, keras.Variable] | None = None,
    ) -> None:
        self.directory, self.variables = directory, name_variables(variables)
        self.best = best or {}

    def save(self, progression: Progression) -> Path:
        """Write the state and forget all but the newest two."""
        text = np.frombuffer(json.dumps(asdict(progression)).encode(), np.uint8)
        path = self.directory.checkpoints / f"step_{progression.step:09d}.npz"
        save_variables(path, self.variables, progression=text)
        for old in self.saved()[:-KEPT_CHECKPOINTS]:
            old.unlink()
        return path

    def saved(self) -> list[Path]:
        """Saved states, oldest first."""
        return saved_states(self.directory)

    def restore(self) -> Progression:
        """Load the newest state that is whole; a fresh progression where there is none.

        Files that are not are set aside under another name.

        Raises:
            UserError: a state is of another model, and none is whole.
        """
        states, another, progression = self.saved(), None, Progression()
        passed: dict[Path, Exception] = {}
        while states:
            path = states.pop()
            try:
                progression = self._load(path)
                another = None
                break
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
        if progression.best_epoch:
            try:
                read_variables(self.directory.best_weights, self.best)
            except Damaged as error:
                lost = error
        if lost and progression.step != progression.history[progression.best_epoch - 1]["step"]:
            raise Damaged(f"its best weights, in {self.directory.best_weights}: {lost}")
        for name, variable in self.variables.items():
            variable.assign(arrays[name])
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
        if type(best) is not int or not bool(history) <= best <= len(history):
            raise ValueError(f"best epoch {best!r} of {len(history)}")
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise Damaged(f"its progression: {error}") from error
    return progression


class RestoreEpochMetrics(keras.callbacks.Callback):
    """Give the running means of a half-done epoch back to it, after `fit` has reset some of them.

    (Keras resets its own mean of the loss, but not metrics that no step has used yet.)

    Args:
        metrics: the running means; what they hold now is what is given back, once.
    """

    def __init__(self, metrics: list[keras.metrics.Metric]) -> None:
        super().__init__()
        self.variables = [variable for metric in metrics for variable in metric.variables]
        self.values = [_to_numpy(variable) for variable in self.variables]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore at the first epoch's begin."""
        for variable, value in zip(self.variables, self.values, strict=False):
            variable.assign(value)
        self.values = []


class SaveCheckpoints(keras.callbacks.Callback):
    """Save the state every so many seconds or steps, at each epoch's end and on a signal.

    Must be the last callback, so that what it saves includes what the others did.

    Args:
        checkpoints: where to save.
        progression: the run's, advanced here.
        steps_per_epoch: the last step of an epoch is saved with the epoch's end, not before it.
        every_seconds: longest time between two checkpoints.
        every_steps: most steps between two checkpoints; 0 for no such limit.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progression: Progression,
        *,
        steps_per_epoch: int,
        every_seconds: float,
        every_steps: int,
    ) -> None:
        super().__init__()
        self.checkpoints, self.progression = checkpoints, progression
        self.steps_per_epoch = steps_per_epoch
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self.signal: int | None = None
        self._saved_at = time.monotonic()
        self._saved_step = progression.step

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and SIGHUP into a request to save and stop; a second one stops at once.

        A terminal that closes sends SIGHUP more than once, so that it is never the second.
        """
        numbers = (signal.SIGINT, *stopping_signals())
        before = [signal.signal(number, self._request_stop) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGHUP:
            return
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        print("\nstopping after this step or validation; once more to stop at once", flush=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save in the middle of an epoch."""
        self.progression.step += 1
        if self.progression.step % self.steps_per_epoch == 0:
            return
        steps = self.progression.step - self._saved_step
        due = time.monotonic() - self._saved_at >= self.every_seconds
        if due or self.signal is not None or (self.every_steps and steps >= self.every_steps):
            self._save()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the finished epoch."""
        self._save()

    def _save(self) -> None:
        self.checkpoints.save(self.progression)
        self._saved_at, self._saved_step = time.monotonic(), self.progression.step
        if self.signal is not None:
            raise Interrupted
