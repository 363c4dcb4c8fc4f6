"""A run with an export, which answers."""

import shutil
from pathlib import Path

import pytest

from pipeline.prediction.model_file import find_export, find_model
from serving.answers import Network, load_networks


@pytest.fixture(scope="session")
def exported_run(digits_run, digit_bundle, tmp_path_factory) -> Path:
    """The finished run with its float32 and int8 files; for reading only."""
    run = tmp_path_factory.mktemp("exported") / "run"
    shutil.copytree(digits_run, run, ignore=shutil.ignore_patterns("plots", "checkpoints"))
    shutil.copytree(digit_bundle, run / "export")
    return run


@pytest.fixture(scope="session")
def networks(exported_run) -> list[Network]:
    """The Keras network, and the int8 file beside it."""
    return load_networks([find_model(str(exported_run)), find_export(str(exported_run))])
