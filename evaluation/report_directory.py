"""The files of a report: what lies where, and whether an earlier report still holds."""

import contextlib
import csv
import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.data_errors import HeldOut
from evaluation.metrics.answers import Answers
from export.tflite.file import crc32
from pipeline.data.prepare import PreparedData
from pipeline.errors import UserError
from pipeline.files import write_whole

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
            report = json.loads(self.report.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return report if isinstance(report, dict) else None

    def earlier(self, made_of: Mapping[str, Any], whatever: Collection[str] = ()) -> dict[str, Any] | None:
        """Return the report that is here, if it was made of the same files in the same way.

        Args:
            made_of: what a report would be made of now.
            whatever: parts of it that may differ.
        """
        report = self._read()
        if not report or not {"made_of", "written", "networks"} <= set(report):
            return None
        # In its own words: what JSON makes of a tuple is a list.
        now, then = json.loads(json.dumps(made_of)), report["made_of"]
        different = {name for name in {*now, *then} if now.get(name) != then.get(name)}
        same = different <= set(whatever) and report["written"] == self._checksums()
        return report if same else None

    def write(self, report: dict[str, Any], page: str) -> None:
        """Write the page, then the figures.

        Args:
            report: the figures; what was written beside them is added.
            page: of them.

        Raises:
            UserError: the disk is full, or the like.
        """
        json.dumps(report, allow_nan=False)
        # A page of other settings must not stand beside it, should what follows be cut short.
        self.report.unlink(missing_ok=True)
        write_whole(self.page, lambda aside: aside.write_text(page, encoding="utf-8"))
        report["written"] = self._checksums()
        figures = json.dumps(report, indent=2, ensure_ascii=False) + "\n"
        write_whole(self.report, lambda aside: aside.write_text(figures, encoding="utf-8"))

    def _checksums(self) -> dict[str, str]:
        """CRC-32 of each file beside the report, by its name."""
        beside = (self.page, self.predictions, self.label_errors)
        return {path.name: crc32(path.read_bytes()) for path in beside if path.exists()}

    def write_predictions(self, data: PreparedData, answers: Mapping[str, Answers]) -> None:
        """Write a row for each image of test: what it shows and what each network answers.

        Raises:
            UserError: the disk is full, or the like.
        """
        names, rows = data.source.class_names, data.splits.test
        header = ["row", "path", "label"]
        for name in answers:
            header += [f"{name}_predicted", f"{name}_confidence"]

        def write(aside: Path) -> None:
            with aside.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(header)
                for place, row in enumerate(rows.tolist()):
                    cells = [row, data.source.path_of(row), names[data.source.labels[row]]]
                    for answered in answers.values():
                        cells.append(names[answered.predicted[place]])
                        cells.append(f"{answered.confidence[place]:.4f}")
                    writer.writerow(cells)

        write_whole(self.predictions, write)

    def write_label_errors(self, data: PreparedData, held_out: HeldOut) -> None:
        """Write a row for each suspected label, the most suspicious first.

        Raises:
            UserError: the disk is full, or the like.
        """
        names, suspects = data.source.class_names, held_out.suspects

        def write(aside: Path) -> None:
            with aside.open("w", newline="", encoding="utf-8") as file:
                writer = csv.writer(file)
                writer.writerow(["row", "path", "label", "suggested", "margin"])
                for place, suggested, margin in zip(
                    suspects.indices, suspects.suggested, suspects.margins, strict=True
                ):
                    row = held_out.rows[place]
                    cells = [row, data.source.path_of(row), names[data.source.labels[row]]]
                    writer.writerow([*cells, names[suggested], f"{margin:.4f}"])

        write_whole(self.label_errors, write)

    def read_predictions(self, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Return labels and what Keras predicted, int64 [images] each."""
        number = {name: label for label, name in enumerate(class_names)}
        with self.predictions.open(newline="", encoding="utf-8") as file:
            pairs = [(number[row["label"]], number[row["keras_predicted"]]) for row in csv.DictReader(file)]
        labels, predicted = np.array(pairs, np.int64).T
        return labels, predicted
