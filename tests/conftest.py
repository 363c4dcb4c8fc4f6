"""What all tests share: two logical CPUs, to try mirroring on any machine, and a finished run."""

import gc
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from pipeline.console.quiet_start import load_tensorflow_quietly
from tests.commands import run_command

# `nohup` and a shell's background jobs ignore them, and so would whatever a test starts.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)

# What tests find out about their images is not kept among the user's own.
_kept = tempfile.TemporaryDirectory(prefix="kept")
os.environ["XDG_CACHE_HOME"] = _kept.name
# Matplotlib would look through all fonts anew there.
os.environ.setdefault("MPLCONFIGDIR", os.path.expanduser("~/.cache/matplotlib"))

# A fifth of the suite's time, where it is done as often as by default.
gc.set_threshold(100_000, 20, 100)
load_tensorflow_quietly()

import tensorflow as tf  # noqa: E402

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
)


def pytest_collection_finish() -> None:
    """Never look for garbage among the libraries' million objects."""
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def _same_dtype_policy_before_and_after():
    """A test that changes the global dtype policy and fails must not change the next test."""
    import keras

    before = keras.config.dtype_policy()
    yield
    keras.config.set_dtype_policy(before)


@pytest.fixture(autouse=True)
def _own_signals():
    """Every command line turns SIGTERM and SIGHUP into an interrupt."""
    numbers = (signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


ENOUGH = 0.95
"""Test accuracy from which a run is good: quantisation must have something to lose."""


@pytest.fixture(scope="session")
def digits_run(tmp_path_factory) -> Path:
    """A finished run, for reading only; whoever changes it takes `own_run`.

    The first of the processes that share the tests trains it for all.
    """
    import keras

    import train

    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    run_dir = shared / "finished" / "run"
    # Shifted by a pixel, digits of 8 x 8 pixels take far longer to learn.
    settings = "digits --model resnet8 --width 12 --epochs 8 --crop-padding 0 --devices cpu --run-dir"
    before, policy = signal.getsignal(signal.SIGTERM), keras.config.dtype_policy()
    try:
        with FileLock(shared / "finished.lock"):
            if not run_dir.exists():
                assert run_command(train.main, *settings.split(), run_dir).code == 0
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
def converter_of(tmp_path_factory) -> Callable:
    """Network -> the converter of its single-image graph."""
    import keras

    from export.convert.converter import Converter
    from export.convert.network import write_single_image_graph

    def convert(network: keras.Model) -> Converter:
        graph = tmp_path_factory.mktemp("graph")
        write_single_image_graph(network, graph)
        return Converter(graph, [layer.name for layer in network.layers])

    return convert


@pytest.fixture(scope="session")
def trained():
    """A network that dropout and batch statistics would change beyond recognition."""
    import keras
    from keras import layers

    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((6, 9, 3), name="pixels")
    x = layers.Normalization(mean=[120.0] * 3, variance=[4096.0] * 3, name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(x)
    constant = keras.initializers.Constant
    x = layers.BatchNormalization(
        moving_mean_initializer=constant(0.3), moving_variance_initializer=constant(0.5), name="stem_norm"
    )(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    x = layers.Dropout(0.5, seed=0, name="dropout")(x)
    head = layers.Dense(4, bias_initializer="random_uniform", name="head")
    return keras.Model(pixels, head(x), name="net")


@pytest.fixture(scope="session")
def digit_folder(tmp_path_factory) -> Path:
    """Forty digits as PNGs in folders that are called as their classes; for reading only."""
    from tests.prediction_samples import write_digit_folder

    return write_digit_folder(tmp_path_factory.mktemp("digits") / "images")


@pytest.fixture(scope="session")
def digit_bundle(digits_run, converter_of, tmp_path_factory) -> Path:
    """The finished run as float32 and int8 files with what a bundle has beside them; for reading only."""
    import keras

    from tests.prediction_samples import write_digit_bundle

    network = keras.saving.load_model(digits_run / "model.keras", compile=False)
    return write_digit_bundle(tmp_path_factory.mktemp("bundle"), converter_of(network).float32())
