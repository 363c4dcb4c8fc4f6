"""Folders of images that several tests read."""

from pathlib import Path

import pytest

from tests.pipeline.data.folder_samples import save


@pytest.fixture
def root(tmp_path) -> Path:
    """Two classes of four images each."""
    for number in range(8):
        save(tmp_path / "in" / ("cat" if number < 4 else "dog") / f"{number}.png", number)
    return tmp_path / "in"


@pytest.fixture
def split_root(tmp_path) -> Path:
    """Two classes of three images in train, one each in val and test."""
    number = 0
    for split, count in {"train": 3, "val": 1, "test": 1}.items():
        for name in ["cat", "dog"]:
            for _ in range(count):
                save(tmp_path / "in" / split / name / f"{number}.png", number)
                number += 1
    return tmp_path / "in"
