"""What is told of an export: the report, its tables, the model card, a failure, the pictures."""

import dataclasses
import json
import math
import zlib
from pathlib import Path

import keras
import numpy as np
import pytest
from keras import layers
from matplotlib.figure import Figure
from PIL import Image

from export import failure, plots
from export.benchmark import Latency
from export.command_line import parse_export_request
from export.converter import Converter
from export.failure import write_failure
from export.findings import Findings, Halves, Tried
from export.finished_run import CalibrationPictures, FinishedRun
from export.gate import compare
from export.layer_error import LayerError
from export.micro import MicroResult
from export.model_card import write_card
from export.network import write_single_picture_graph
from export.plots import plot_files
from export.repair import Rung
from export.report import (
    FILES_HEADER,
    TRIED_HEADER,
    build_report,
    describe_tried,
    file_rows,
    markdown_table,
    plain_table,
    to_json,
    tried_row,
)
from pipeline.data.pictures import ArrayPictures, Source
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.presets import preset
from pipeline.run_directory import RunDirectory

NAMES = ("cat", "dog", "owl", "yak")

# Of ten pictures, three a class and none of a yak, Keras knows nine and the converted eight: two
# cats lost, an owl won.
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
KERAS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
CONVERTED = np.array([0, 0, 1, 1, 1, 1, 1, 2, 2, 2])


def comparison(converted: np.ndarray = CONVERTED):
    return compare(LABELS, np.eye(4)[KERAS], np.eye(4)[converted])


def latency(p50_ms: float, threads: int = 1) -> Latency:
    return Latency(threads, 9.5, p50_ms, 3.0, 4.0, 5.0, 800.0, None, 50, 2, 3)


FIRST = "10 pictures, full range"
SECOND = "40 pictures, least squared error, conv1 and pool in float32"
"""Names of the two ways to quantise."""


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> FinishedRun:
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(5, 3, activation="relu", name="conv1")(pixels)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(4, name="head")(x), name="small")
    nothing = np.zeros(0, np.int64)
    source = Source("digits", NAMES, LABELS, np.zeros((10, 1), np.uint8), ArrayPictures(None), {})
    data = PreparedData(source, Splits(nothing, nothing, nothing, nothing), 8)
    config = preset("digits").with_values({"seed": 3, "width": 16, "image_size": 8})
    metrics = {"parameters": 1234567, "multiply_adds": 89012, "test": {"accuracy": 0.9}}
    directory = RunDirectory(tmp_path_factory.mktemp("runs") / "digits-1")
    return FinishedRun(directory, config, network, data, metrics, {"test": {"pictures": 10}})


@pytest.fixture(scope="module")
def float32(run, tmp_path_factory) -> bytes:
    path: Path = tmp_path_factory.mktemp("graph")
    write_single_picture_graph(run.network, path)
    return Converter(path, run.layers).float32()


@pytest.fixture
def found(float32) -> Findings:
    """Of two files, of which int8 is the smaller; what is in them is all the same here."""
    files = {"float32": float32 + bytes(2048), "int8": float32}
    split, more = (
        CalibrationPictures(np.zeros((count, 8, 8, 3), np.uint8), letter * 64, 2)
        for count, letter in ((10, "e"), (40, "f"))
    )
    kept = Rung(more, "int8", "least squared error", ("conv1", "pool"))
    tried = [
        Tried(Rung(split, "int8"), float32, comparison(), 0.5),
        Tried(kept, float32, comparison(KERAS), 0.75),
    ]
    return Findings(
        calibration=split,
        files=files,
        differences={"saved_model": 1e-6, "float32": 2e-6},
        comparisons={"float32": comparison(KERAS), "int8": comparison()},
        tried=tried,
        halves=Halves((20, 20), 0.0123, 0.0456, "conv1", 0.875, (0.8, 0.7)),
        micro=MicroResult(40, 10240, 1024),
        latencies={"float32": [latency(0.5), latency(0.25, 2)], "int8": [latency(0.125)]},
    )


@pytest.fixture
def report(run, found) -> dict:
    request = parse_export_request(["runs/digits-1", "--output", "probabilities"])
    return {**build_report(request, run, found), "c_source": None}


def without_nan(text: str):
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)


def test_report_says_which_run_it_was(report):
    assert report["run"] == {
        "directory": "digits-1",
        "data": "digits",
        "model": preset("digits").model.model,
        "width": 16,
        "image_size": 8,
        "seed": 3,
        "parameters": 1234567,
        "multiply_adds": 89012,
        "test_accuracy": 0.9,
    }
    assert report["made_by"] == "python -m export"
    assert {"ai-edge-litert", "tensorflow"} <= set(report["environment"]["packages"])
    assert (report["output"], report["max_drop_points"]) == ("probabilities", 0.5)
    assert report["splits"] == {"test": {"pictures": 10}}


def test_report_holds_the_figures_of_each_file(report, found, float32):
    file = report["files"]["int8"]
    assert (file["file"], file["bytes"]) == ("model_int8.tflite", len(float32))
    assert int(file["crc32"], 16) == zlib.crc32(float32)
    assert len(file["crc32"]) == 10
    assert (file["test_pictures"], file["float_accuracy"], file["accuracy"]) == (10, 0.9, 0.8)
    assert (file["drop_points"], file["agreement"]) == (10.0, 0.7)
    assert (file["lost"], file["won"]) == (2, 1)
    assert (file["largest_difference"], file["tolerance"]) == (None, None)
    assert report["files"]["float32"]["largest_difference"] == 2e-6
    assert report["files"]["float32"]["tolerance"] == 1e-4
    assert report["saved_model"] == {
        "file": "saved_model",
        "tolerance": 1e-5,
        "largest_difference": 1e-6,
        "keras_accuracy": 0.9,
    }
    assert [each["threads"] for each in report["files"]["float32"]["latency"]] == [1, 2]
    # 6 x 6 positions of 5 kernels of 3 x 3 x 3 weights; 4 scores of 5 features.
    costs = {op["layer"]: op["multiply_adds"] for op in file["operations"] if op["multiply_adds"]}
    assert costs == {"conv1": 6 * 6 * 5 * 27, "head": 4 * 5}


def test_report_is_json_that_any_parser_takes_where_a_class_has_no_pictures(report, found):
    assert math.isnan(found.comparisons["int8"].per_class[3])
    parsed = without_nan(to_json(report))
    assert parsed["files"]["int8"]["per_class"] == {
        "cat": {"float": 1.0, "exported": 0.5},
        "dog": {"float": 1.0, "exported": 1.0},
        "owl": {"float": pytest.approx(2 / 3), "exported": 1.0},
        "yak": {"float": None, "exported": None},
    }
    assert to_json(report).endswith("}\n")


def test_a_figure_that_json_does_not_know_is_refused():
    with pytest.raises(ValueError, match="JSON"):
        to_json({"accuracy": math.nan})


def test_report_tells_of_calibration_and_its_halves(report, found):
    assert report["calibration"] == {
        "pictures": 40,
        "fingerprint": "f" * 64,
        "left_out_because_in_test": 2,
        "halves": dataclasses.asdict(found.halves),
    }


def test_report_tells_of_every_way_that_was_tried(report, float32):
    first, second = report["int8_tried"]
    assert (first["what"], first["passes"], first["layers_in_float32"]) == (FIRST, False, [])
    assert (second["what"], second["passes"]) == (SECOND, True)
    assert second["layers_in_float32"] == ["conv1", "pool"]
    assert (first["pictures"], second["pictures"]) == (10, 40)
    assert (first["fingerprint"], second["fingerprint"]) == ("e" * 64, "f" * 64)
    assert (first["ranges"], second["ranges"]) == ("full range", "least squared error")
    assert (second["bytes"], second["latency_ms"]) == (len(float32), 0.75)
    assert (first["drop_points"], second["drop_points"]) == (10.0, 0.0)
    assert "per_class" not in first


@pytest.mark.parametrize(
    ("micro", "told"),
    [
        (None, None),
        ("not installed", {"skipped": "not installed"}),
        (
            MicroResult(40, 10240, 1024),
            {"pictures": 40, "arena_bytes": 10240, "activation_bytes": 1024},
        ),
    ],
)
def test_report_tells_of_tensorflow_lite_micro(run, found, micro, told):
    found.micro = micro
    request = parse_export_request(["runs/digits-1"])
    assert build_report(request, run, found)["tensorflow_lite_micro"] == told


def test_report_of_a_saved_model_alone(run, found):
    alone = Findings(found.calibration, differences={"saved_model": 1e-6})
    request = parse_export_request(["runs/digits-1", "--formats", "saved_model"])
    report = without_nan(to_json({**build_report(request, run, alone), "c_source": None}))
    assert (report["files"], report["int8_tried"], file_rows(report)) == ({}, [], [])
    assert report["calibration"]["halves"] is None
    assert report["calibration"]["pictures"] == 10
    assert "returns logits for 4 classes" in write_card(report, NAMES)


# Tables.


def interval(lost: int, won: int, pictures: int) -> str:
    """Agresti and Min 2005: half a picture more in each of four cells, and 1.96 errors."""
    total, lost, won = pictures + 2, lost + 0.5, won + 0.5
    error = math.sqrt((lost + won) / total - ((lost - won) / total) ** 2) / math.sqrt(total)
    low, high = ((lost - won) / total + side * 1.959964 * error for side in (-1, 1))
    return f"({100 * low:.2f} to {100 * high:.2f})"


def test_figures_stand_in_the_row_of_their_file(report, float32):
    size = len(float32) / 1024
    none, some = interval(0, 0, 10), interval(2, 1, 10)
    assert file_rows(report) == [
        (
            "model_float32.tflite",
            f"{size + 2:.1f}",
            "90.00%",
            f"0.00 {none}",
            "100.00%",
            "0.500",
            "",
        ),
        (
            "model_int8.tflite",
            f"{size:.1f}",
            "80.00%",
            f"10.00 {some}",
            "70.00%",
            "0.125",
            "10.0",
        ),
    ]
    assert tried_row(report["int8_tried"][0]) == (
        FIRST,
        f"{size:.1f}",
        "80.00%",
        f"10.00 {some}",
        "0.500",
        "costs too much",
    )
    assert tried_row(report["int8_tried"][1])[-2:] == ("0.750", "passes")
    assert {len(row) for row in file_rows(report)} == {len(FILES_HEADER)}
    assert len(tried_row(report["int8_tried"][0])) == len(TRIED_HEADER)


def test_columns_of_a_plain_table_are_aligned():
    table = plain_table(("file", "KiB", ""), [("a", "1,000.0", ""), ("long name", "2.5", "good")])
    assert table.split("\n") == [
        "file           KiB",
        "a          1,000.0",
        "long name      2.5  good",
    ]


def test_markdown_table():
    table = markdown_table(("a", "b"), [("1", "2"), ("3", "")])
    assert table.split("\n") == ["| a | b |", "| --- | --- |", "| 1 | 2 |", "| 3 |  |"]


# The model card.


def test_figures_of_the_report_stand_in_the_card(report):
    card = write_card(report, NAMES)
    for text in (
        "width 16, trained on digits",
        "8 x 8 RGB pixels",
        "returns probabilities for 4 classes",
        "1,234,567 parameters, 89,012 multiply-adds a picture; test accuracy 90.00% in Keras",
        "all 10 test pictures beside the Keras network",
        "Calibrated on 40 un-augmented pictures",
        "`ffffffffffffffff`",
        "differ by 1.2% in the median and by 4.6% at most (`conv1`)",
        "agree on 87.50% of the test pictures, accuracies are 80.00% and 70.00%",
        "reference kernels on 40 pictures, in an arena of 10.0 KiB",
    ):
        assert text in card
    for row in (*file_rows(report), *map(tried_row, report["int8_tried"])):
        assert f"| {' | '.join(row)} |" in card


def test_the_card_tells_of_c_source_where_there_is_some(report):
    assert "model_int8.h" not in write_card(report, NAMES)
    assert "model_int8.h" in write_card({**report, "c_source": True}, NAMES)


def test_the_card_lists_the_classes_of_the_int8_file_worst_first(report):
    report["files"]["float32"]["bytes"] = 1
    section = write_card(report, NAMES).split("## Class by class, ")[1].split("\n\n")
    assert section[0] == "model_int8.tflite"
    assert section[1].split("\n")[2:] == [
        "| cat | 100.00% | 50.00% | -50.00 |",
        "| dog | 100.00% | 100.00% | +0.00 |",
        "| owl | 66.67% | 100.00% | +33.33 |",
    ]


def test_the_card_says_why_tensorflow_lite_micro_was_skipped(report):
    report["tensorflow_lite_micro"] = {"skipped": "no kernel for X"}
    assert "TensorFlow Lite Micro: no kernel for X.\n" in write_card(report, NAMES)


def test_any_class_name_stands_in_one_cell(report):
    report["files"]["int8"]["per_class"] = {"a|b": {"float": 1.0, "exported": 0.5}}
    card = write_card(report, ["a|b"])
    assert r"| a\|b | 100.00% | 50.00% | -50.00 |" in card


# A failure.

ERRORS = [
    LayerError("conv1", "CONV_2D", "conv1;relu1", -0.75),
    LayerError("add", "ADD", "add", 12.25),
    *(LayerError(f"conv{k}", "CONV_2D", f"conv{k}", 20.0 + k) for k in range(2, 11)),
    LayerError("head", "RESHAPE", "head", math.inf),
]


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that were saved."""
    drawn = []
    save = failure.save_figure

    def save_and_keep(figure: Figure, path: Path) -> None:
        drawn.append(figure)
        save(figure, path)

    for module in (failure, plots):
        monkeypatch.setattr(module, "save_figure", save_and_keep)
    return drawn


@pytest.fixture
def failed(found, tmp_path) -> Path:
    folder = tmp_path / "run" / "export-failed"
    folder.mkdir(parents=True)
    write_failure(folder, [describe_tried(tried, 0.5) for tried in found.tried], ERRORS)
    return folder


def test_a_failure_leaves_its_own_files_only(failed):
    assert {path.name for path in failed.iterdir()} == {"report.json", "report.md", "layers.png"}


def test_json_of_a_failure(failed, found):
    report = without_nan((failed / "report.json").read_text())
    assert [tried["what"] for tried in report["int8_tried"]] == [FIRST, SECOND]
    assert [row["layer"] for row in report["layers"]] == [error.layer for error in ERRORS]
    assert report["layers"][0] == {
        "layer": "conv1",
        "operation": "CONV_2D",
        "tensor": "conv1;relu1",
        "signal_to_noise_db": -0.75,
    }
    assert report["layers"][-1]["signal_to_noise_db"] is None


def test_text_of_a_failure_names_the_ten_worst_layers_and_what_to_try(failed, found):
    text = (failed / "report.md").read_text()
    rows = text.split("signal to noise, dB |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    assert rows.split("\n")[:2] == ["| conv1 | CONV_2D | -0.8 |", "| add | ADD | 12.2 |"]
    assert len(rows.split("\n")) == 10
    for tried in found.tried:
        assert f"| {' | '.join(tried_row(describe_tried(tried, 0.5)))} |" in text
    for flag in ("--repair", "--max-drop", "--formats int16", "(layers.png)"):
        assert flag in text


def test_picture_of_a_failure_has_the_worst_layer_on_top(figures, failed):
    (axes,) = figures[0].axes
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in axes.patches]
    # Ten bars at 0, 1, 2, ...; the axis points down, so that the first is on top.
    assert bars == [
        pytest.approx((place, error.signal_to_noise_db)) for place, error in enumerate(ERRORS[:10])
    ]
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == [
        "conv1 (CONV_2D)",
        "add (ADD)",
    ]


def test_layers_without_any_error_are_told_and_not_drawn(figures, tmp_path):
    write_failure(tmp_path / "failed", [], ERRORS[-1:])
    assert list(figures[0].axes[0].patches) == []
    assert "| head | RESHAPE | inf |" in (tmp_path / "failed" / "report.md").read_text()


# Pictures.


def test_files_are_drawn_with_their_own_figures(figures, report, tmp_path):
    plot_files(report, tmp_path / "files.png")
    sizes, speeds, drops = figures[0].axes
    files = report["files"].values()
    assert [bar.get_width() for bar in sizes.patches] == [file["bytes"] / 1024 for file in files]
    assert [bar.get_width() for bar in speeds.patches] == [0.5, 0.125]
    assert [label.get_text() for label in sizes.get_yticklabels()] == ["float32", "int8"]
    assert sizes.yaxis_inverted()
    points = [container.lines[0].get_xydata()[0].tolist() for container in drops.containers]
    assert points == [[0.0, 0.0], [10.0, 1.0]]
    for container, file in zip(drops.containers, files, strict=True):
        ((start, end),) = container.lines[2][0].get_segments()
        assert (start[0], end[0]) == pytest.approx(file["drop_interval_95_points"])
    (limit,) = [line for line in drops.lines if line.get_linestyle() == ":"]
    assert "--max-drop" in drops.get_title()
    assert set(limit.get_xdata()) == {report["max_drop_points"]}


def test_pictures_are_png_and_not_blank(report, failed, tmp_path):
    plot_files(report, tmp_path / "files.png")
    for path in (tmp_path / "files.png", failed / "layers.png"):
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert len(set(image.convert("L").get_flattened_data())) > 20
