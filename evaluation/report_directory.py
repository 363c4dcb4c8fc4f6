"""The place of a report: what lies where, and whether an earlier report still holds."""

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.tflite.file import crc32
from pipeline.errors import UserError
from pipeline.files import read_json, to_json, write_json, write_text

MADE_BY = "python -m evaluation"


@dataclass(frozen=True)
class ReportDirectory:
    """Where a report goes.

    Attributes:
        path: the directory.
    """

    path: Path

    @property
    def report(self) -> Path:
        """Every figure; written last, so that where it is the others are too."""
        return self.path / "report.json"

    @property
    def page(self) -> Path:
        """The page for people."""
        return self.path / "report.html"

    @property
    def predictions(self) -> Path:
        """What each network answers for each image of test."""
        return self.path / "predictions.csv"

    @property
    def label_errors(self) -> Path:
        """Images whose labels are probably wrong."""
        return self.path / "label_errors.csv"

    @property
    def files(self) -> tuple[Path, ...]:
        """All of them."""
        return (self.page, self.report, self.predictions, self.label_errors)

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Create the directory; leave none where there was none and nothing was written.

        Raises:
            UserError: it cannot be created, or holds another command's report.
        """
        self._check_is_ours()
        try:
            existed = self.path.exists()
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out must be writable; {self.path}: {error.strerror}") from None
        try:
            yield
        finally:
            if not existed:
                with contextlib.suppress(OSError):
                    self.path.rmdir()

    def _check_is_ours(self) -> None:
        """Refuse to overwrite a report of the same name that something else made."""
        report = self._read()
        if report is not None and report.get("made_by") != MADE_BY:
            raise UserError(
                f"--out must be new or hold an earlier evaluation; {self.report} is another report"
            )

    def _read(self) -> dict[str, Any] | None:
        """Read the report; None where there is none, or half of one."""
        try:
            return read_json(self.report)
        except UserError:
            return None

    def earlier(self, made_of: Mapping[str, Any], ignored: Collection[str] = ()) -> dict[str, Any] | None:
        """Return the report that is here, if it was made of the same files in the same way.

        Args:
            made_of: what a report would be made of now.
            ignored: parts of it that may differ.
        """
        report = self._read()
        if not report or not {"made_of", "written", "networks"} <= set(report):
            return None
        # In its own words: what JSON makes of a tuple is a list.
        now, then = json.loads(to_json(made_of)), report["made_of"]
        different = {name for name in {*now, *then} if now.get(name) != then.get(name)}
        same = different <= set(ignored) and report["written"] == self._checksums()
        return report if same else None

    def write(self, report: Mapping[str, Any], page: str) -> None:
        """Write the page, then the figures, with checksums of all that lies beside them.

        Args:
            report: the figures.
            page: of them.

        Raises:
            UserError: the disk is full, or the like.
            ValueError: a figure is infinite or not a number; nothing was written.
        """
        to_json(report)
        # A page of other settings must not stand beside it, should what follows be cut short.
        self.report.unlink(missing_ok=True)
        write_text(self.page, page)
        write_json(self.report, {**report, "written": self._checksums()})

    def _checksums(self) -> dict[str, str]:
        """CRC-32 of each file beside the report, by its name."""
        beside = [path for path in self.files if path != self.report and path.exists()]
        return {path.name: crc32(path.read_bytes()) for path in beside}
