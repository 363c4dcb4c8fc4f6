"""A finished run of digits, and `python -m export` run in this process."""

import contextlib
import io
import json
import os
import shutil
import signal
import subprocess
import venv
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

import pytest

ENOUGH = 0.95
"""Test accuracy from which a run is good: quantisation must have something to lose."""


@pytest.fixture(autouse=True)
def _own_signals():
    """Both command lines turn SIGTERM into an interrupt."""
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """A finished run, for reading only; whoever changes it takes `own_run`."""
    import keras

    import train

    run_dir = tmp_path_factory.mktemp("finished") / "run"
    # Shifted by a pixel, digits of 8 x 8 pixels take far longer to learn.
    settings = ["--width", "8", "--epochs", "8", "--crop-padding", "0", "--devices", "cpu"]
    before, policy = signal.getsignal(signal.SIGTERM), keras.config.dtype_policy()
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            assert train.main(["digits", *settings, "--run-dir", str(run_dir)]) == 0
    finally:
        signal.signal(signal.SIGTERM, before)
        keras.config.set_dtype_policy(policy)
    metrics = json.loads((run_dir / "metrics.json").read_text())
    assert metrics["test"]["accuracy"] > ENOUGH
    return run_dir


@pytest.fixture
def own_run(digits_run, tmp_path) -> Path:
    """A copy of the finished run that a test may change and export into."""
    return shutil.copytree(digits_run, tmp_path / "run", ignore=shutil.ignore_patterns("plots"))


class Outcome(NamedTuple):
    """Exit code, stdout and stderr of a command."""

    code: int
    printed: str
    error: str


@pytest.fixture(scope="session")
def export() -> Callable[..., Outcome]:
    """`python -m export` in this process."""
    from export.__main__ import main

    def run(*arguments: str | os.PathLike) -> Outcome:
        printed, error = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(error):
            code = main([str(argument) for argument in arguments])
        return Outcome(code, printed.getvalue(), error.getvalue())

    return run


@pytest.fixture
def untimed(monkeypatch) -> None:
    """Leave out the measuring of speed: its processes take longer than a small conversion."""
    from export import exporter, int8
    from export.benchmark import Latency

    latency = Latency(1, 1.0, 1.0, 1.0, 1.0, 1.0, 1000.0, None, 1, 1, 1)
    for module in (exporter, int8):
        monkeypatch.setattr(module, "measure_file", lambda *_, **__: latency)


@pytest.fixture
def without_micro(monkeypatch) -> None:
    """Leave out TensorFlow Lite Micro, as where it is not installed: its process starts slowly."""
    from export import exporter

    monkeypatch.setattr(exporter, "verify_on_micro", lambda *_, **__: "left out by this test")


@pytest.fixture(scope="session")
def float32(digits_run, tmp_path_factory) -> bytes:
    """The finished run as a float32 .tflite file."""
    import keras

    from export.converter import Converter
    from export.network import write_single_picture_graph

    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    graph = tmp_path_factory.mktemp("float32") / "graph"
    write_single_picture_graph(network, graph)
    return Converter(graph, [layer.name for layer in network.layers]).float32()


@pytest.fixture
def preconverted(float32, monkeypatch) -> None:
    """Convert the unchanged network once for all tests, which is most of a quick export."""
    from export import exporter

    monkeypatch.setattr(exporter, "write_single_picture_graph", lambda *_: None)
    monkeypatch.setattr(exporter.Converter, "float32", lambda _: float32)


def _contents(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
        # A lock file stays: whoever removed it could take it from under another process.
        if not path.name.endswith(".lock")
    }


@pytest.fixture(scope="session")
def contents() -> Callable[[Path], dict[str, bytes | None]]:
    """Everything below a folder but lock files: path -> bytes, None for a folder."""
    return _contents


@pytest.fixture(scope="session")
def bare_python(tmp_path_factory) -> Path:
    """An interpreter with run.py's packages, of the versions that are here, and no others."""
    folder = tmp_path_factory.mktemp("bare")
    venv.create(folder, with_pip=True)
    pinned = [f"{name}=={version(name)}" for name in ("ai-edge-litert", "numpy", "pillow")]
    pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--retries", "0"]
    result = subprocess.run([*pip, *pinned], capture_output=True, text=True, timeout=600)
    if result.returncode:
        pytest.skip(f"pip cannot install {', '.join(pinned)}: {result.stderr.splitlines()[-1]}")
    return folder / "bin" / "python"
