"""The folder of a bundle: written aside, moved in whole, one export at a time.

An export removes nothing but what an export wrote, which a list in each of its folders proves.
"""

import contextlib
import errno
import functools
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files import hold_lock, read_json, refuse_link
from pipeline.own_files import (
    LIST,
    find_files,
    find_others,
    is_regular,
    list_files,
    read_list,
    shown,
    write_list,
)

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
"""A file of every bundle, and what is in it and in no other."""

COMMAND = "python -m export"
"""Whose list a list of files is."""

KNOWN = re.compile(
    r"(\.aside-)?((report|preprocessing)\.json|labels\.txt|model_card\.md|files\.png|run\.py"
    r"|model_(float32|float16|dynamic|int8|int16)\.tflite|model_int8\.(h|cc))"
    r"|golden/(\.aside-)?(README\.md|golden\.json|(in|out)put_\d\.bin|input_\d\.png)"
    r"|saved_model/(saved_model|fingerprint)\.pb(\.tmp\w+)?"
    r"|saved_model/variables/variables(\.index|\.data-[-of\d]+|_temp/.+)(\.tempstate\d+)?"
)
"""Files of bundles that have no list: of earlier versions, and of exports that were killed."""

EMPTY = "saved_model/assets"
"""A folder of every SavedModel, for files that this one does not need."""

EVIDENCE = (
    "report.json",
    "report.md",
    "layers.png",
    "worst_saved_model.npz",
    "worst_saved_model.png",
    "worst_float32.npz",
    "worst_float32.png",
    "worst_file.png",
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
        with self._writable():
            others = self._others(self._place)
        if others:
            raise UserError(
                f"--out must be new, empty or an earlier bundle; received {self.path}, which holds "
                f"what no export wrote, or what was changed since: {shown(others)}"
            )

    def _others(self, folder: Path) -> list[str]:
        """Name the files in the folder of a bundle that no export wrote, or that were changed."""
        listed = read_list(folder, COMMAND)
        # A kill may come while the list itself is written.
        unlisted = {EMPTY, f".aside-{LIST}"} if listed is None else {EMPTY, LIST, f".aside-{LIST}"}
        names = [name for name in find_files(folder) if name not in unlisted]
        if listed:
            return find_others(folder, names, listed)
        # An empty list is that of an export which was killed.
        ours = listed is not None or self._has_report(folder)
        return [n for n in names if not (ours and KNOWN.fullmatch(n) and is_regular(folder / n))]

    def _has_report(self, folder: Path) -> bool:
        try:
            return MADE_BY in read_json(folder / REPORT)
        except UserError:
            return False

    def _check_neighbours(self) -> None:
        """Refuse what stands where an export puts things aside, and is not an export's."""
        for folder in (self._aside, self._old, self.failed):
            refuse_link(folder)
            if os.path.lexists(folder) and not folder.is_dir():
                raise UserError(f"--out needs a directory {folder}; received the file")
            others = self._foreign_evidence() if folder == self.failed else self._others(folder)
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
        self._remove_evidence()
        self._aside.mkdir()
        try:
            write_list(self._aside, COMMAND, {})
            yield
        except BaseException:
            self._list_evidence()
            raise
        finally:
            shutil.rmtree(self._aside, ignore_errors=True)

    def _foreign_evidence(self) -> list[str]:
        """Name what lies where the reasons of a failure go, and is none that an export left."""
        listed = read_list(self.failed, COMMAND)
        if listed is not None:
            return find_others(self.failed, EVIDENCE, listed)
        names = find_files(self.failed)
        try:
            # Earlier versions kept no list.
            ours = "int8_tried" in read_json(self.failed / REPORT) and set(names) <= set(EVIDENCE)
        except UserError:
            ours = False
        return [] if ours else [name for name in names if name in (*EVIDENCE, LIST)]

    def _remove_evidence(self) -> None:
        """Remove what an earlier failure left, and nothing else that lies there."""
        for name in (*EVIDENCE, LIST):
            (self.failed / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            self.failed.rmdir()

    def _list_evidence(self) -> None:
        """List the reasons that this export left, so that the next one may remove them."""
        left = [name for name in EVIDENCE if (self.failed / name).exists()]
        if left:
            # On a full disk the failure itself must be told, and not this one.
            with contextlib.suppress(OSError, UserError):
                write_list(self.failed, COMMAND, list_files(self.failed, left))

    def _move_in(self) -> None:
        names = [name for name in find_files(self._aside) if name not in (EMPTY, LIST)]
        write_list(self._aside, COMMAND, list_files(self._aside, names))
        _flush(self._aside)
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


def _flush(folder: Path) -> None:
    """Force every file of a folder onto the disk, so that a power cut finds none half there."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())
