"""Files are written aside, flushed to the disk and moved into place: old or new, never a part."""

import contextlib
import os
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline.errors import UserError

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_whole(path: Path, write: Callable[[Path], Any]) -> None:
    """Let `write` fill a file beside `path`, flush it to the disk and move it into place.

    Whoever reads `path` sees the old file or the new one, never a part, whatever kills the
    writer. The file beside it has the same ending.

    Raises:
        UserError: the file could not be written, for example on a full disk, or is a link.
    """
    write_together({path: write})


def try_to_write(path: Path, name: str) -> None:
    """Find out whether `write_whole` can begin, before anything is computed for it; leave nothing.

    Args:
        path: the file.
        name: the flag that the user gave it by.

    Raises:
        UserError: no file can be made there.
    """
    aside = _aside(path)
    try:
        _create_anew(aside)
        aside.unlink()
    except OSError as error:
        raise UserError(f"{name} must be writable; {path}: {error.strerror}") from None


def write_together(writers: Mapping[Path, Callable[[Path], Any]]) -> None:
    """Write several files as `write_whole` does; the first moves once all are on the disk.

    Raises:
        UserError: one could not be written, or is a link; all are as they were.
    """
    asides = {path: _aside(path) for path in writers}
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


def _aside(path: Path) -> Path:
    return path.with_name(f".aside-{path.name}")


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


def flush_files(folder: Path) -> None:
    """Force every file of a folder onto the disk, so that a power cut finds none half there."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb+") as file:
                os.fsync(file.fileno())


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text; see `write_whole`."""
    write_whole(path, lambda aside: aside.write_text(text, encoding="utf-8"))


def write_figure(path: Path, figure: "Figure") -> None:
    """Write a figure of matplotlib as PNG; see `write_whole`.

    What no font here has the shape of, as of a class's name, is drawn as an empty box.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        write_whole(path, lambda aside: figure.savefig(aside, format="png", dpi=120))
