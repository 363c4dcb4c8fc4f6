"""What `python -m evaluation` prints at its end."""

import shlex
from collections.abc import Mapping, Sequence
from itertools import compress
from pathlib import Path
from typing import Any

from pipeline.console.tables import plain_table
from pipeline.errors import printable

CORRUPTED = "corrupted (clean)"
HEADER = ("network", "accuracy (95 %)", CORRUPTED, "calibration error", "temperature")
SHOWN = 3
"""Files of a kind that are named in a line."""

WORTH_FOLDING = 0.02
"""Temperatures whose ratio is nearer to 1 than this give the same to the eye."""


def print_summary(report: Mapping[str, Any]) -> None:
    """Print a line for each network, and what must be known of images that are not the run's test."""
    rows = [_row(*network) for network in report["networks"].items()]
    measured = [network["robustness"] for network in report["networks"].values() if network["robustness"]]
    shown = [name != CORRUPTED or bool(measured) for name in HEADER]
    header, *rows = (tuple(compress(row, shown)) for row in (HEADER, *rows))
    print("\n" + plain_table(header, rows))
    if measured:
        print(f"corrupted and clean are the same {measured[0]['images']:,} images of test")
    if new_images := report["new_images"]:
        recorded = report["run"]["recorded_test_accuracy"]
        print(f"on {new_images['images']:,} images of {new_images['data']}; of its own test {recorded:.2%}")
        for line in _describe_new_images(new_images):
            print(printable(line))


def _describe_new_images(told: Mapping[str, Any]) -> list[str]:
    """Say which of them were trained on, and which files are left out."""
    lines = []
    if learned := told["learned"]:
        lines.append(
            f"{len(learned):,} of the {told['images']:,} images of {told['data']} are among those that the "
            f"run was trained on: {_first(learned)}"
        )
    if left_out := [f"{path} ({problem})" for path, problem in told["left_out"]]:
        files = "file is" if len(left_out) == 1 else "files are"
        lines.append(f"{len(left_out):,} {files} left out: {_first(left_out)}")
    return lines


def _first(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (", ..." if names[SHOWN:] else "")


def _corrupted(mean: Mapping[str, Any], clean: Mapping[str, Any]) -> str:
    """Accuracy under corruption, and that of the very same images as they are."""
    return f"{mean['value']:.2%} ({clean['value']:.2%})"


def _row(name: str, figures: Mapping[str, Any]) -> tuple[str, ...]:
    calibration = figures["calibration"]
    before, after = (calibration[when]["ece_equal_width"]["value"] for when in ("before", "after"))
    robustness = figures["robustness"]
    return (
        name,
        _percent(figures["accuracy"]["top1"]),
        _corrupted(robustness["mean"], robustness["clean"]) if robustness else "-",
        f"{before:.4f}, scaled {after:.4f}",
        f"{calibration['temperature']:.3f}",
    )


def print_next(report: Mapping[str, Any], run: Path, written: Sequence[Path]) -> None:
    """Print where everything lies and what comes next.

    Args:
        report: the content of report.json.
        run: the run's directory.
        written: files of one folder.
    """
    print(f"\neverything lies in {written[0].parent}: {', '.join(path.name for path in written)}")
    networks = report["networks"]
    calibration = networks["keras"]["calibration"]
    temperature, images = calibration["temperature"], calibration["validation_images"]
    # What the exported files have of it; before there are any, nothing.
    folded = [each["folded_temperature"] for name, each in networks.items() if name != "keras"]
    missing = any(abs(temperature / each - 1) > WORTH_FOLDING for each in folded or [1.0])
    errors = [calibration[when]["ece_equal_width"]["value"] for when in ("before", "after")]
    if missing and not calibration["temperature_at_limit"] and errors[1] < errors[0]:
        print(f"next, by the temperature of {images:,} validation images:")
        print(f"  python -m export {shlex.quote(str(run))} --temperature {temperature:.3f}")


def print_comparison(comparison: Mapping[str, Any]) -> None:
    """Print a line for each run, the most accurate first."""
    header = (
        "run",
        "accuracy (95 %)",
        "behind the best, points",
        CORRUPTED,
        "parameters",
        "multiply-adds",
        "int8 KiB",
        "int8 ms (97 %)",
    )
    print("\n" + plain_table(header, [_comparison_row(row) for row in comparison["runs"]]))
    for row in comparison["runs"]:
        if row["learned"]:
            print(f"{row['learned']:,} of these {comparison['images']:,} images {row['run']} was trained on")


def _comparison_row(row: Mapping[str, Any]) -> tuple[str, ...]:
    behind, corrupted = row["behind_best"], row["corrupted_accuracy"]
    return (
        row["run"],
        _percent(row["accuracy"]),
        _points(behind) if behind else "-",
        _corrupted(corrupted, row["corrupted_clean"]) if corrupted else "-",
        f"{row['parameters']:,}",
        f"{row['multiply_adds']:,}",
        f"{row['int8_bytes'] / 1024:,.1f}",
        _time(row),
    )


def _percent(estimate: Mapping[str, Any]) -> str:
    low, high = estimate["interval_95"]
    return f"{estimate['value']:.2%} ({100 * low:.2f} to {100 * high:.2f})"


def _time(row: Mapping[str, Any]) -> str:
    low, high = row["int8_latency_interval_ms"]
    told = ", not told apart" if row["as_fast_as_best"] else ""
    return f"{row['int8_latency_p50_ms']:.3f} ({low:.3f} to {high:.3f}){told}"


def _points(difference: Mapping[str, Any]) -> str:
    low, high = difference["drop_interval_95_points"]
    return f"{difference['drop_points']:.2f} ({low:.2f} to {high:.2f})"
