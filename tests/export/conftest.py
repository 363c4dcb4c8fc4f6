"""Networks to export, and `python -m export` in this process."""

import functools
import venv
from collections.abc import Callable
from importlib.metadata import distribution
from pathlib import Path

import keras
import pytest
from packaging.requirements import Requirement

from export.bundle.directory import BundleDirectory
from pipeline.tflite.file import TFLiteFile
from tests.commands import Outcome, run_command
from tests.quick_export import leave_out_micro, leave_out_timing


@pytest.fixture
def directory(tmp_path) -> BundleDirectory:
    """A bundle's place, of which not even the parent is there."""
    return BundleDirectory(tmp_path / "runs" / "one" / "export")


@pytest.fixture(scope="session")
def export() -> Callable[..., Outcome]:
    """`python -m export` in this process."""
    from export.__main__ import main

    return functools.partial(run_command, main)


@pytest.fixture
def untimed(monkeypatch) -> None:
    """Leave out the measuring of speed: its processes take longer than a small conversion."""
    leave_out_timing(monkeypatch)


@pytest.fixture
def without_micro(monkeypatch) -> None:
    """Leave out TensorFlow Lite Micro, as where it is not installed: its process starts slowly."""
    leave_out_micro(monkeypatch)


@pytest.fixture(scope="session")
def digits_float32(digits_run, converter_of) -> TFLiteFile:
    """The finished run as a float32 .tflite file."""
    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    return converter_of(network).float32()


@pytest.fixture
def preconverted(digits_float32, monkeypatch) -> None:
    """Convert the unchanged network once for all tests, which is most of a quick export."""
    from export import export as exporter

    monkeypatch.setattr(exporter, "write_single_image_graph", lambda *_: None)
    monkeypatch.setattr(exporter.Converter, "float32", lambda _: digits_float32)


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory) -> Path:
    """An interpreter with run.py's packages and those that they require, and no others."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder)
    (site,) = folder.glob("lib/python*/site-packages")
    wanted = ["ai-edge-litert", "numpy", "pillow"]
    for package in map(distribution, wanted):
        for name in {path.parts[0] for path in package.files} - {"..", "__pycache__"}:
            (site / name).symlink_to(package.locate_file(name))
        required = map(Requirement, package.requires or ())
        needed = {r.name for r in required if not r.marker or r.marker.evaluate({"extra": ""})}
        wanted += sorted(needed - set(wanted))
    return folder / "bin" / "python"
