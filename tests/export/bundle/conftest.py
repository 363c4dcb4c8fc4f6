"""What an export found, its report, and the folder and images of a failure."""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib.figure import Figure

from export.bundle import failure, plots
from export.bundle.failure import write_failure
from export.bundle.report import Findings, Int8, build_report, describe_tried
from export.quantize.calibration_images import CalibrationImages
from export.quantize.search import Tried
from export.quantize.stability import Halves
from export.quantize.strategies import Strategy
from export.request import parse_export_request
from export.verify.micro import MicroResult
from export.verify.pixels import DevicePixels
from pipeline.config.presets import preset
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.data.table import ArrayImages, Source
from pipeline.finished_run import FinishedRun
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import TFLiteFile
from tests.export.bundle.samples import ERRORS, KERAS, LABELS, NAMES, comparison, latency


@pytest.fixture(scope="session")
def run(tmp_path_factory) -> FinishedRun:
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(5, 3, activation="relu", name="conv1")(pixels)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(4, name="head")(x), name="small")
    nothing = np.zeros(0, np.int64)
    source = Source("digits", NAMES, LABELS, np.zeros((10, 1), np.uint8), ArrayImages(None), {})
    data = PreparedData(source, Splits(nothing, nothing, nothing, nothing), 8)
    config = preset("digits").with_values({"seed": 3, "width": 16, "image_size": 8})
    metrics = {"parameters": 1234567, "multiply_adds": 89012, "test": {"accuracy": 0.9}}
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "digits-1")
    return FinishedRun(directory, config, network, data, metrics, {"test": {"images": 10}})


@pytest.fixture(scope="session")
def float32(run, converter_of) -> TFLiteFile:
    return converter_of(run.network).float32()


@pytest.fixture
def found(float32) -> Findings:
    """Of two files, of which int8 is the smaller; what is in them is all the same here."""
    files = {"float32": replace(float32, content=float32.content + bytes(2048)), "int8": float32}
    split, more = (
        CalibrationImages(np.zeros((count, 8, 8, 3), np.uint8), letter * 64, 2)
        for count, letter in ((10, "e"), (40, "f"))
    )
    kept = Strategy(more, "int8", "least squared error", ("conv1", "pool"))
    tried = [
        Tried(Strategy(split, "int8"), float32, comparison(), 0.5),
        Tried(kept, float32, comparison(KERAS), 0.75),
    ]
    return Findings(
        calibration=split,
        files=files,
        differences={"saved_model": 1e-6, "float32": 2e-6},
        comparisons={"float32": comparison(KERAS), "int8": comparison()},
        device_pixels=DevicePixels(32, 1),
        int8=Int8(
            tried,
            tried[1],
            Halves((20, 20), 0.0123, 0.0456, "conv1", 0.875, (0.8, 0.7)),
            None,
            MicroResult(40, 10240, 1024),
        ),
        latencies={"float32": [latency(0.5), latency(0.25, 2)], "int8": [latency(0.125)]},
        on_test={"keras": 1, "float32": 1, "int8": 1},
    )


@pytest.fixture
def report(run, found) -> dict:
    request = parse_export_request(["runs/digits-1", "--output", "probabilities"])
    return {**build_report(request, run, found), "c_source": None, "c_name": None}


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that were saved."""
    drawn = []
    write = failure.write_figure

    def write_and_keep(path: Path, figure: Figure) -> None:
        drawn.append(figure)
        write(path, figure)

    for module in (failure, plots):
        monkeypatch.setattr(module, "write_figure", write_and_keep)
    return drawn


@pytest.fixture
def failed(found, tmp_path) -> Path:
    folder = tmp_path / "run" / "export-failed"
    folder.mkdir(parents=True)
    write_failure(folder, [describe_tried(tried, 0.5) for tried in found.int8.tried], ERRORS)
    return folder
