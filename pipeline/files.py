"""Files, written whole and read with care: text, JSON, CSV, figures, and locks."""

import contextlib
import csv
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from filelock import FileLock, Timeout

from pipeline.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

EARLIER_NAMES = {
    "pictures": "images",
    "picture": "image",
    "test_pictures": "test_images",
    "validation_pictures": "validation_images",
}
"""What earlier versions called an entry of their JSON files -> what it is called now."""


FORMULA = re.compile("'*[=+@\\t\\r\\n\uff1d\uff0b\uff0d\uff20-]")
"""What a formula begins with in a spreadsheet, in full width too, behind any number of apostrophes
(OWASP, CSV Injection)."""

NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk and move it into place.

    Whoever reads `path` sees the old file or the new one, never a part, whatever kills the
    writer. The file beside it has the same ending.

    Raises:
        UserError: the file could not be written, for example on a full disk.
    """
    aside = path.with_name(f".aside-{path.name}")
    try:
        write(aside)
        with aside.open("rb+") as file:
            os.fsync(file.fileno())
        aside.replace(path)
        directory = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except OSError as error:
        with contextlib.suppress(OSError):
            aside.unlink()
        raise UserError(f"{path} must be writable; {error.strerror or error}") from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; see `write_whole`."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def to_json(content: Any) -> str:
    """Return `content` as JSON that every reader takes.

    Raises:
        ValueError: a number is infinite or not a number, for which JSON has no word.
    """
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, content: Any) -> None:
    """Write `to_json(content)`; see `write_whole`."""
    write_text(path, to_json(content))


def write_csv(path: Path, rows: Iterable[Iterable[Any]]) -> None:
    """Write rows, the header first; see `write_whole`.

    Text that a spreadsheet would run as a formula has an apostrophe before it, which `read_csv`
    takes away again; numbers stay as they are.
    """

    def write(aside: Path) -> None:
        with aside.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([_as_text(cell) for cell in row] for row in rows)

    write_whole(path, write)


def read_csv(path: Path) -> list[dict[str, str]]:
    """Read the rows of a file of `write_csv`, by the names of its header."""
    with path.open(newline="", encoding="utf-8") as file:
        header, *rows = (
            [cell[1:] if FORMULA.match(cell) and cell.startswith("'") else cell for cell in row]
            for row in csv.reader(file)
        )
    return [dict(zip(header, row, strict=False)) for row in rows]


def _as_text(cell: Any) -> Any:
    """Put an apostrophe before text that begins a formula, behind apostrophes or not."""
    is_formula = isinstance(cell, str) and FORMULA.match(cell) and not NUMBER.fullmatch(cell)
    return f"'{cell}" if is_formula else cell


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure of matplotlib as PNG; see `write_whole`."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    write_whole(path, lambda aside: figure.savefig(aside, format="png", dpi=120))


def read_json(path: Path, needed: Collection[str] = (), of: str = "a run") -> dict[str, Any]:
    """Read an object from a JSON file of this or an earlier version.

    Args:
        path: the file.
        needed: names that it must have.
        of: what the file is a part of.

    Raises:
        UserError: it is missing, damaged, or lacks a name.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{of} must have a whole {path.name}; {path}: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{of} must have a whole {path.name}; {path} holds no object")
    content = _with_names_of_today(content)
    if missing := [name for name in needed if name not in content]:
        raise UserError(f"{of} must have a whole {path.name}; {path} lacks {', '.join(missing)}")
    return content


def _with_names_of_today(content: Any) -> Any:
    """Rename what earlier versions called otherwise, at any depth."""
    if isinstance(content, dict):
        return {EARLIER_NAMES.get(key, key): _with_names_of_today(value) for key, value in content.items()}
    return [_with_names_of_today(item) for item in content] if isinstance(content, list) else content


@contextlib.contextmanager
def hold_lock(path: Path, busy: str) -> Iterator[None]:
    """Hold a lock file, which the end of the process releases too, even SIGKILL.

    Args:
        path: of the lock file.
        busy: the message where another process holds it.

    Raises:
        UserError: another process holds it.
        OSError: it cannot be written.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(busy) from None
    try:
        yield
    finally:
        lock.release()
