"""What a run's network costs: figures by formula, sizes of files, and the int8 file's stand-in."""

import math

import keras
import numpy as np
import pytest
from keras import layers

from evaluation.metrics import cost
from evaluation.metrics.cost import collect_timed_files, measure_cost
from pipeline.finished_run import FinishedRun
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter
from tests.evaluation.made_up import build_data, build_run, images_of

INT8, FLOAT32 = {"int8": TFLiteFile(b"." * 300)}, {"float32": TFLiteFile(b"." * 900)}


@pytest.fixture(scope="module")
def network() -> keras.Model:
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(4, 3, strides=2, padding="same", use_bias=False, name="stem")(pixels)
    x = layers.ReLU(name="relu")(layers.BatchNormalization(name="norm")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Dense(3, name="head")(x))


@pytest.fixture
def run(network, tmp_path) -> FinishedRun:
    """Train are rows 39 down to 10."""
    splits = {"train": np.arange(39, 9, -1), "test": np.arange(10)}
    made = build_run(tmp_path, build_data(np.arange(40) % 3, splits, "abc"), network)
    network.save(made.directory.model)
    return made


@pytest.fixture
def timed(monkeypatch) -> list[tuple]:
    """What would have been timed; the first takes 1 to 3 ms, the second 2 to 6 ms and so on."""
    measured = []

    def time_files(files, threads, seconds):
        measured.extend((file, images, threads) for file, images in files)
        numbers = range(1, 1 + len(files))
        return ([number * factor for number in numbers] for factor in (3.0, 1.0, 1.5))

    monkeypatch.setattr(cost, "time_in_turns", time_files)
    return measured


def measure(run: FinishedRun, deployed: dict[str, TFLiteFile]) -> dict:
    return measure_cost(run, collect_timed_files(run, deployed))


def test_parameters_and_multiply_adds_by_formula(run, network, timed):
    described = measure(run, INT8)
    # 4 x 4 places of 3 x 3 x 3 to 4 channels, and 4 to 3 classes.
    stem, head = 4 * 4 * 3 * 3 * 3 * 4, 4 * 3
    assert described["multiply_adds"] == stem + head == sum(multiply_adds(network).values())
    assert described["layers"] == [
        {"layer": "stem", "multiply_adds": stem, "share": stem / (stem + head)},
        {"layer": "head", "multiply_adds": head, "share": head / (stem + head)},
    ]
    # Kernel, scale and shift of the norm, and the head with its bias.
    assert described["parameters"] == 3 * 3 * 3 * 4 + 2 * 4 + 4 * 3 + 3
    assert described["parameters"] == count_parameters(network)


def test_files_have_their_bytes_and_their_time(run, timed):
    described = measure(run, FLOAT32 | INT8)
    assert described["threads"] == 1
    assert described["files"] == [
        {
            "network": "keras",
            "file": "model.keras",
            "latency_p50_ms": None,
            "latency_interval_ms": None,
            "preview": False,
            "bytes": len((run.directory.path / "model.keras").read_bytes()),
        },
        {
            "network": "float32",
            "file": "model_float32.tflite",
            "bytes": 900,
            "latency_p50_ms": 1.5,
            "latency_interval_ms": [1.0, 3.0],
            "preview": False,
        },
        {
            "network": "int8",
            "file": "model_int8.tflite",
            "bytes": 300,
            "latency_p50_ms": 3.0,
            "latency_interval_ms": [2.0, 6.0],
            "preview": False,
        },
    ]
    assert [file for file, _, _ in timed] == [FLOAT32["float32"], INT8["int8"]]
    assert {threads for _, _, threads in timed} == {1}
    # The first of train, not of the table.
    for _, images, _ in timed:
        np.testing.assert_array_equal(images, images_of(40)[np.arange(39, 23, -1)])


def test_where_int8_was_not_exported_a_preview_stands_in(run, network, timed):
    described = measure(run, FLOAT32)
    keras_file, float32, int8 = described["files"]
    assert [each["network"] for each in described["files"]] == ["keras", "float32", "int8"]
    assert (keras_file["preview"], float32["preview"], int8["preview"]) == (False, False, True)
    assert (int8["file"], int8["latency_p50_ms"]) == ("model_int8.tflite", 3.0)
    content = timed[1][0].content
    assert int8["bytes"] == len(content)
    model = Interpreter(content)
    assert model.input["dtype"] == model.output["dtype"] == np.int8
    assert math.prod(model.input["shape"]) == 8 * 8 * 3
    assert math.prod(model.output["shape"]) == 3


def test_a_run_that_was_not_exported_at_all(run, timed):
    files = measure(run, {})["files"]
    assert [(each["network"], each["preview"]) for each in files] == [("keras", False), ("int8", True)]
