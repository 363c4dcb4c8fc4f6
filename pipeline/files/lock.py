"""A lock that ends with its process."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

from pipeline.errors import UserError
from pipeline.files.whole import refuse_link


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
