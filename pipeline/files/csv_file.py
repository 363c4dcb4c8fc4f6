"""CSV that a spreadsheet opens and does not run."""

import csv
import io
import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from pipeline.files.whole import write_whole

FORMULA = re.compile("'*[=+@\\t\\r\\n\uff1d\uff0b\uff0d\uff20-]")
"""What a formula begins with in a spreadsheet, in full width too, behind any number of apostrophes
(OWASP, CSV Injection)."""

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


def to_csv(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows, the header first, as CSV.

    Text that a spreadsheet would run as a formula has an apostrophe before it, which `read_csv`
    takes away again; numbers stay as they are.
    """
    text = io.StringIO(newline="")
    csv.writer(text).writerows([_as_text(cell) for cell in row] for row in rows)
    return text.getvalue()


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write `to_csv(rows)` in UTF-8; see `write_whole`."""
    write_whole(path, partial(Path.write_bytes, data=to_csv(rows).encode()))


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file of `to_csv`, by the names of its header."""
    header, *rows = parse_csv(path.read_bytes().decode())
    return [dict(zip(header, row, strict=False)) for row in rows]


def parse_csv(text: str, delimiter: str = ",") -> list[list[str]]:
    """Part text of `to_csv` into the cells of its rows.

    Args:
        text: with its own ends of lines.
        delimiter: between two cells.

    Raises:
        csv.Error: it is no CSV.
    """
    return [
        [cell[1:] if FORMULA.match(cell) and cell.startswith("'") else cell for cell in row]
        for row in csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    ]


def _as_text(cell: Any) -> Any:
    """Put an apostrophe before text that begins a formula, behind apostrophes or not."""
    is_formula = isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell
