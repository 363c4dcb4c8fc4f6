"""Zip archives, which both Keras and PyTorch write."""

import zipfile
from pathlib import Path


def check_archive(path: Path) -> None:
    """Hold a zip archive to its checksums; damaged weights would be weights still.

    PyTorch looks at none. Keras' reading ends without them where Python's `zipfile` seeks, as it
    does in releases after 3.11.

    Raises:
        BadZipFile: it is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")
