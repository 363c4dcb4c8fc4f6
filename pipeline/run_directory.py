"""The run directory: what lies where, who may write in it, and the settings of its run."""

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.config import EXCLUDED, Config, fill_in, load_values
from pipeline.config.option import flag
from pipeline.errors import UserError
from pipeline.files.lock import hold_lock
from pipeline.files.place import check_can_be_made
from pipeline.files.whole import refuse_link

METRICS = {
    "test.accuracy": float,
    "test.images": int,
    "validation.accuracy": float,
    "validation.best_epoch": int,
    "parameters": int,
    "multiply_adds": int,
}
"""What the metrics of a finished run tell others, and its type."""


PROBE = ".probe-"
"""How the name of a folder begins that a plan of epochs lies in for a while."""


@dataclass(frozen=True)
class RunDirectory:
    """The files of one run.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def config(self) -> Path:
        """The settings, as resolved at the start."""
        return self.path / "config.json"

    @property
    def checkpoints(self) -> Path:
        """States to resume from, and the best weights."""
        return self.path / "checkpoints"

    @property
    def best_weights(self) -> Path:
        """Weights of the epoch with the best validation accuracy."""
        return self.checkpoints / "best.npz"

    @property
    def plots(self) -> Path:
        """Charts."""
        return self.path / "plots"

    @property
    def tensorboard(self) -> Path:
        """TensorBoard's event files."""
        return self.path / "tensorboard"

    @property
    def history(self) -> Path:
        """One row an epoch."""
        return self.path / "history.csv"

    @property
    def metrics(self) -> Path:
        """Final figures; there once the run is finished."""
        return self.path / "metrics.json"

    @property
    def model(self) -> Path:
        """The trained model, plain Keras in float32."""
        return self.path / "model.keras"

    @property
    def problems(self) -> Path:
        """Files of an image folder that were left out, and why."""
        return self.path / "data_problems.csv"

    @property
    def excluded(self) -> Path:
        """Images that `--exclude` left out, where it did."""
        return self.path / EXCLUDED

    @property
    def splits(self) -> Path:
        """Sizes and fingerprints of the splits."""
        return self.path / "splits.json"

    @property
    def weights(self) -> Path:
        """Origin and fingerprint of the weights that a run started from, where it did."""
        return self.path / "weights.json"

    @property
    def teacher(self) -> Path:
        """Name and fingerprint of the network whose answers a run learned from, where it did."""
        return self.path / "teacher.json"

    @property
    def environment(self) -> Path:
        """Versions and machine."""
        return self.path / "environment.json"

    @property
    def _folders(self) -> tuple[Path, ...]:
        return self.checkpoints, self.plots, self.tensorboard

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Create the directory and hold its lock; a kill releases the lock.

        Where the run fails before it has settings, the directory is as if it had never been.

        Raises:
            UserError: it cannot be written, a folder in it is a link, or another process trains in it.
        """
        existed = self._has(self.path)
        busy = f"a run directory takes one process at a time; another one is using {self.path}"
        with contextlib.ExitStack() as stack:
            for folder in self._folders:
                refuse_link(folder)
            try:
                for folder in (self.path, self.checkpoints, self.plots):
                    folder.mkdir(parents=True, exist_ok=True)
                stack.enter_context(hold_lock(self.path / ".lock", busy))
            except OSError as error:
                raise UserError(
                    f"--run-dir must be writable; {self.path}: {error.strerror or error}"
                ) from None
            stack.callback(self._remove_unless_begun, keep_root=existed)
            for killed in self.path.glob(f"{PROBE}*"):
                shutil.rmtree(killed, ignore_errors=True)
            yield

    def _remove_unless_begun(self, keep_root: bool) -> None:
        if self.config.exists():
            return
        (self.path / ".lock").unlink(missing_ok=True)
        for folder in (self.checkpoints, self.plots, *(() if keep_root else (self.path,))):
            with contextlib.suppress(OSError):
                folder.rmdir()

    def _has(self, path: Path) -> bool:
        try:
            return path.exists()
        except OSError as error:
            raise UserError(f"--run-dir must be writable; {self.path}: {error.strerror}") from None

    def check_is_new(self) -> None:
        """Refuse to overwrite another run or what no run wrote, or what is no directory.

        Raises:
            UserError: the directory holds a run, finished or not, or files in the place of a run's, or
                cannot be made.
        """
        check_can_be_made(self.path, "--run-dir")
        if self._has(self.metrics):
            raise UserError(f"--run-dir must not hold a finished run; received {self.path}")
        if self._has(self.config):
            raise UserError(
                f"--run-dir must not hold an unfinished run; received {self.path} "
                "(add --resume to go on with it)"
            )
        folders = [folder for folder in self._folders if folder.is_dir() and any(folder.iterdir())]
        # A run writes these once it has its settings.
        if others := [
            path.name for path in (self.model, self.history, self.excluded, *folders) if os.path.lexists(path)
        ]:
            raise UserError(
                f"--run-dir must be new or hold nothing that a run would overwrite; {self.path} holds "
                f"no run, but {', '.join(others)} (move that elsewhere)"
            )

    def load_unfinished(self, asked: Mapping[str, Any]) -> Config:
        """Read the settings of the run that is here, to go on with it.

        Args:
            asked: settings the user gave as well; they must be the run's own, or left open.

        Raises:
            UserError: there is no run here, or its settings cannot be understood or differ.
        """
        if not self._has(self.config):
            raise UserError(f"--resume needs a directory with a run in it; received {self.path}")
        config = self._load_config()
        # What the run chose for itself is no difference from having left the choice open.
        left_open = {"image_size": 0, "width": 0}
        asked = {name: value for name, value in asked.items() if value != left_open.get(name, "auto")}
        if config.data.exclude and "exclude" in asked:
            # Whether it names the same images, the fingerprints of the splits will tell.
            config = config.with_values({"exclude": asked["exclude"]})
        for name in ("weights", "teacher"):
            # They may lie elsewhere by now; their own fingerprints tell whether they are the same.
            if config.values()[name] and asked.get(name) not in (None, "", "none"):
                config = config.with_values({name: asked[name]})
        if differences := config.differences(config.with_values(asked)):
            raise UserError(
                f"--resume must not change the settings of a run; received {', '.join(differences)} "
                f"(a new run that {self._what_goes_on(asked)})"
            )
        return config

    def _what_goes_on(self, asked: Mapping[str, Any]) -> str:
        """Say which line does what other settings for this run were meant to do."""
        own = self._load_config().values()
        values = {name: value for name, value in asked.items() if value != own[name]}
        finished = self._has(self.metrics)
        start = "starts from its weights" if finished else "has them"
        return f"{start}: {self.continue_command(values, weights=finished)}"

    def continue_command(self, settings: Mapping[str, Any], *, weights: bool = True) -> str:
        """Return the line that trains a new run with this one's settings but for some.

        Args:
            settings: those that differ.
            weights: whether it starts from this one's weights.
        """
        words = ["python", "train.py", "--config", str(self.config)]
        if weights:
            words += ["--weights", str(self.path)]
        for name, value in settings.items():
            if isinstance(value, bool):
                words.append(flag(name) if value else flag(f"no_{name}"))
            else:
                words += [flag(name), str(value)]
        return shlex.join(words)

    def load_finished(self) -> Config:
        """Read the settings of the finished run that is here.

        Raises:
            UserError: there is none, it is unfinished, or its settings cannot be understood.
        """
        if not self._has(self.config):
            raise UserError(f"a run directory must hold a finished run; received {self.path}")
        if not self._has(self.metrics):
            raise UserError(
                f"a run must be finished; received {self.path} (to finish it: "
                f"python train.py --resume --run-dir {self.path})"
            )
        return self._load_config()

    def _load_config(self) -> Config:
        values = fill_in(load_values(self.config), self.config)
        try:
            return Config().with_values(values)
        except UserError as error:
            raise UserError(f"the settings in {self.config} must be a run's; {error}") from None
