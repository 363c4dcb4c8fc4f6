"""The folder of a bundle: written aside, moved in whole, one export at a time."""

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import hold_lock, read_json

UNWRITABLE = (
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EFBIG,
    errno.ENOTDIR,
    errno.EEXIST,
    errno.ENAMETOOLONG,
)
"""What the user can put right by another place or more space."""

REPORT, MADE_BY = "report.json", "made_by"
"""A file of every bundle, and what is in it and in no other: so nothing else is overwritten."""

EVIDENCE = (
    "report.json",
    "report.md",
    "layers.png",
    "worst_saved_model.npz",
    "worst_saved_model.png",
    "worst_float32.npz",
    "worst_float32.png",
)
"""What a failed export may leave."""


@dataclass(frozen=True)
class BundleDirectory:
    """Where a bundle goes, and where the reasons go if there is to be none.

    Attributes:
        path: of the bundle.
    """

    path: Path

    @property
    def failed(self) -> Path:
        """Beside the bundle: what a failed export leaves."""
        return self._beside("{}-failed")

    @property
    def _aside(self) -> Path:
        return self._beside(".aside-{}")

    @property
    def _old(self) -> Path:
        return self._beside(".old-{}")

    @functools.cached_property
    def _place(self) -> Path:
        # `.` has no name to find neighbours by, and a link is to stay one. Once and for all: the
        # folder that one stands in resolves to another name as soon as it is moved.
        return self.path.resolve()

    def _beside(self, name: str) -> Path:
        return self._place.with_name(name.format(self._place.name))

    def check(self) -> None:
        """Refuse to overwrite anything but an earlier bundle.

        Raises:
            UserError: something else is there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out must be a directory; received the file {self.path}")
        if self.path.is_dir() and any(self.path.iterdir()) and not self._is_bundle():
            raise UserError(
                f"--out must be new, empty or an earlier bundle; received {self.path}, which holds "
                "other files"
            )

    def _is_bundle(self) -> bool:
        try:
            return MADE_BY in read_json(self.path / REPORT)
        except UserError:
            return False

    @contextlib.contextmanager
    def open(self) -> Iterator[Path]:
        """Give a folder to write into; move it to `path` unless the writing fails.

        A bundle that was there before stays as it was until then.

        Raises:
            UserError: it cannot be written, or another process exports there.
        """
        try:
            self.check()
            self._place.parent.mkdir(parents=True, exist_ok=True)
            busy = f"a bundle takes one export at a time; another one writes {self.path}"
            with hold_lock(self._beside(".{}.lock"), busy), self._recovered():
                yield self._aside
                self._move_in()
        except OSError as error:
            if error.errno not in UNWRITABLE or not self._is_here(error.filename):
                raise
            raise UserError(f"--out must be writable; {self.path}: {error.strerror}") from error

    def _is_here(self, filename: str | Path | None) -> bool:
        """Whether the trouble is with the bundle's place, and not with a file elsewhere."""
        if filename is None:
            return True
        path = Path(filename).absolute()
        own = (self._place, self._aside, self._old, self._beside(".{}.lock"))
        return self._place.is_relative_to(path) or any(path.is_relative_to(part) for part in own)

    @contextlib.contextmanager
    def _recovered(self) -> Iterator[None]:
        """Begin with an empty folder aside, whatever a killed export left; leave none."""
        if self._old.exists() and not self._place.exists():
            self._old.rename(self._place)
        for leftover in (self._aside, self._old):
            shutil.rmtree(leftover, ignore_errors=True)
        self._aside.mkdir()
        self._remove_evidence()
        try:
            yield
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _remove_evidence(self) -> None:
        """Remove what an earlier failure left, and nothing else that lies there."""
        for name in EVIDENCE:
            (self.failed / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.failed.rmdir()

    def _move_in(self) -> None:
        _flush(self._aside)
        if self._place.exists():
            self._place.rename(self._old)
        try:
            self._aside.rename(self._place)
        except BaseException:
            if self._old.exists():
                self._old.rename(self._place)
            raise
        shutil.rmtree(self._old, ignore_errors=True)


def _flush(folder: Path) -> None:
    """Force every file of a folder onto the disk, so that a power cut finds none half there."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
