"""Several runs beside each other: accuracy against what it costs."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.metrics.cost import LATENCY, LATENCY_INTERVAL, measure_latencies
from evaluation.metrics.intervals import Estimate, as_json, share
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
from evaluation.shared_test import SharedTest, describe_shared_test, describe_test, find_shared_test
from evaluation.tables import read_predictions
from export.verify.comparison import paired_comparison
from pipeline.files.json_file import read_json, to_json
from pipeline.finished_run import load_run_data
from pipeline.pareto import pareto_front
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import TFLiteFile

COUNTED = ("multiply_adds", "int8_bytes")
COSTS = (*COUNTED, LATENCY)
"""What accuracy is drawn against: costs that are counted, and one that is measured."""

OF_ALL_TEST = ("corrupted_accuracy", "corrupted_clean", "ece", "ece_scaled")
"""Figures of a run that are of all its test images."""


@dataclass(frozen=True)
class Compared:
    """A run that was measured.

    Attributes:
        report: the content of its `report.json`.
        int8: its int8 file, or a preview of it.
        images: uint8 [images, height, width, 3], to time the file with.
    """

    report: dict[str, Any]
    int8: TFLiteFile
    images: np.ndarray


def compare_runs(
    request: Request, evaluate: Callable[[RunDirectory, ReportDirectory, Request], Compared]
) -> None:
    """Measure every run where that is not done yet, and write the comparison.

    Raises:
        UserError: a run or the place is wrong, or the tests of the runs share too little.
    """
    names = _distinct_names([run.path for run in request.runs])
    on_same = request.data or _have_same_test(request.runs)
    shared = None if on_same else _share_tests(names, request.runs)
    compared, places = {}, {}
    out = comparison_directory(request.out)
    with out.open():
        for name, run in zip(names, request.runs, strict=True):
            print(f"{name}:", flush=True)
            places[name] = ReportDirectory(request.place_among_several(run))
            compared[name] = evaluate(run, places[name], request)
        reports = {name: each.report for name, each in compared.items()}
        answered = _read_answers(places, reports, by_name=bool(shared or request.data))
        times = measure_latencies([(each.int8, each.images) for each in compared.values()])
        latencies = dict(zip(names, times, strict=True))
        comparison = build_comparison(reports, answered, latencies, shared)
        out.write({COMPARISON_PAGE: write_comparison_page(comparison), COMPARISON: to_json(comparison)})
    print_comparison(comparison)
    print(f"\neverything lies in {out.path}: {', '.join(out.names)}")


def _read_answers(
    places: Mapping[str, ReportDirectory], reports: Mapping[str, Mapping[str, Any]], by_name: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Read what the runs answer, with classes numbered alike.

    Args:
        places: run -> where its report is.
        reports: run -> its report.
        by_name: whether classes are the same that have the same name, in whatever order; else those of
            the same number, as in tests of the same fingerprint.
    """
    names = sorted({name for report in reports.values() for name in report["class_names"]})
    return {
        run: read_predictions(place.predictions, names if by_name else reports[run]["class_names"])
        for run, place in places.items()
    }


def build_comparison(
    reports: Mapping[str, Mapping[str, Any]],
    answered: Mapping[str, tuple[np.ndarray, np.ndarray]],
    latencies: Mapping[str, Estimate],
    shared: SharedTest | None = None,
) -> dict[str, Any]:
    """Build the content of `comparison.json`: a row for each run, the most accurate first.

    Args:
        reports: name -> the content of its `report.json`.
        answered: name -> labels and predicted classes of test, int64 [images] each, numbered alike.
        latencies: name -> of its int8 file, ms, measured in turn.
        shared: what is compared, where the tests are not the same; the figures that are of all of a
            run's test are None then.
    """
    described = {name: _describe(name, report, latencies[name]) for name, report in reports.items()}
    if shared:
        answered = {
            name: (labels[shared.places[name]], predicted[shared.places[name]])
            for name, (labels, predicted) in answered.items()
        }
        for name, (labels, predicted) in answered.items():
            right = np.sum(labels == predicted)
            described[name] |= {
                **dict.fromkeys(OF_ALL_TEST),
                **as_json({"accuracy": share(right, len(labels))}),
            }
    order = sorted(reports, key=lambda name: -described[name]["accuracy"]["value"])
    best = order[0]
    rows = []
    for name in order:
        row = described[name] | {"behind_best": None, "as_fast_as_best": None, "on_front": {}}
        if name != best:
            row["behind_best"] = _difference(answered[best], answered[name])
            row["as_fast_as_best"] = _overlap(latencies[best], latencies[name])
        rows.append(row)
    for cost in COUNTED:
        front = pareto_front([(row[cost], row["accuracy"]["value"]) for row in rows])
        for place, row in enumerate(rows):
            row["on_front"][cost] = place in front
    for row in rows:
        row["on_front"][LATENCY] = not any(_beats(other, row) for other in rows)
    first = reports[best]
    return {
        "made_by": MADE_BY,
        "data": first["new_images"]["data"] if first["new_images"] else first["run"]["data"],
        "images": len(shared) if shared else first["images"]["test"],
        "shared": shared.describe() if shared else None,
        "best": best,
        "costs": list(COSTS),
        "runs": rows,
        "environment": first["environment"],
    }


def _overlap(one: Estimate, other: Estimate) -> bool:
    """Whether two times cannot be told apart: their intervals overlap."""
    return one.low <= other.high and other.low <= one.high


def _beats(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    """Whether a run is as accurate as another and surely faster, or more accurate and not surely slower."""
    (low, high), (other_low, other_high) = (row[LATENCY_INTERVAL] for row in (one, other))
    gain = one["accuracy"]["value"] - other["accuracy"]["value"]
    return (gain >= 0 and high < other_low) or (gain > 0 and low <= other_high)


def _describe(name: str, report: Mapping[str, Any], latency: Estimate) -> dict[str, Any]:
    run, keras, cost = report["run"], report["networks"]["keras"], report["cost"]
    (int8,) = [file for file in cost["files"] if file["network"] == "int8"]
    calibration, robustness, new_images = keras["calibration"], keras["robustness"], report["new_images"]
    return {
        "run": name,
        **{setting: run[setting] for setting in ("model", "width", "epochs", "seed")},
        "accuracy": keras["accuracy"]["top1"],
        # Images of a labelled folder that this run was trained on, and another perhaps not.
        "learned": len(new_images["learned"]) if new_images else 0,
        "corrupted_accuracy": robustness and robustness["mean"],
        # Of the same images: those of the accuracy above may be more.
        "corrupted_clean": robustness and robustness["clean"],
        "ece": calibration["before"]["ece_equal_width"],
        "ece_scaled": calibration["after"]["ece_equal_width"],
        "parameters": cost["parameters"],
        "multiply_adds": cost["multiply_adds"],
        "int8_bytes": int8["bytes"],
        LATENCY: latency.value,
        LATENCY_INTERVAL: [latency.low, latency.high],
        "int8_preview": int8["preview"],
    }


def _difference(best: tuple[np.ndarray, np.ndarray], other: tuple[np.ndarray, np.ndarray]) -> dict[str, Any]:
    """How far a run is behind the best, paired image by image."""
    labels, predicted = best
    classes = np.eye(1 + max(labels.max(), predicted.max(), other[1].max()))
    return describe_difference(paired_comparison(labels, classes[predicted], classes[other[1]]))


def _have_same_test(runs: Sequence[RunDirectory]) -> bool:
    prints = {read_json(run.splits, ("splits",))["splits"]["test"]["fingerprint"] for run in runs}
    return len(prints) == 1


def _share_tests(names: Sequence[str], runs: Sequence[RunDirectory]) -> SharedTest:
    """Find the images that the tests share, and say so."""
    tested = {name: describe_test(load_run_data(run)) for name, run in zip(names, runs, strict=True)}
    shared = find_shared_test(tested)
    print(f"the tests are not the same: {describe_shared_test(shared)}")
    return shared


def _distinct_names(paths: Sequence[Path]) -> list[str]:
    """Name runs by their folders, or by their whole paths where two folders are called alike."""
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]
