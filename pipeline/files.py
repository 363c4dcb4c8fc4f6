"""Files, written whole and read with care: text, JSON, CSV, figures, and locks."""

import contextlib
import csv
import io
import json
import os
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
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
        UserError: the file could not be written, for example on a full disk, or is a link.
    """
    write_together({path: write})


def write_together(writers: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write several files as `write_whole` does; the first moves once all are on the disk.

    Raises:
        UserError: one could not be written, or is a link; all are as they were.
    """
    asides = {path: path.with_name(f".aside-{path.name}") for path in writers}
    with contextlib.ExitStack() as leftovers:
        for path, aside in asides.items():
            with _writable(path):
                refuse_link(path)
                _create_anew(aside)
                leftovers.callback(_remove_if_there, aside)
                writers[path](aside)
                with aside.open("rb+") as file:
                    os.fsync(file.fileno())
        for path, aside in asides.items():
            with _writable(path):
                aside.replace(path)
        for folder in {path.parent for path in writers}:
            with _writable(folder):
                _flush_names(folder)


@contextlib.contextmanager
def _writable(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{path} must be writable; {error.strerror or error}") from error


def refuse_link(path: Path) -> None:
    """Refuse a symbolic link where something of ours is written: it may lead anywhere.

    Raises:
        UserError: `path` is one.
    """
    if os.path.islink(path):
        raise UserError(f"what is written must be no link; {path} leads to {os.readlink(path)}")


def _create_anew(aside: Path) -> None:
    """Create an empty file, in place of what a killed writer left.

    Whoever made a run may have put a link there, or a second name of a file elsewhere.
    """
    refuse_link(aside)
    aside.unlink(missing_ok=True)
    os.close(os.open(aside, os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_WRONLY, 0o666))


def _remove_if_there(path: Path) -> None:
    with contextlib.suppress(OSError):
        path.unlink()


def _flush_names(folder: Path) -> None:
    """Force the names in a folder onto the disk."""
    directory = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


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
        UserError: another process holds it, or it is a link.
        OSError: it cannot be written.
    """
    refuse_link(path)
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        raise UserError(busy) from None
    try:
        yield
    finally:
        lock.release()
