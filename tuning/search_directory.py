"""The directory of a search: what lies where, whose it is, and what is known so far."""

import contextlib
import dataclasses
import json
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pipeline.config.config import Config, flat_values
from pipeline.errors import UserError
from pipeline.files.json_file import read_json, verify_fields, write_json
from pipeline.files.lock import hold_lock
from pipeline.files.place import check_can_be_made
from pipeline.files.whole import refuse_link
from pipeline.run_directory import RunDirectory
from tuning.space.limits import Limits


@dataclasses.dataclass(frozen=True)
class SearchDirectory:
    """The files of one search.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def search(self) -> Path:
        """What is searched, and how; there once the search has begun."""
        return self.path / "search.json"

    @property
    def splits(self) -> Path:
        """Sizes and fingerprints of the splits that all trials share."""
        return self.path / "splits.json"

    @property
    def state(self) -> Path:
        """KerasTuner's own state."""
        return self.path / "keras_tuner"

    @property
    def trials(self) -> Path:
        """A run directory for each trial."""
        return self.path / "trials"

    @property
    def costs(self) -> Path:
        """What each architecture costs on a device."""
        return self.path / "costs.json"

    @property
    def table(self) -> Path:
        """One row a trial."""
        return self.path / "trials.csv"

    @property
    def best_config(self) -> Path:
        """The winner, as `python train.py --config` takes it; there once the search is done."""
        return self.path / "best_config.json"

    @property
    def front(self) -> Path:
        """The configuration of each trial on the Pareto front."""
        return self.path / "pareto"

    @property
    def plots(self) -> Path:
        """Charts."""
        return self.path / "plots"

    @property
    def tensorboard(self) -> Path:
        """The table of hyperparameters for TensorBoard."""
        return self.path / "tensorboard"

    @property
    def logs(self) -> Path:
        """What workers print; there once there may be any."""
        return self.path / "logs"

    def run(self, trial: str) -> RunDirectory:
        """Where a trial trains."""
        return RunDirectory(self.trials / trial)

    def result(self, trial: str) -> Path:
        """What a trial found out; there once it has ended."""
        return self.trials / trial / "result.json"

    @contextlib.contextmanager
    def open(self, identity: Mapping[str, Any]) -> Iterator[None]:
        """Begin the search or go on with it, alone.

        Where a user error ends it before its first trial, the directory is as it was.

        Args:
            identity: everything that makes it this search and no other, as JSON takes it.

        Raises:
            UserError: the directory cannot be written, holds something else, or another process
                searches in it.
        """
        with contextlib.ExitStack() as lock:
            with _writable(self.path):
                for folder in (self.path, self.trials, self.plots, self.state, self.logs, self.tensorboard):
                    refuse_link(folder)
                existed, begun = self.path.exists(), self.search.exists()
                self._check_place()
                self.path.mkdir(parents=True, exist_ok=True)
                busy = f"a search takes one command at a time; another one is using {self.path}"
                lock.enter_context(hold_lock(self.path / ".lock", busy))
            try:
                _begin(self.search, identity)
                self.check_identity(identity)
                for folder in (self.trials, self.plots):
                    with _writable(folder):
                        folder.mkdir(exist_ok=True)
                yield
            except UserError:
                if not begun and not any(self.trials.glob("*")):
                    self._empty(keep_root=existed)
                raise

    def check_place(self, identity: Mapping[str, Any]) -> None:
        """Refuse a directory that cannot be the search's, writing nothing.

        Args:
            identity: as of `open`.

        Raises:
            UserError: it cannot be made, or holds something else.
        """
        with _writable(self.path):
            self._check_place()
            begun = self.search.exists()
        if begun:
            self.check_identity(identity)

    def _check_place(self) -> None:
        check_can_be_made(self.path, "--out")
        if self.path.exists() and not self.search.exists() and self._holds_something():
            raise UserError(f"--out must be new, empty or hold a search; received {self.path}")

    def _empty(self, keep_root: bool) -> None:
        for entry in self.path.iterdir():
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        if not keep_root:
            self.path.rmdir()

    def _holds_something(self) -> bool:
        # What a kill left before the search had begun.
        begun = {".lock", f".aside-{self.search.name}"}
        entries = {entry for entry in self.path.iterdir() if entry.name not in begun}
        # A worker that starts before its chief makes the folder of the state.
        return bool(entries - {self.state}) or (self.state in entries and any(self.state.iterdir()))

    def check_identity(self, identity: Mapping[str, Any]) -> None:
        """Hold a search to the one that has begun here.

        Raises:
            UserError: they differ, or what is known of it is damaged.
        """
        known = read_json(self.search, of="a search")
        verify_fields(known, {n: dict for n in ("config", "limits") if n in known}, self.search, "a search")
        # An earlier version may lack settings and limits, which then were at their defaults.
        config = Config().with_values(flat_values(known.get("config", {}), self.search))
        limits = {**dataclasses.asdict(Limits()), **known.get("limits", {})}
        known = _comparable({**known, "config": dataclasses.asdict(config), "limits": limits})
        identity = _comparable(identity)
        if differing := [name for name in identity if known.get(name) != identity[name]]:
            raise UserError(
                f"--out must be new or hold this very search; {self.path} holds another one, "
                f"which differs in its {', '.join(differing)}"
            )

    def check_images(self, splits: Mapping[str, Any]) -> None:
        """Hold the images to those that the search began with; see `describe_splits`.

        Raises:
            UserError: they are others, so that scores could not be compared.
        """
        _begin(self.splits, splits)
        if read_json(self.splits, of="a search") != splits:
            raise UserError(
                f"a search needs the images that it began with; {splits['source']} no longer "
                f"has the fingerprints in {self.splits}"
            )


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"--out must be writable; {path}: {error.strerror or error}") from None


def _begin(path: Path, content: Mapping[str, Any]) -> None:
    if not path.exists():
        write_json(path, content)


def _comparable(identity: Mapping[str, Any]) -> Any:
    """Write tuples as JSON's lists."""
    return _without_words(json.loads(json.dumps(identity)))


def _without_words(content: Any) -> Any:
    """Leave out what a hyperparameter means in words, which a later version may say better."""
    if isinstance(content, dict):
        return {name: _without_words(value) for name, value in content.items() if name != "meaning"}
    return [_without_words(item) for item in content] if isinstance(content, list) else content
