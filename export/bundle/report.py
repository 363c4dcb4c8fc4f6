"""What an export found out, as a JSON report and as the table that is printed."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from export.bundle.ours import MADE_BY
from export.formats import FORMATS
from export.onnx.file import OnnxFile
from export.quantize.calibration_images import CalibrationImages
from export.quantize.search import Tried
from export.quantize.stability import Halves
from export.request import Request
from export.verify.comparison import Comparison
from export.verify.logits import FLOAT32_TOLERANCE, ONNX_TOLERANCE, SAVED_MODEL_TOLERANCE
from export.verify.micro import MicroResult
from export.verify.npu import NpuResult
from export.verify.pixels import DevicePixels
from pipeline.console.tables import plain_table
from pipeline.environment import describe_environment
from pipeline.finished_run import FinishedRun
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import Latency


@dataclass(frozen=True)
class Int8:
    """How the int8 file was found, and what it does elsewhere.

    Attributes:
        tried: every strategy that was tried.
        chosen: the one whose file is shipped.
        halves: how stable its calibration is; None where it was trained.
        simulation: share of validation on which it answers like the simulation that was trained;
            None where it was calibrated.
        micro: what TensorFlow Lite Micro made of the file, or why it made nothing.
        npu: what the compiler for the NPU made of it, where it was asked for.
    """

    tried: Sequence[Tried]
    chosen: Tried
    halves: Halves | None
    simulation: float | None
    micro: MicroResult | str
    npu: NpuResult | None = None


@dataclass(frozen=True)
class Findings:
    """What an export found out.

    Attributes:
        calibration: the calibration split's images.
        files: format -> the file.
        differences: exact format -> largest difference of a score from the Keras network's.
        comparisons: format -> how it compares with the Keras network on test.
        device_pixels: how run.py saw original files, where there are any.
        int8: of the int8 file, where one was made.
        latencies: format -> its speed, on one thread and on all where both were measured.
        on_test: network or format -> how often it answered for the test split.
        web: the int8 file for browsers, where it is asked for.
    """

    calibration: CalibrationImages
    files: Mapping[str, TFLiteFile | OnnxFile]
    differences: Mapping[str, float]
    comparisons: Mapping[str, Comparison]
    device_pixels: DevicePixels | None
    int8: Int8 | None
    latencies: Mapping[str, Sequence[Latency]]
    on_test: Mapping[str, int]
    web: TFLiteFile | None = None


def build_report(request: Request, run: FinishedRun, found: Findings) -> dict[str, Any]:
    """Build the content of `report.json`; every figure that the model card shows is in it."""
    values = run.config.values()
    return {
        MADE_BY: "python -m export",
        "run": {
            "directory": run.directory.path.name,
            **{name: values[name] for name in ("data", "model", "width", "image_size", "seed")},
            "parameters": run.metrics["parameters"],
            "multiply_adds": run.metrics["multiply_adds"],
            "test_accuracy": run.metrics["test"]["accuracy"],
        },
        "output": request.output,
        "temperature": request.temperature,
        "max_drop_points": request.max_drop,
        "calibration": _describe_calibration(found),
        "splits": run.splits,
        "files": {name: _describe_file(name, run, found) for name in FORMATS if name in found.files},
        "saved_model": _describe_saved_model(request, run, found),
        "device_pixels": asdict(found.device_pixels) if found.device_pixels else None,
        "times_on_test": dict(found.on_test),
        "int8_tried": _describe_all_tried(found.int8, request.max_drop),
        "tensorflow_lite_micro": _describe_micro(found.int8),
        "npu": _describe_npu(found.int8.npu) if found.int8 and found.int8.npu else None,
        "web": {"bytes": found.web.size, "crc32": found.web.crc32} if found.web else None,
        "environment": describe_environment("ai-edge-litert", "tflite-micro", "onnxruntime", "tf2onnx"),
    }


def _describe_calibration(found: Findings) -> dict[str, Any]:
    """Of the int8 file that is shipped, else of the calibration split."""
    calibration = found.int8.chosen.strategy.calibration if found.int8 else found.calibration
    return {
        "images": len(calibration.images),
        "fingerprint": calibration.fingerprint,
        "left_out_because_in_test": calibration.left_out,
        "trained_on": calibration.trained_on,
        "halves": asdict(found.int8.halves) if found.int8 and found.int8.halves else None,
        "simulation_agreement": found.int8.simulation if found.int8 else None,
    }


def _describe_saved_model(request: Request, run: FinishedRun, found: Findings) -> dict[str, Any] | None:
    """Its accuracy is Keras': the scores are the same within the tolerance."""
    if "saved_model" not in request.formats:
        return None
    return {
        "file": FORMATS["saved_model"].file,
        "tolerance": SAVED_MODEL_TOLERANCE,
        "largest_difference": found.differences["saved_model"],
        "keras_accuracy": run.metrics["test"]["accuracy"],
    }


def _describe_file(name: str, run: FinishedRun, found: Findings) -> dict[str, Any]:
    file = found.files[name]
    return {
        "file": FORMATS[name].file,
        "bytes": file.size,
        "crc32": file.crc32,
        "largest_difference": found.differences.get(name),
        "tolerance": {"float32": FLOAT32_TOLERANCE, "onnx": ONNX_TOLERANCE}.get(name),
        **describe_comparison(found.comparisons[name], run.class_names),
        "latency": [asdict(latency) for latency in found.latencies[name]],
        **(_describe_tflite(file) if isinstance(file, TFLiteFile) else {"opset": file.opset}),
    }


def _describe_tflite(file: TFLiteFile) -> dict[str, Any]:
    return {
        "delegate": "XNNPACK",
        "operations": [
            {"operation": op.name, "layer": op.layer, "multiply_adds": op.multiply_adds}
            for op in file.graph.operations
        ],
        # By index; empty where the file itself has them.
        "tensor_names": file.tensor_names,
    }


def describe_comparison(
    comparison: Comparison, class_names: Sequence[str] = (), split: str = "test"
) -> dict[str, Any]:
    """Build the figures of a comparison on a split; with `class_names` also class by class."""
    described = {
        f"{split}_images": comparison.images,
        "float_accuracy": comparison.float_accuracy,
        "accuracy": comparison.accuracy,
        "drop_points": comparison.drop,
        "drop_interval_95_points": comparison.interval,
        "agreement": comparison.agreement,
        "lost": comparison.lost,
        "won": comparison.won,
    }
    if class_names:
        pairs = zip(comparison.per_class_float, comparison.per_class, strict=True)
        described["per_class"] = {
            name: {"float": _or_none(before), "exported": _or_none(after)}
            for name, (before, after) in zip(class_names, pairs, strict=True)
        }
    return described


def _or_none(share: float) -> float | None:
    """JSON knows no NaN, which a class without test images has."""
    return None if math.isnan(share) else share


def _describe_all_tried(int8: Int8 | None, max_drop: float) -> list[dict[str, Any]]:
    if int8 is None:
        return []
    return [describe_tried(each, max_drop, chosen=each is int8.chosen) for each in int8.tried]


def describe_tried(tried: Tried, max_drop: float, *, chosen: bool = False) -> dict[str, Any]:
    """Build the figures of one strategy."""
    return {
        "what": tried.strategy.name,
        "images": len(tried.strategy.calibration.images),
        "fingerprint": tried.strategy.calibration.fingerprint,
        "ranges": tried.strategy.ranges,
        "trained_epochs": tried.strategy.trained.epochs if tried.strategy.trained else 0,
        "layers_in_float32": list(tried.strategy.kept_float),
        "bytes": tried.file.size,
        "latency_ms": tried.latency_ms,
        "passes": tried.comparison.passes(max_drop),
        "chosen": chosen,
        **describe_comparison(tried.comparison, split="validation"),
    }


def _describe_micro(int8: Int8 | None) -> dict[str, Any] | None:
    """What TensorFlow Lite Micro made of the int8 file."""
    if int8 is None:
        return None
    return {"skipped": int8.micro} if isinstance(int8.micro, str) else asdict(int8.micro)


def _describe_npu(npu: NpuResult) -> dict[str, Any]:
    described = {name: value for name, value in vars(npu).items() if name != "file"}
    return {**described, "bytes": npu.file.size, "crc32": npu.file.crc32}


FILES_HEADER = ("file", "KiB", "accuracy", "drop, points (95 %)", "agreement", "p50 ms", "arena KiB")


def file_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Build the rows of the table of files, under `FILES_HEADER`."""
    micro = report["tensorflow_lite_micro"] or {}
    rows: list[tuple[str, ...]] = []
    for name, file in report["files"].items():
        arena = micro.get("arena_bytes") if name == "int8" else None
        rows.append(
            (
                file["file"],
                f"{file['bytes'] / 1024:,.1f}",
                f"{file['accuracy']:.2%}",
                drop(file),
                f"{file['agreement']:.2%}",
                f"{file['latency'][0]['p50_ms']:.3f}",
                f"{arena / 1024:.1f}" if arena else "",
            )
        )
    return rows


SPEED_HEADER = (
    "file",
    "threads",
    "cold start ms",
    "p50 ms",
    "p90 ms",
    "p95 ms",
    "p99 ms",
    "images/s",
    "memory MiB",
    "delegated",
)


def speed_rows(report: Mapping[str, Any]) -> list[tuple[str, ...]]:
    """Build the rows of the table of speeds, under `SPEED_HEADER`."""
    rows = []
    for file in report["files"].values():
        for latency in file["latency"]:
            memory, operations = latency["peak_memory_bytes"], latency["operations"]
            times = (latency[f"{name}_ms"] for name in ("cold_start", "p50", "p90", "p95", "p99"))
            rows.append(
                (
                    file["file"],
                    str(latency["threads"]),
                    *(f"{time:.3f}" for time in times),
                    f"{latency['images_per_second']:,.0f}",
                    "" if memory is None else f"{memory / 2**20:.1f}",
                    "" if operations is None else f"{latency['delegated']} of {operations}",
                )
            )
    return rows


TRIED_HEADER = ("int8 by", "KiB", "on validation", "drop, points (95 %)", "p50 ms", "")


def tried_row(tried: Mapping[str, Any]) -> tuple[str, ...]:
    """Build one row of the table of strategies, under `TRIED_HEADER`."""
    return (
        tried["what"],
        f"{tried['bytes'] / 1024:,.1f}",
        f"{tried['accuracy']:.2%}",
        drop(tried),
        f"{tried['latency_ms']:.3f}",
        _verdict(tried),
    )


def _verdict(tried: Mapping[str, Any]) -> str:
    if tried["chosen"]:
        return "chosen"
    return "passes" if tried["passes"] else "costs too much"


def drop(comparison: Mapping[str, Any]) -> str:
    """Write a drop with its interval: `0.37 (-0.21 to 0.95)`."""
    low, high = comparison["drop_interval_95_points"]
    return f"{comparison['drop_points']:.2f} ({low:.2f} to {high:.2f})"


def print_tables(report: Mapping[str, Any], *, with_speed: bool) -> None:
    """Print the strategies where several were tried, the files, and their speeds."""
    if len(report["int8_tried"]) > 1:
        rows = [tried_row(tried) for tried in report["int8_tried"]]
        print("\n" + plain_table(TRIED_HEADER, rows))
    if report["files"]:
        print("\n" + plain_table(FILES_HEADER, file_rows(report)))
        if with_speed:
            print("\n" + plain_table(SPEED_HEADER, speed_rows(report)))
        print()
