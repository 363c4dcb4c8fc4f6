"""Files, written whole and read with care: text, JSON, CSV, figures, and locks."""

import contextlib
import csv
import errno
import io
import json
import os
import re
import stat
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

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

JSON_KINDS = {int: "a whole number", float: "a number", str: "text", dict: "an object", list: "a list"}
"""How the types of JSON are called."""

SHOWN = 60
"""Characters that a message shows of a value."""


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


def check_regular(path: Path) -> None:
    """Refuse what is not a file before it is opened: a FIFO or a device may never begin, or never end.

    Raises:
        OSError: it is missing or no regular file.
    """
    mode = path.stat().st_mode
    if stat.S_ISDIR(mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "it is no regular file", str(path))


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file for reading; see `check_regular`."""
    check_regular(path)
    return path.open("rb")


def parse_json(path: Path) -> Any:
    """Read any JSON from a regular file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no JSON in UTF-8, or nested too deep.
    """
    with open_regular(path) as file:
        text = file.read().decode("utf-8")
    try:
        return _with_names_of_today(json.loads(text))
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def read_json(
    path: Path, needed: Collection[str] | Mapping[str, type] = (), of: str = "a run"
) -> dict[str, Any]:
    """Read an object from a JSON file of this or an earlier version.

    Args:
        path: the file.
        needed: names that it must have, `a.b` for the `b` in its `a`; in a mapping, name -> type
            of the value, where `float` is any finite number and `int` a whole one from 0.
        of: what the file is a part of.

    Raises:
        UserError: it is missing, damaged, or lacks a name, or a value is of another type.
    """
    rule = f"{of} must have a whole {path.name}"
    try:
        content = parse_json(path)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).partition("\n")[0]
        raise UserError(f"{rule}; {path}: {reason}") from None
    if not isinstance(content, dict):
        raise UserError(f"{rule}; {path} holds no object")
    verify_fields(content, needed, path, of)
    return content


def verify_fields(
    content: dict[str, Any], needed: Collection[str] | Mapping[str, type], path: Path, of: str = "a run"
) -> None:
    """Hold what was read from `path` to the names and types of `read_json`.

    Raises:
        UserError: a name is missing, or its value of another type.
    """
    rule = f"{of} must have a whole {path.name}"
    if missing := [name for name in needed if _look_up(content, name) is _MISSING]:
        raise UserError(f"{rule}; {path} lacks {', '.join(missing)}")
    if isinstance(needed, Mapping):
        for name, kind in needed.items():
            if not _is_a(value := _look_up(content, name), kind):
                shown = repr(value) if len(repr(value)) <= SHOWN else repr(value)[:SHOWN] + "..."
                raise UserError(f"{rule}; {name} in {path} must be {JSON_KINDS[kind]}, not {shown}")


_MISSING = object()


def _look_up(content: Any, name: str) -> Any:
    for part in name.split("."):
        if not isinstance(content, dict) or part not in content:
            return _MISSING
        content = content[part]
    return content


def _is_a(value: Any, kind: type) -> bool:
    if kind is float:
        return type(value) in (int, float) and abs(value) <= sys.float_info.max
    if kind is int:
        return type(value) is int and value >= 0
    return isinstance(value, kind)


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
