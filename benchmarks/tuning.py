"""Epochs of training that our search needs to find a good configuration, beside other searches.

    python -m benchmarks.tuning

Each search is over when a trial comes within half a point of the best configuration that is known
with its seed; epochs of all trials until then count. One that does not come so far within the
budget counts with the whole of it. digits and cifar10 are looked up in tables of learning curves,
one for every configuration of a small space; what a table lacks is trained (a while; killed, the
same command goes on), and so `--table NEW` trains all of it again. Optuna takes part where it is
installed.
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
from pipeline.environment import describe_environment

if TYPE_CHECKING:
    from benchmarks.tuning_contenders import Reach, Task

TABLES = Path(__file__).parent / "tuning_tables"
TASKS = ("branin", "hartmann6", "digits", "cifar10")
OURS = "freeze_thaw"
PACKAGES = ("keras-tuner", "scikit-learn", "scipy", "optuna")
BARS = {"KerasTuner random": 1 / 3, "KerasTuner Hyperband": 1 / 2, "KerasTuner Bayesian": 1 / 2}
"""Peer -> the most that the median ratio of our epochs to its may be."""

SEED_STEP = 1001
"""Between two seeds, from the first on. KerasTuner draws with seed, seed + 1, ...: of neighbours each
would search as the other does, a trial later. (0 it takes for none.) Odd, so that tables take turns."""

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
        return statistics.median(self.values) <= BARS[self.peer]


def compare(reaches: Reaches) -> list[Ratio]:
    """Divide the epochs of ours, whole or less a part, by those of each peer."""
    epochs = {name: [reach.epochs for reach in reached] for name, reached in reaches.items()}
    return [
        Ratio(name, peer, ratios(epochs[name], epochs[peer]), sum(epochs[name]) / sum(epochs[peer]))
        for peer in BARS
        for name in epochs
        if name == OURS or name.startswith("ours")
    ]


@functools.cache
def load_task(name: str, folder: Path) -> "Task":
    """Make a task; train what its table lacks."""
    load_tensorflow_quietly()
    from benchmarks.tuning_surfaces import SURFACES, surface_task
    from benchmarks.tuning_tasks import trained_task

    return surface_task(name) if name in SURFACES else trained_task(name, folder)


def search(name: str, folder: Path, contender: str, seed: int, trials: int | None) -> "Reach":
    """In a process of its own: let a contender search a task once."""
    task = load_task(name, folder)
    from benchmarks.tuning_contenders import CONTENDERS

    return CONTENDERS[contender].reach(task, seed, trials or task.trials)


def search_all(name: str, arguments: argparse.Namespace) -> dict[str, list["Reach"]]:
    """Let every contender search a task with every seed, as many at a time as there are cores."""
    from benchmarks.tuning_contenders import CONTENDERS

    seeds = [SEED_STEP * number for number in range(1, arguments.seeds + 1)]
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

    seeds, best = len(reaches[OURS]), 100 * task.best(SEED_STEP)
    print(
        f"\n{task.name}: {len(task.space)} hyperparameters, at most {trials * task.epochs} epochs, {trials} "
        f"trials of {task.epochs}, {seeds} seeds;\nto {best - 100 * TOLERANCE:.2f} % (best known: "
        f"{best:.2f} %), as {100 * task.share:.2g} % of all configurations are\n"
    )
    pairs = [f"{ratio.contender} / {ratio.peer}" for ratio in compared]
    wide = max(map(len, [*reaches, *pairs]))
    print(f"{'median (least - greatest)':{wide}}  {'epochs':>18}  {'regret, points':>18}  not reached")
    for name, reached in reaches.items():
        censored = sum(r.censored for r in reached)
        # A median that is censored itself is only a bound.
        more = ">" if sorted(reached, key=lambda r: r.epochs)[seeds // 2].censored else ""
        epochs, regret = [r.epochs for r in reached], [100 * r.regret for r in reached]
        print(
            f"{name:{wide}}  {more + _spread(epochs, 0):>18}  {_spread(regret, 2):>18}  {censored} of {seeds}"
        )
    print(f"\n{'epochs, paired by seed':{wide}}  {'ratio':>18}  {'all seeds':>14}")
    for pair, ratio in zip(pairs, compared, strict=True):
        verdict = ""
        if ratio.contender == OURS:
            verdict = f"  bar at most {BARS[ratio.peer]:.2f}: {'met' if ratio.met else 'not met'}"
        print(f"{pair:{wide}}  {_spread(ratio.values, 2):>18}  {ratio.together:>14.2f}{verdict}")
    sys.stdout.flush()


def _spread(values: Sequence[float], digits: int) -> str:
    spread = Spread.of(values)
    return f"{spread.median:.{digits}f} ({spread.minimum:.{digits}f} - {spread.maximum:.{digits}f})"


def as_json(task: "Task", reaches: Reaches, compared: Sequence[Ratio]) -> dict[str, Any]:
    """Return the figures of a task."""
    return {
        "best": [task.best(SEED_STEP * n) for n in range(1, len(reaches[OURS]) + 1)],
        "share_as_good": task.share,
        "epochs_of_a_trial": task.epochs,
        "space": {d.name: d.choices or (d.low, d.high) for d in task.space},
        "contenders": {
            name: {
                "epochs": asdict(Spread.of([reach.epochs for reach in reached])),
                "trials": asdict(Spread.of([reach.trials for reach in reached])),
                "regret": asdict(Spread.of([reach.regret for reach in reached])),
                "censored": sum(reach.censored for reach in reached),
                "seeds": [asdict(reach) for reach in reached],
            }
            for name, reached in reaches.items()
        },
        "comparisons": [
            {**asdict(ratio), **asdict(Spread.of(ratio.values)), "bar": BARS[ratio.peer], "met": ratio.met}
            for ratio in compared
        ],
    }


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted; the same command goes on")


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS, help="default: all")
    parser.add_argument(
        "--trials", type=count, help="whole trials that a search may train (as many as a table has; else 40)"
    )
    parser.add_argument("--seeds", type=count, default=10, help="searches of each contender (10)")
    parser.add_argument(
        "--table",
        type=Path,
        default=TABLES,
        metavar="DIR",
        help="where learning curves are kept (those that come along)",
    )
    arguments = parser.parse_args(given)
    load_before = os.getloadavg()[0]
    figures = {}
    for name in arguments.tasks:
        task = load_task(name, arguments.table)
        reaches = search_all(name, arguments)
        compared = compare(reaches)
        print_task(task, reaches, compared, arguments.trials or task.trials)
        figures[name] = as_json(task, reaches, compared)
    print(
        json.dumps(
            {
                "benchmark": "tuning",
                "settings": {"trials": arguments.trials, "seeds": arguments.seeds},
                "tasks": figures,
                "environment": {**describe_environment(*PACKAGES), "load_before": load_before},
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
        )
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
