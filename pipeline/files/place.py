"""Whether a folder can be made where the user wants it, known before anything is computed for it."""

import os
from pathlib import Path

from pipeline.errors import UserError


def check_can_be_made(folder: Path, name: str) -> None:
    """Refuse a folder that can neither be made nor written into; write nothing.

    Args:
        folder: which may be there already.
        name: the flag that the user gave it by.

    Raises:
        UserError: it, or the nearest above it that there is, is no directory or not writable.
    """
    try:
        nearest = next(path for path in (folder, *folder.parents, Path()) if path.exists())
    except OSError as error:
        raise UserError(f"{name} must be writable; {folder}: {error.strerror}") from None
    if not nearest.is_dir():
        raise UserError(f"{name} must be writable; {folder}: {nearest} is no directory")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise UserError(f"{name} must be writable; {folder}: {nearest} is not")
