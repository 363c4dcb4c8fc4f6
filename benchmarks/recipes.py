"""What each ingredient of the recipe for CIFAR-10 is worth: the recipe as it is, and without each.

    python -m benchmarks.recipes
    python -m benchmarks.recipes --teacher RUN --model resnet8 --width 16    # and what a teacher is worth

Short runs of a narrow ResNet-18, all of one recipe with the same seeds: initial weights, order and
draws of a seed are the same where the ingredient leaves them so, and a difference is taken seed by
seed. What counts is the accuracy on validation after the last epoch; test is not looked at.
"""

import argparse
import dataclasses
import json
import math
import os
import statistics
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks.measure import count
from pipeline.config.config import Config
from pipeline.config.presets import preset
from pipeline.console.progress import Progress
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.console.tables import plain_table
from pipeline.environment import describe_environment
from pipeline.errors import unknown

if TYPE_CHECKING:
    from pipeline.training.resolve import Ground

RECIPE = "the recipe"


@dataclass(frozen=True)
class Times:
    """A setting that is so many times the recipe's."""

    factor: float


VARIANTS: dict[str, dict[str, Any]] = {
    "nesterov in place of muon": {"optimizer": "nesterov", "warmup_share": 0.25},
    "half the kernels' rate": {"muon_rate": Times(0.5)},
    "twice the kernels' rate": {"muon_rate": Times(2.0)},
    "a quarter of the others' rate": {"peak_learning_rate": Times(0.25)},
    "warm-up": {"warmup_share": 0.25},
    "batches of 256": {"batch_size": 256},
    "padding of 4": {"crop_padding": 4},
    "independent flips": {"flip": "horizontal"},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "blocks start as their shortcuts": {"zero_init": True},
    "moving average": {"ema_decay": 0.99},
}
"""What is tried in place of an ingredient, or beside it -> the settings that differ."""


TAUGHT: dict[str, dict[str, Any]] = {
    "a teacher": {},
    "a teacher, half of the loss": {"teacher_share": 0.5},
    "a teacher, temperature 1": {"temperature": 1.0},
    "a teacher, temperature 2": {"temperature": 2.0},
}
"""What is tried with `--teacher` -> the settings that differ beside it."""


@dataclass(frozen=True)
class Result:
    """What one variant reached.

    Attributes:
        accuracies: on validation, one a seed.
        gains: over the recipe with the same seed.
    """

    accuracies: list[float]
    gains: list[float]


def settings_of(variant: str, recipe: Config) -> dict[str, Any]:
    """Return the settings in which a variant differs from the recipe."""
    own = recipe.values()
    return {
        name: value.factor * own[name] if isinstance(value, Times) else value
        for name, value in (VARIANTS | TAUGHT).get(variant, {}).items()
    }


def summarise(values: Sequence[float]) -> str:
    """Write mean and standard error of shares, in percent."""
    mean = f"{100 * statistics.mean(values):.2f}"
    if len(values) == 1:
        return mean
    return f"{mean} ± {100 * statistics.stdev(values) / math.sqrt(len(values)):.2f}"


def compare(accuracies: Mapping[str, Sequence[float]]) -> dict[str, Result]:
    """Subtract the recipe's accuracies from each variant's, seed by seed."""
    base = accuracies[RECIPE]
    return {
        name: Result(list(reached), [mine - its for mine, its in zip(reached, base, strict=True)])
        for name, reached in accuracies.items()
    }


def print_results(results: Mapping[str, Result]) -> None:
    """Print one line a variant; what gains most comes first."""
    rows = [
        (name, summarise(result.accuracies), "" if name == RECIPE else summarise(result.gains))
        for name, result in sorted(results.items(), key=lambda item: -statistics.mean(item[1].gains))
    ]
    print(plain_table(("variant", "validation accuracy, %", "over the recipe, points"), rows))


def train_all(arguments: argparse.Namespace) -> dict[str, list[float]]:
    """Train every variant with every seed; return the last epoch's accuracies on validation."""
    load_tensorflow_quietly()
    from benchmarks.tuning_tasks import train
    from pipeline.training.resolve import prepare_ground

    variants = list(dict.fromkeys([RECIPE, *arguments.variants]))
    # One split for all seeds, so that all are asked the same.
    settings = {
        "model": arguments.model,
        "width": arguments.width,
        "epochs": arguments.epochs,
        "split_seed": 0,
        # Of fewer images, no gain could be told from chance.
        "validation_share": Config().data.validation_share,
    }
    base = preset(arguments.preset).with_values(settings)
    taught = base.with_values({"teacher": arguments.teacher})
    with_teacher: Ground = prepare_ground(taught)
    alone = dataclasses.replace(with_teacher, teacher=None)
    accuracies: dict[str, list[float]] = {name: [] for name in variants}
    with Progress(len(variants) * arguments.seeds, "training", "runs") as progress:
        # Seed by seed, so that all that is there when it is stopped can be compared.
        for seed in range(arguments.seeds):
            for name in variants:
                start, ground = (taught, with_teacher) if name in TAUGHT else (base, alone)
                (curve,) = train([start.with_values({**settings_of(name, start), "seed": seed})], ground)
                accuracy = curve[-1][0]
                accuracies[name].append(accuracy)
                progress.line(f"{name}, seed {seed}: {100 * accuracy:.2f} %")
                progress.update(1, name)
    return accuracies


def parse_arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: there is no such variant, or it needs a teacher.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--preset", default="cifar10_10min", help="the recipe (cifar10_10min)")
    parser.add_argument("--model", default="resnet18", help="the network (resnet18)")
    parser.add_argument("--width", type=count, default=8, help="channels of its first stage (8)")
    parser.add_argument("--epochs", type=count, default=4, help="of each run (4)")
    parser.add_argument("--seeds", type=count, default=3, help="runs of each variant (3)")
    parser.add_argument("--teacher", default="", metavar="RUN", help="a finished run to learn from")
    parser.add_argument(
        "--variants", nargs="+", metavar="NAME", help="default: all, with --teacher all that have one"
    )
    arguments = parser.parse_args(given)
    arguments.variants = arguments.variants or list(TAUGHT if arguments.teacher else VARIANTS)
    known = VARIANTS | (TAUGHT if arguments.teacher else {})
    for name in arguments.variants:
        if name not in known:
            raise unknown("--variants", name, known)
    return arguments


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted")


def _run(given: list[str]) -> int:
    arguments = parse_arguments(given)
    load_before = os.getloadavg()[0]
    results = compare(train_all(arguments))
    print_results(results)
    print(
        json.dumps(
            {
                "benchmark": "recipes",
                "settings": vars(arguments),
                "variants": {name: vars(result) for name, result in results.items()},
                "environment": {**describe_environment(), "load_before": load_before},
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
        )
    )
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
