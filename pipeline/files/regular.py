"""Only regular files are opened."""

import errno
import os
import stat
from pathlib import Path
from typing import BinaryIO


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
