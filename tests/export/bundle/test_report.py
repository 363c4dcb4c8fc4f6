"""The report: of which run it is, and the figures of each file and of each strategy tried."""

import dataclasses
import math
import zlib

import pytest

from export.bundle.model_card import write_card
from export.bundle.report import Findings, build_report, file_rows
from export.request import parse_export_request
from export.verify.micro import MicroResult
from export.verify.npu import NpuResult
from pipeline.config.presets import preset
from pipeline.files.json_file import to_json
from tests.export.bundle.samples import FIRST, NAMES, SECOND, without_nan


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
    assert report["temperature"] == 1
    assert report["splits"] == {"test": {"images": 10}}


def test_report_holds_the_figures_of_each_file(report, found, float32):
    file = report["files"]["int8"]
    assert (file["file"], file["bytes"]) == ("model_int8.tflite", float32.size)
    assert int(file["crc32"], 16) == zlib.crc32(float32.content)
    assert len(file["crc32"]) == 10
    assert (file["test_images"], file["float_accuracy"], file["accuracy"]) == (10, 0.9, 0.8)
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


def test_report_is_json_that_any_parser_takes_where_a_class_has_no_images(report, found):
    assert math.isnan(found.comparisons["int8"].per_class[3])
    parsed = without_nan(to_json(report))
    assert parsed["files"]["int8"]["per_class"] == {
        "cat": {"float": 1.0, "exported": 0.5},
        "dog": {"float": 1.0, "exported": 1.0},
        "owl": {"float": pytest.approx(2 / 3), "exported": 1.0},
        "yak": {"float": None, "exported": None},
    }
    assert to_json(report).endswith("}\n")


def test_report_tells_of_calibration_and_its_halves(report, found):
    assert report["calibration"] == {
        "images": 40,
        "fingerprint": "f" * 64,
        "left_out_because_in_test": 2,
        "trained_on": 0,
        "halves": dataclasses.asdict(found.int8.halves),
        "simulation_agreement": None,
    }


def test_report_tells_of_every_way_that_was_tried(report, float32):
    first, second = report["int8_tried"]
    assert (first["what"], first["passes"], first["layers_in_float32"]) == (FIRST, False, [])
    assert (second["what"], second["passes"]) == (SECOND, True)
    assert (first["chosen"], second["chosen"]) == (False, True)
    assert first["validation_images"] == second["validation_images"] == 10
    assert second["layers_in_float32"] == ["conv1", "pool"]
    assert (first["images"], second["images"]) == (10, 40)
    assert (first["fingerprint"], second["fingerprint"]) == ("e" * 64, "f" * 64)
    assert (first["ranges"], second["ranges"]) == ("full range", "least squared error")
    assert (second["bytes"], second["latency_ms"]) == (float32.size, 0.75)
    assert (first["drop_points"], second["drop_points"]) == (10.0, 0.0)
    assert "per_class" not in first


@pytest.mark.parametrize(
    ("micro", "told"),
    [
        ("not installed", {"skipped": "not installed"}),
        (MicroResult(40, 10240, 1024), {"images": 40, "arena_bytes": 10240, "activation_bytes": 1024}),
    ],
)
def test_report_tells_of_tensorflow_lite_micro(run, found, micro, told):
    found = dataclasses.replace(found, int8=dataclasses.replace(found.int8, micro=micro))
    request = parse_export_request(["runs/digits-1"])
    assert build_report(request, run, found)["tensorflow_lite_micro"] == told


def test_report_and_card_tell_of_an_npu(run, found, float32):
    npu = NpuResult("ethos-u55-128", "5.2.0", "Embedded", "Shared", 5e8, {"SOFTMAX": 2}, 0.25, 3072, float32)
    found = dataclasses.replace(found, int8=dataclasses.replace(found.int8, npu=npu))
    request = parse_export_request(["runs/digits-1"])
    report = without_nan(to_json({**build_report(request, run, found), "c_source": None}))
    assert report["npu"] == {
        "npu": "ethos-u55-128",
        "vela": "5.2.0",
        "system": "Embedded",
        "memory_mode": "Shared",
        "clock_hz": 5e8,
        "cpu_operations": {"SOFTMAX": 2},
        "milliseconds": 0.25,
        "sram_bytes": 3072,
        "bytes": float32.size,
        "crc32": float32.crc32,
    }
    card = write_card(report, NAMES)
    assert "500 MHz; no hardware was asked): 0.250 ms an image, 3.0 KiB of SRAM" in card
    assert "left to the processor: 2 SOFTMAX." in card


def test_report_of_a_saved_model_alone(run, found):
    alone = Findings(found.calibration, {}, {"saved_model": 1e-6}, {}, None, None, {}, {"keras": 1})
    request = parse_export_request(["runs/digits-1", "--formats", "saved_model"])
    report = without_nan(to_json({**build_report(request, run, alone), "c_source": None}))
    assert (report["files"], report["int8_tried"], file_rows(report)) == ({}, [], [])
    assert report["calibration"]["halves"] is report["tensorflow_lite_micro"] is None
    assert report["calibration"]["images"] == 10
    assert "returns logits for 4 classes" in write_card(report, NAMES)
