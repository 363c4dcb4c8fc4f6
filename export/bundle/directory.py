"""The folder of a bundle: written aside, moved in whole, one export at a time."""

import contextlib
import errno
import functools
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from export.bundle.ours import (
    begin_list,
    foreign_evidence,
    foreign_files,
    list_bundle,
    list_evidence,
    remove_evidence,
)
from pipeline.errors import UserError
from pipeline.files.lock import hold_lock
from pipeline.files.own_files import shown
from pipeline.files.place import check_can_be_made
from pipeline.files.whole import flush_files, refuse_link

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
    def finetuning(self) -> Path:
        """Beside the bundle: how far `--finetune` is, until an export with it succeeds."""
        return self._beside(".finetune-{}.npz")

    @property
    def _aside(self) -> Path:
        return self._beside(".aside-{}")

    @property
    def _old(self) -> Path:
        return self._beside(".old-{}")

    @functools.cached_property
    def _place(self) -> Path:
        # `.` has no name to find neighbours by. Once and for all: the folder that one stands in
        # resolves to another name as soon as it is moved.
        return self.path.resolve()

    def _beside(self, name: str) -> Path:
        return self._place.with_name(name.format(self._place.name))

    def check(self) -> None:
        """Refuse to overwrite anything but an earlier bundle.

        Raises:
            UserError: something else is there.
        """
        refuse_link(self.path)
        if os.path.lexists(self.path) and not self.path.is_dir():
            raise UserError(f"--out must be a directory; received the file {self.path}")
        check_can_be_made(self.path, "--out")
        with self._writable():
            others = foreign_files(self._place)
        if others:
            raise UserError(
                f"--out must be new, empty or an earlier bundle; received {self.path}, which holds "
                f"what no export wrote, or what was changed since: {shown(others)}"
            )

    def _check_neighbours(self) -> None:
        """Refuse what stands where an export puts things aside, and is not an export's."""
        for folder in (self._aside, self._old, self.failed):
            refuse_link(folder)
            if os.path.lexists(folder) and not folder.is_dir():
                raise UserError(f"--out needs a directory {folder}; received the file")
            others = foreign_evidence(folder) if folder == self.failed else foreign_files(folder)
            if others:
                raise UserError(
                    f"--out needs the place {folder}, which holds what no export wrote, or what "
                    f"was changed since: {shown(others)} (move it elsewhere)"
                )

    @contextlib.contextmanager
    def open(self) -> Iterator[Path]:
        """Give a folder to write into; move it to `path` unless the writing fails.

        A bundle that was there before stays as it was until then.

        Raises:
            UserError: it cannot be written, or another process exports there.
        """
        self.check()
        with self._writable():
            self._place.parent.mkdir(parents=True, exist_ok=True)
            busy = f"a bundle takes one export at a time; another one writes {self.path}"
            with hold_lock(self._beside(".{}.lock"), busy), self._recovered():
                yield self._aside
                self._move_in()

    @contextlib.contextmanager
    def _writable(self) -> Iterator[None]:
        try:
            yield
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
        self._check_neighbours()
        if self._old.exists() and not self._place.exists():
            self._old.rename(self._place)
        for leftover in (self._aside, self._old):
            shutil.rmtree(leftover, ignore_errors=True)
        remove_evidence(self.failed)
        self._aside.mkdir()
        try:
            begin_list(self._aside)
            yield
        except BaseException:
            list_evidence(self.failed)
            raise
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _move_in(self) -> None:
        list_bundle(self._aside)
        flush_files(self._aside)
        # Somebody may have put something there meanwhile.
        self.check()
        if self._place.exists():
            self._place.rename(self._old)
        try:
            self._aside.rename(self._place)
        except BaseException:
            if self._old.exists():
                self._old.rename(self._place)
            raise
        shutil.rmtree(self._old, ignore_errors=True)
