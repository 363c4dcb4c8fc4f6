"""Images that a CSV names are left out: its lines are read before any image is, then found in the table."""

import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.data.class_names import list_classes, on_a_terminal, shown
from pipeline.data.folders.layout import real_path
from pipeline.errors import UserError, printable, received
from pipeline.files.csv_file import parse_csv, to_csv
from pipeline.files.regular import open_regular

if TYPE_CHECKING:
    import numpy as np

    from pipeline.data.splits import Splits
    from pipeline.data.table import Source

FILE_COLUMNS = ("path", "file")
ROW_COLUMN, LABEL_COLUMN = "row", "label"

SHOWN_NAMES = 3
"""How many names that are no image's are shown."""

DELIMITERS = ",;\t"
"""What parts the cells: spreadsheets write a semicolon where the comma is the decimal sign."""


@dataclass(frozen=True)
class Line:
    """One image of a list.

    Attributes:
        number: of the line among those that are not blank, the header being 1.
        name: its file, or its row as text.
        label: the class that the list tells; None where it tells none.
    """

    number: int
    name: str
    label: str | None


@dataclass(frozen=True)
class Excluded:
    """What is left out of a run's splits.

    Attributes:
        list_path: the CSV.
        rows: split -> int64 rows of the table that would be in it.
        unmatched: names of the list that are no image's.
        text: CSV that names the same images, wherever the data is moved to.
    """

    list_path: Path
    rows: dict[str, "np.ndarray"]
    unmatched: tuple[str, ...]
    text: str


def read_exclusions(path: Path, *, by_file: bool) -> list[Line]:
    """Read a CSV as the evaluation writes `label_errors.csv`, or as a spreadsheet saves it again.

    Args:
        path: the CSV, in UTF-8; parted by commas, semicolons or tabs.
        by_file: whether images are files, of the column `path` or `file`, or go by the column `row`.

    Raises:
        UserError: it cannot be read, is no such text, lacks the column, or a line names nothing.
    """
    try:
        with open_regular(path) as file:
            text = file.read().decode("utf-8-sig")
    except OSError as error:
        raise UserError(f"--exclude must be a readable CSV; {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UserError(
            f"--exclude must be text in UTF-8; {path} is not (a spreadsheet calls it CSV UTF-8)"
        ) from None
    columns = FILE_COLUMNS if by_file else (ROW_COLUMN,)
    try:
        header, rows = _parse(text, columns)
    except csv.Error as error:
        raise UserError(f"--exclude must be a CSV; {path}: {error}") from None
    column = next((name for name in columns if name in header), None)
    if column is None:
        found = ", ".join(map(on_a_terminal, filter(None, header))) or "nothing"
        raise UserError(
            f"--exclude must be a CSV with a column {' or '.join(columns)} in its first line; {path} "
            f"has {found}"
        )
    lines = []
    for number, row in enumerate(rows, 2):
        cells = dict(zip(header, row, strict=False))
        if not cells.get(column):
            raise UserError(
                f"--exclude must name an image in each line; line {number} of {path} has no {column}"
            )
        lines.append(Line(number, cells[column], cells.get(LABEL_COLUMN)))
    return lines


def _parse(text: str, columns: tuple[str, ...]) -> tuple[list[str], list[list[str]]]:
    """Return the header in lower case and the other rows, without blank ones."""
    header: list[str] = []
    for delimiter in DELIMITERS:
        rows = [row for row in parse_csv(text, delimiter) if any(cell.strip() for cell in row)]
        names = [name.strip().lower() for name in rows[0]] if rows else []
        if set(columns) & set(names):
            return names, rows[1:]
        header = header or names
    return header, []


def find_excluded(path: Path, source: "Source", data: str, splits: "Splits") -> Excluded:
    """Find the images of a list in the table.

    A name is that of the image whose path below the folder it has or ends with, after the folder's
    own name: so a list holds from whatever directory it is read, and after the folder was moved.

    Args:
        path: the list.
        source: the table.
        data: where it is from, as the settings name it.
        splits: as they are drawn without a list.

    Raises:
        UserError: see `read_exclusions`; or all its names are no image's, or its rows are not of this table.
    """
    import numpy as np

    lines = read_exclusions(path, by_file=bool(source.paths))
    folder = Path(data.removeprefix("folder:"))
    find = _find_files(lines, source, folder, path) if source.paths else _find_rows(lines, source, path)
    rows, unmatched, text = find
    excluded = {name: np.intersect1d(of, np.array(rows, np.int64)) for name, of in vars(splits).items()}
    return Excluded(path, excluded, unmatched, text)


def describe_excluded(excluded: Excluded, source: "Source") -> str:
    """Say how many images a list leaves out, by split and class, and what of it is no image's."""
    count = sum(map(len, excluded.rows.values()))
    text = f"{count:,} image{'s' * (count != 1)} of {excluded.list_path}"
    if parts := [
        f"{split} {len(rows):,} ({_list_present(source, rows)})"
        for split, rows in excluded.rows.items()
        if len(rows)
    ]:
        text += f": {', '.join(parts)}"
    if len(excluded.rows["test"]):
        text += "; so test is not that of a run without the list"
    if excluded.unmatched:
        shown_names = ", ".join(map(received, excluded.unmatched[:SHOWN_NAMES]))
        more = ", ..." * (len(excluded.unmatched) > SHOWN_NAMES)
        text += f"; {len(excluded.unmatched):,} of its names are no image's: {shown_names}{more}"
    return text


def _list_present(source: "Source", rows: "np.ndarray") -> str:
    """List the classes that the rows are of."""
    import numpy as np

    present, numbers = np.unique(source.labels[rows], return_inverse=True)
    return list_classes([source.class_names[label] for label in present], numbers)


Found = tuple[list[int], tuple[str, ...], str]
"""Rows of the table, names that match nothing, and a CSV of those that do."""


def _find_files(lines: list[Line], source: "Source", folder: Path, path: Path) -> Found:
    root = shown(real_path(folder))
    below = f"{root.rstrip('/')}/"
    row_of = {file.removeprefix(below): row for row, file in enumerate(source.paths)}
    left_out = {file.removeprefix(below) for file, _ in source.problems}
    folder_names = {os.path.basename(root), folder.name} - {""}

    def below_folder(name: str) -> str | None:
        """The path below the folder that is meant, of an image or of a file that is left out anyhow."""
        parts = os.path.normpath(name).split("/")
        behind = [place + 1 for place, part in enumerate(parts) if part in folder_names]
        ends = ["/".join(parts[place:]) for place in [0, *behind]]
        return next((end for end in ends if end in row_of or end in left_out), None)

    meant = {line.name: below_folder(line.name) for line in lines}
    unmatched = tuple(name for name, end in meant.items() if end is None)
    if lines and len(unmatched) == len(meant):
        raise UserError(
            f"--exclude must name images of {source.name}; none of the {len(meant):,} of {path} is, "
            f"the first is {received(unmatched[0])}"
        )
    found = sorted({end for end in meant.values() if end in row_of})
    text = to_csv([[FILE_COLUMNS[0]], *([name] for name in found)])
    return [row_of[name] for name in found], unmatched, text


def _find_rows(lines: list[Line], source: "Source", path: Path) -> Found:
    rows = set()
    for line in lines:
        if not (line.name.isdecimal() and line.name.isascii() and len(line.name) <= 18):
            raise UserError(
                f"--exclude must name rows by whole numbers; line {line.number} of {path} has "
                f"{received(line.name)}"
            )
        row = int(line.name)
        if row >= len(source.labels):
            raise UserError(
                f"--exclude must name rows below the {len(source.labels):,} of {source.name}; line "
                f"{line.number} of {path} has {row}"
            )
        label = source.class_names[source.labels[row]]
        if line.label not in (None, label):
            raise UserError(
                f"--exclude must be of the very data; row {row} is labelled {printable(label)!r} in "
                f"{source.name}, and {received(line.label)} in line {line.number} of {path}"
            )
        rows.add(row)
    ordered = sorted(rows)
    named = ([row, source.class_names[source.labels[row]]] for row in ordered)
    return ordered, (), to_csv([[ROW_COLUMN, LABEL_COLUMN], *named])
