"""The place of a report: what lies where, and whether an earlier report still holds."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.errors import UserError
from pipeline.files.json_file import read_json, to_json
from pipeline.files.own_files import (
    LIST,
    find_others,
    is_regular,
    list_files,
    read_list,
    sha256,
    shown,
    write_list,
)
from pipeline.files.place import check_can_be_made
from pipeline.files.whole import refuse_link, write_together
from pipeline.tflite.file import crc32

MADE_BY = "python -m evaluation"

REPORT, PAGE, PREDICTIONS, LABEL_ERRORS = "report.json", "report.html", "predictions.csv", "label_errors.csv"

COMPARISON, COMPARISON_PAGE = "comparison.json", "comparison.html"


@dataclass(frozen=True)
class ReportDirectory:
    """Where a report goes, or a comparison.

    Attributes:
        path: the directory.
        names: of the files that are written into it, as they are told to the user.
        figures: which of them has the figures, and in every version says who made it.
    """

    path: Path
    names: tuple[str, ...] = (PAGE, REPORT, PREDICTIONS, LABEL_ERRORS)
    figures: str = REPORT

    @property
    def report(self) -> Path:
        """Every figure."""
        return self.path / REPORT

    @property
    def predictions(self) -> Path:
        """What each network answers for each image of test."""
        return self.path / PREDICTIONS

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return tuple(self.path / name for name in self.names)

    def check(self) -> None:
        """Refuse to overwrite what no evaluation wrote, or what was changed since; write nothing.

        Raises:
            UserError: such files are here, or the directory cannot be made.
        """
        refuse_link(self.path)
        check_can_be_made(self.path, "--out")
        if others := self._others():
            raise UserError(
                f"--out must be new or hold an earlier evaluation; {self.path} holds what no "
                f"evaluation wrote, or what was changed since: {shown(others)}"
            )

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Create the directory; leave none where there was none and nothing was written.

        Raises:
            UserError: it cannot be created, or holds files of these names that are not an evaluation's.
        """
        try:
            self.check()
            existed = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
            # Before all is measured: only a file tells whether there can be one.
            with tempfile.TemporaryFile(dir=self.path):
                pass
        except OSError as error:
            raise UserError(f"--out must be writable; {self.path}: {error.strerror}") from None
        try:
            yield
        finally:
            if not existed:
                with contextlib.suppress(OSError):
                    self.path.rmdir()

    def _others(self) -> list[str]:
        listed = read_list(self.path, MADE_BY)
        if listed is not None:
            return find_others(self.path, self.names, listed)
        there = [name for name in (*self.names, LIST) if os.path.lexists(self.path / name)]
        # Earlier versions kept no list.
        ours = (self._read() or {}).get("made_by") == MADE_BY
        return [name for name in there if not (ours and name != LIST and is_regular(self.path / name))]

    def _read(self) -> dict[str, Any] | None:
        """Read the report; None where there is none, or half of one."""
        try:
            return read_json(self.path / self.figures)
        except UserError:
            return None

    def made_of(self) -> dict[str, Any]:
        """Return what the report that is here was made of; nothing where there is none."""
        made_of = (self._read() or {}).get("made_of")
        return made_of if isinstance(made_of, dict) else {}

    def earlier(self, made_of: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the report that is here, if it was made of the same files in the same way.

        Args:
            made_of: what a report would be made of now.
        """
        report = self._read()
        if not report or not {"made_of", "written", "networks"} <= set(report):
            return None
        # In its own words: what JSON makes of a tuple is a list.
        now = json.loads(to_json(made_of))
        return report if report["made_of"] == now and report["written"] == self._checksums() else None

    def write(self, contents: Mapping[str, str]) -> None:
        """Write files together: where one cannot be, all are as they were.

        Args:
            contents: text of each of the `names`.

        Raises:
            UserError: the disk is full, or the like, or somebody has put such a file there meanwhile.
        """
        self.check()
        new = {name: text.encode() for name, text in contents.items()}
        now = list_files(self.path, [name for name in new if (self.path / name).exists()])
        later = {name: [sha256(content)] for name, content in new.items()}
        # Whatever kills this, each file is one of the two that the list has of it.
        kept = read_list(self.path, MADE_BY) or {}
        both = {name: [*now.get(name, []), *digests] for name, digests in later.items()}
        write_list(self.path, MADE_BY, {**kept, **both})
        write_together(
            {self.path / name: partial(Path.write_bytes, data=content) for name, content in new.items()}
        )
        write_list(self.path, MADE_BY, {**kept, **later})

    def _checksums(self) -> dict[str, str]:
        """CRC-32 of each file beside the report, by its name."""
        beside = [path for path in self.files if path != self.report and is_regular(path)]
        return {path.name: crc32(path.read_bytes()) for path in beside}


def comparison_directory(path: Path) -> ReportDirectory:
    """Return the place of a comparison."""
    return ReportDirectory(path, (COMPARISON_PAGE, COMPARISON), COMPARISON)


def with_checksums(report: Mapping[str, Any], beside: Mapping[str, str]) -> str:
    """Return a report as JSON, with the CRC-32 of each file that is written beside it.

    Args:
        report: the figures.
        beside: name -> text.

    Raises:
        ValueError: a figure is infinite or not a number.
    """
    return to_json({**report, "written": {name: crc32(text.encode()) for name, text in beside.items()}})
