"""The folder of a bundle: written aside, moved in whole, one export at a time."""

import contextlib
import errno
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError

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

REPORT = "report.json"
"""In every bundle; tells one from another folder that must not be overwritten."""


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

    def _beside(self, name: str) -> Path:
        # `.` has a name only once it is absolute.
        place = self.path.absolute()
        return place.with_name(name.format(place.name))

    def check(self) -> None:
        """Refuse to overwrite anything but an earlier bundle.

        Raises:
            UserError: something else is there.
        """
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out must be a directory; received the file {self.path}")
        if self.path.is_dir() and any(self.path.iterdir()) and not (self.path / REPORT).exists():
            raise UserError(
                f"--out must be new, empty or an earlier bundle; received {self.path}, which holds "
                "other files"
            )

    @contextlib.contextmanager
    def open(self) -> Iterator[Path]:
        """Give a folder to write into; move it to `path` unless the writing fails.

        A bundle that was there before stays as it was until then.

        Raises:
            UserError: it cannot be written, or another process exports there.
        """
        try:
            self.check()
            self.path.parent.mkdir(parents=True, exist_ok=True)
            lock = FileLock(self._beside(".{}.lock"), timeout=0)
            with lock, self._recovered():
                yield self._aside
                self._move_in()
        except Timeout:
            raise UserError(
                f"a bundle takes one export at a time; another one writes {self.path}"
            ) from None
        except OSError as error:
            if error.errno not in UNWRITABLE:
                raise
            raise UserError(f"--out must be writable; {self.path}: {error.strerror}") from error

    @contextlib.contextmanager
    def _recovered(self) -> Iterator[None]:
        """Begin with an empty folder aside, whatever a killed export left; leave none."""
        if self._old.exists() and not self.path.exists():
            self._old.rename(self.path)
        for leftover in (self._aside, self._old):
            shutil.rmtree(leftover, ignore_errors=True)
        self._aside.mkdir()
        try:
            yield
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _move_in(self) -> None:
        if self.path.exists():
            self.path.rename(self._old)
        self._aside.rename(self.path)
        shutil.rmtree(self._old, ignore_errors=True)
        shutil.rmtree(self.failed, ignore_errors=True)
