"""Zip archives, which both Keras and PyTorch write."""

import zipfile
from pathlib import Path


def check_archive(path: Path) -> None:
    """Hold a zip archive to its checksums, which neither Keras nor PyTorch looks at.

    Raises:
        BadZipFile: it is damaged; damaged weights would be weights still.
    """
    with zipfile.ZipFile(path) as archive:
        if damaged := archive.testzip():
            raise zipfile.BadZipFile(f"{damaged} in it is damaged")
