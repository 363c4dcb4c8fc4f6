"""Epochs of training that our search needs to find a good configuration, beside KerasTuner's own.

    python -m benchmarks.tuning

Each search is over when a trial comes within half a point of the best configuration that is
known; epochs of all trials until then count. One that does not come so far within the budget
counts with the epochs of its whole budget. digits and cifar10 train every configuration of a small
space once (a while; killed, the same command goes on) and search among the learning curves.
"""

import argparse
import functools
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.measure import CORES, Spread, count, ratios
from pipeline.console.progress import Progress
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command

if TYPE_CHECKING:
    from benchmarks.tuning_contenders import Reach, Task

TASKS = ("branin", "hartmann6", "digits", "cifar10")
OURS = "ours"
PACKAGES = ("keras-tuner", "scikit-learn", "scipy")
BARS = {"KerasTuner random": (0.5, "at most 0.5"), "KerasTuner Bayesian": (1.0, "below 1")}
"""Peer -> the ratio of our epochs to its, and how that is to be read."""

Reaches = Mapping[str, Sequence["Reach"]]
"""What each contender needed, seed by seed."""


@dataclass(frozen=True)
class Ratio:
    """A contender's epochs to a peer's, paired by seed.

    Attributes:
        contender: of whom they are the epochs.
        peer: by whose they are divided.
        values: one a seed.
        together: the epochs of all seeds together, divided.
    """

    contender: str
    peer: str
    values: list[float]
    together: float

    @property
    def met(self) -> bool:
        """Whether the median clears the peer's bar."""
        bar, wording = BARS[self.peer]
        median = statistics.median(self.values)
        return median < bar if wording.startswith("below") else median <= bar


def compare(reaches: Reaches) -> list[Ratio]:
    """Divide the epochs of ours, whole or less a part, by those of each peer."""
    epochs = {name: [reach.epochs for reach in reached] for name, reached in reaches.items()}
    return [
        Ratio(name, peer, ratios(epochs[name], epochs[peer]), sum(epochs[name]) / sum(epochs[peer]))
        for peer in BARS
        for name in epochs
        if name not in BARS
    ]


@functools.cache
def load_task(name: str, folder: Path) -> "Task":
    """Make a task; train what its table lacks."""
    load_tensorflow_quietly()
    from benchmarks.tuning_surfaces import SURFACES, surface_task
    from benchmarks.tuning_tasks import trained_task

    return surface_task(name) if name in SURFACES else trained_task(name, folder)


def search(name: str, folder: Path, contender: str, seed: int, trials: int) -> "Reach":
    """In a process of its own: let a contender search a task once."""
    task = load_task(name, folder)
    from benchmarks.tuning_contenders import CONTENDERS

    return CONTENDERS[contender].reach(task, seed, trials)


def search_all(name: str, arguments: argparse.Namespace) -> dict[str, list["Reach"]]:
    """Let every contender search a task with every seed, as many at a time as there are cores."""
    from benchmarks.tuning_contenders import CONTENDERS

    # Not 0, which KerasTuner takes for none.
    seeds = range(1, arguments.seeds + 1)
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(CORES, context) as processes,
        Progress(len(CONTENDERS) * len(seeds), f"searching {name}", "searches") as progress,
    ):
        searches = {
            contender: [
                processes.submit(search, name, arguments.table, contender, seed, arguments.trials)
                for seed in seeds
            ]
            for contender in CONTENDERS
        }
        reaches: dict[str, list[Reach]] = {contender: [] for contender in CONTENDERS}
        for contender, running in searches.items():
            for future in running:
                reaches[contender].append(future.result())
                progress.update(1, contender)
    return reaches


def print_task(task: "Task", reaches: Reaches, compared: Sequence[Ratio], trials: int) -> None:
    """Print what each contender needed, and how they compare."""
    from benchmarks.tuning_contenders import TOLERANCE

    epochs, seeds = task.config.fit.epochs, len(reaches[OURS])
    print(
        f"\n{task.name}: {len(task.space)} hyperparameters, at most {trials} trials of {epochs} "
        f"epochs, {seeds} seeds;\nto {100 * (task.best - TOLERANCE):.2f} % (best known: "
        f"{100 * task.best:.2f} %), as {100 * task.share:.2g} % of all configurations are\n"
    )
    pairs = [f"{ratio.contender} / {ratio.peer}" for ratio in compared]
    wide = max(map(len, [*reaches, *pairs]))
    print(f"{'median (least - greatest)':{wide}}  {'epochs':>18}  {'trials':>14}  not reached")
    for name, reached in reaches.items():
        spent, taken = ([getattr(r, unit) for r in reached] for unit in ("epochs", "trials"))
        censored = sum(r.censored for r in reached)
        # A median that is censored itself is only a bound.
        more = ">" if sorted(reached, key=lambda r: r.epochs)[seeds // 2].censored else ""
        cells = f"{more + _spread(spent, 0):>18}  {more + _spread(taken, 0):>14}"
        print(f"{name:{wide}}  {cells}  {censored} of {seeds}")
    print(f"\n{'epochs, paired by seed':{wide}}  {'ratio':>18}  {'all seeds':>14}")
    for pair, ratio in zip(pairs, compared, strict=True):
        verdict = ""
        if ratio.contender == OURS:
            verdict = f"  bar {BARS[ratio.peer][1]}: {'met' if ratio.met else 'not met'}"
        print(f"{pair:{wide}}  {_spread(ratio.values, 2):>18}  {ratio.together:>14.2f}{verdict}")
    sys.stdout.flush()


def _spread(values: Sequence[float], digits: int) -> str:
    spread = Spread.of(values)
    return f"{spread.median:.{digits}f} ({spread.minimum:.{digits}f} - {spread.maximum:.{digits}f})"


def as_json(task: "Task", reaches: Reaches, compared: Sequence[Ratio]) -> dict[str, Any]:
    """Return the figures of a task."""
    return {
        "best": task.best,
        "share_as_good": task.share,
        "epochs_of_a_trial": task.config.fit.epochs,
        "space": {d.name: d.choices or (d.low, d.high) for d in task.space},
        "contenders": {
            name: {
                "epochs": asdict(Spread.of([reach.epochs for reach in reached])),
                "trials": asdict(Spread.of([reach.trials for reach in reached])),
                "censored": sum(reach.censored for reach in reached),
                "seeds": [asdict(reach) for reach in reached],
            }
            for name, reached in reaches.items()
        },
        "comparisons": [
            {**asdict(ratio), **asdict(Spread.of(ratio.values)), "bar": BARS[ratio.peer][1], "met": ratio.met}
            for ratio in compared
        ],
    }


def describe_machine() -> dict[str, Any]:
    """Return versions and machine, those of what searches among them."""
    from pipeline.environment import describe_environment

    return describe_environment(*PACKAGES)


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted; the same command goes on")


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default: all")
    parser.add_argument("--trials", type=count, default=40, help="most trials of a search (40)")
    parser.add_argument("--seeds", type=count, default=10, help="searches of each contender (10)")
    parser.add_argument(
        "--table",
        type=Path,
        default=Path("runs/benchmark-tuning"),
        metavar="DIR",
        help="where learning curves are kept (runs/benchmark-tuning)",
    )
    arguments = parser.parse_args(given)
    load_before = os.getloadavg()[0]
    figures = {}
    for name in arguments.tasks:
        task = load_task(name, arguments.table)
        reaches = search_all(name, arguments)
        compared = compare(reaches)
        print_task(task, reaches, compared, arguments.trials)
        figures[name] = as_json(task, reaches, compared)
    print(
        json.dumps(
            {
                "benchmark": "tuning",
                "settings": {"trials": arguments.trials, "seeds": arguments.seeds},
                "tasks": figures,
                "environment": {**describe_machine(), "load_before": load_before},
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
        )
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
