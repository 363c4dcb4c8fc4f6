"""A file that is there before anything is written."""

from pathlib import Path

import pytest


@pytest.fixture
def path(tmp_path) -> Path:
    (tmp_path / "file.txt").write_text("old")
    return tmp_path / "file.txt"
