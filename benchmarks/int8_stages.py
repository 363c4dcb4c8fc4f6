"""From a float network to the int8 file that ships: what a teacher, calibration and training for int8 do.

    python train.py ... --run-dir runs/plain
    python train.py ... --teacher RUN --run-dir runs/taught
    python -m export runs/taught --finetune 2
    python -m benchmarks.int8_stages runs/plain runs/taught --plot int8_stages.png

It reads what these commands measured, and measures nothing itself.
"""

import argparse
import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from evaluation.metrics.intervals import Estimate, share
from pipeline.console.run_command import DONE, run_command
from pipeline.console.tables import plain_table
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.whole import write_figure
from pipeline.run_directory import METRICS, RunDirectory

REPORT = {"files.int8.accuracy": float, "files.int8.test_images": int, "int8_tried": list}
"""What is read of an export's `report.json`."""


@dataclass(frozen=True)
class Stage:
    """A network on its way to the device.

    Attributes:
        name: what was done last.
        validation: accuracy there, with its interval.
        test: accuracy there, with its interval; None where test was not looked at.
    """

    name: str
    validation: Estimate
    test: Estimate | None


def float_stage(name: str, run: RunDirectory) -> Stage:
    """Read what a run measured of its network.

    Raises:
        UserError: the run is missing, unfinished or damaged.
    """
    metrics, splits = read_json(run.metrics, METRICS, of="a finished run"), read_splits(run)
    accuracy = {split: metrics[split]["accuracy"] for split in ("validation", "test")}
    return Stage(
        name, *(estimate(accuracy[split], splits[split]["images"]) for split in ("validation", "test"))
    )


def read_splits(run: RunDirectory) -> dict[str, Any]:
    """Read the sizes and fingerprints of a run's splits."""
    splits: dict[str, Any] = read_json(run.splits, {"splits": dict})["splits"]
    return splits


def int8_stages(report: dict[str, Any]) -> Iterator[Stage]:
    """Yield the int8 files that an export tried, calibrated and trained."""
    test = report["files"]["int8"]
    for tried in report["int8_tried"]:
        epochs = tried["trained_epochs"]
        name = f"int8, trained {epochs} epochs" if epochs else f"int8, calibrated: {tried['what']}"
        of_test = estimate(test["accuracy"], test["test_images"]) if tried["chosen"] else None
        yield Stage(name, estimate(tried["accuracy"], tried["validation_images"]), of_test)


def estimate(accuracy: float, images: int) -> Estimate:
    """Give an accuracy on so many images its 95 % interval."""
    value = share(round(accuracy * images), images)
    assert value is not None  # no split is empty
    return value


def read_stages(plain: RunDirectory, taught: RunDirectory) -> list[Stage]:
    """Read all stages, in their order.

    Raises:
        UserError: a run or the export of the second is missing, or their splits differ.
    """
    report = read_json(taught.path / "export" / "report.json", REPORT, of="an exported run")
    stages = [float_stage("float32, labels alone", plain), float_stage("float32, a teacher", taught)]
    if read_splits(plain) != read_splits(taught):
        raise UserError(f"both runs must have the same splits; {plain.path} and {taught.path} have not")
    return [*stages, *int8_stages(report)]


def plot_stages(stages: Sequence[Stage], path: Path) -> None:
    """Draw each stage's accuracy with its interval, first on top."""
    figure = Figure(figsize=(7, 0.5 * len(stages) + 1), layout="constrained")
    axes = figure.subplots()
    series: dict[str, tuple[Sequence[Estimate | None], float, str]] = {
        "validation": ([stage.validation for stage in stages], 0.1, "o"),
        "test": ([stage.test for stage in stages], -0.1, "s"),
    }
    for label, (estimates, shift, marker) in series.items():
        shown = [(-row + shift, each) for row, each in enumerate(estimates) if each]
        values = [100 * each.value for _, each in shown]
        errors = [
            [100 * (each.value - each.low) for _, each in shown],
            [100 * (each.high - each.value) for _, each in shown],
        ]
        axes.errorbar(values, [y for y, _ in shown], xerr=errors, fmt=marker, capsize=3, label=label)
    axes.set_yticks([-row for row in range(len(stages))], [stage.name for stage in stages])
    axes.set_xlabel("accuracy, % (95 % interval)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend()
    write_figure(path, figure)


def print_stages(stages: Iterable[Stage]) -> None:
    """Print one line a stage."""
    rows = [(stage.name, describe(stage.validation), describe(stage.test)) for stage in stages]
    print(plain_table(("stage", "validation (95 %)", "test (95 %)"), rows))


def describe(accuracy: Estimate | None) -> str:
    """Write an accuracy and its interval in percent."""
    if accuracy is None:
        return "not looked at"
    return f"{accuracy.value:.2%} ({100 * accuracy.low:.2f} to {100 * accuracy.high:.2f})"


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted")


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("plain", type=Path, help="run directory of the network that labels alone trained")
    parser.add_argument("taught", type=Path, help="of the one with a teacher, exported with --finetune")
    parser.add_argument("--plot", type=Path, help="PNG file to draw them in")
    arguments = parser.parse_args(given)
    stages = read_stages(RunDirectory(arguments.plain), RunDirectory(arguments.taught))
    print_stages(stages)
    if arguments.plot:
        plot_stages(stages, arguments.plot)
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
