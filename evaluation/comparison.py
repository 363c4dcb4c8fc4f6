"""Several runs beside each other: accuracy against what it costs."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.quantised import describe_difference
from evaluation.page.comparison_page import write_comparison_page
from evaluation.page.summary import print_comparison
from evaluation.report_directory import (
    COMPARISON,
    COMPARISON_PAGE,
    MADE_BY,
    ReportDirectory,
    comparison_directory,
)
from evaluation.request import Request
from evaluation.tables import read_predictions
from export.verify.comparison import paired_comparison
from pipeline.errors import UserError
from pipeline.files.json_file import read_json, to_json
from pipeline.pareto import pareto_front
from pipeline.run_directory import RunDirectory

COSTS = ("multiply_adds", "int8_bytes", "int8_latency_p50_ms")
"""What accuracy is drawn against."""

NOT_COMPARED = ("flip", "measured")
"""Settings of a report that do not matter here."""


def compare_runs(request: Request, evaluate_run: Callable[..., dict[str, Any]]) -> None:
    """Measure every run where that is not done yet, and write the comparison.

    Raises:
        UserError: a run or the place is wrong, or runs were tested on different images.
    """
    _check_same_test(request.runs)
    names = _distinct_names([run.path for run in request.runs])
    reports, answered = {}, {}
    out = comparison_directory(request.out)
    with out.open():
        for name, run in zip(names, request.runs, strict=True):
            print(f"{name}:", flush=True)
            own = ReportDirectory(run.path / "evaluation")
            reports[name] = evaluate_run(run, own, request, NOT_COMPARED)
            answered[name] = read_predictions(own.predictions, reports[name]["class_names"])
        comparison = build_comparison(reports, answered)
        out.write({COMPARISON_PAGE: write_comparison_page(comparison), COMPARISON: to_json(comparison)})
    print_comparison(comparison)
    print(f"\neverything lies in {out.path}: {', '.join(out.names)}")


def build_comparison(
    reports: Mapping[str, Mapping[str, Any]], answered: Mapping[str, tuple[np.ndarray, np.ndarray]]
) -> dict[str, Any]:
    """Build the content of `comparison.json`: a row for each run, the most accurate first.

    Args:
        reports: name -> the content of its `report.json`.
        answered: name -> labels and predicted classes of test, int64 [images] each.
    """
    order = sorted(reports, key=lambda name: -_accuracy(reports[name]))
    best = order[0]
    rows = []
    for name in order:
        row = _describe(name, reports[name])
        row |= {"behind_best": None, "on_front": {}}
        if name != best:
            row["behind_best"] = _difference(answered[best], answered[name])
        rows.append(row)
    for cost in COSTS:
        front = pareto_front([(row[cost], row["accuracy"]["value"]) for row in rows])
        for place, row in enumerate(rows):
            row["on_front"][cost] = place in front
    first = reports[best]
    return {
        "made_by": MADE_BY,
        "data": first["run"]["data"],
        "images": first["images"]["test"],
        "best": best,
        "costs": list(COSTS),
        "runs": rows,
        "environment": first["environment"],
    }


def _describe(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    run, keras, cost = report["run"], report["networks"]["keras"], report["cost"]
    (int8,) = [file for file in cost["files"] if file["network"] == "int8"]
    calibration, robustness = keras["calibration"], keras["robustness"]
    return {
        "run": name,
        **{setting: run[setting] for setting in ("model", "width", "epochs", "seed")},
        "accuracy": keras["accuracy"]["top1"],
        "corrupted_accuracy": robustness and robustness["mean"],
        # Of the same images: those of the accuracy above may be more.
        "corrupted_clean": robustness and robustness["clean"],
        "ece": calibration["before"]["ece_equal_width"],
        "ece_scaled": calibration["after"]["ece_equal_width"],
        "parameters": cost["parameters"],
        "multiply_adds": cost["multiply_adds"],
        "int8_bytes": int8["bytes"],
        "int8_latency_p50_ms": int8["latency_p50_ms"],
        "int8_preview": int8["preview"],
    }


def _accuracy(report: Mapping[str, Any]) -> float:
    return report["networks"]["keras"]["accuracy"]["top1"]["value"]


def _difference(best: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """How far a run is behind the best, paired image by image."""
    labels, predicted = best
    classes = np.eye(1 + max(labels.max(), predicted.max(), other[1].max()))
    return describe_difference(paired_comparison(labels, classes[predicted], classes[other[1]]))


def _check_same_test(runs: Sequence[RunDirectory]) -> None:
    prints = [read_json(run.splits, ("splits",))["splits"]["test"]["fingerprint"] for run in runs]
    for run, fingerprint in zip(runs, prints, strict=True):
        if fingerprint != prints[0]:
            raise UserError(
                "runs to compare must be tested on the same images; "
                f"{runs[0].path} and {run.path} are not (same --data, --seed or --split-seed)"
            )


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name runs by their folders, or by their whole paths where two folders are called alike."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
