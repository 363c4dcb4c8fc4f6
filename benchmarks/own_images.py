"""An engineer's folder from training to the list of wrong labels, by the commands that she types.

    python -m benchmarks.own_images
    python -m benchmarks.own_images --cifar

A folder of a few hundred images is trained on with nothing but its name, the network answers for
images that it has not seen, and the evaluation lists suspected labels; each command in a process
of its own, with the network switched off, timed from its start to its end. With `--cifar` the
folders hold 500 images of five of CIFAR-10's classes, and the same minutes are spent from scratch.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.image_folders import ImageFolder, write_cifar_folder, write_drawn_folder
from benchmarks.measure import BUSY_LOAD, CORES, count
from pipeline.console.run_command import DONE, run_command
from pipeline.console.tables import plain_table
from pipeline.environment import describe_environment
from pipeline.errors import UserError
from pipeline.files.csv_file import read_csv
from pipeline.files.place import check_can_be_made

FIRST = 20
"""Suspects that somebody looks at before anything else."""

NO_NETWORK = {"http_proxy": "http://127.0.0.1:9", "https_proxy": "http://127.0.0.1:9"}
"""Environment in which whatever asks for a page is refused at once: nobody listens there."""

SCRATCH: dict[str, tuple[str, ...]] = {
    "scratch": ("folder_scratch",),
    "scratch, 32 px": ("folder_scratch", "--image-size", "32"),
}
"""What CIFAR-10's images are trained with beside the recipe: as the preset is, and in their own size."""


@dataclass(frozen=True)
class Trained:
    """A recipe on one folder.

    Attributes:
        seconds: of the whole command.
        accuracy: on unseen images, in [0, 1].
    """

    seconds: float
    accuracy: float


@dataclass(frozen=True)
class Found:
    """What the list of suspects is worth.

    Attributes:
        seconds: of the whole command.
        wrong: labels of the folder that are wrong.
        among_first: wrong ones among the first `FIRST` suspects.
        recall: share of the wrong ones that stand among the first suspects, as many as are wrong.
    """

    seconds: float
    wrong: int
    among_first: int
    recall: float


@dataclass(frozen=True)
class Measured:
    """All figures of one folder.

    Attributes:
        seed: of the folder.
        trained: recipe -> what it reached.
        found: None where no label is wrong.
    """

    seed: int
    trained: Mapping[str, Trained]
    found: Found | None


def run_python(*words: str | Path) -> float:
    """Run a command of the project; return how many seconds it took.

    Raises:
        UserError: it failed; it has told why.
    """
    began = time.monotonic()
    command = [sys.executable, *map(str, words)]
    done = subprocess.run(command, stdout=subprocess.DEVNULL, env={**os.environ, **NO_NETWORK}, check=False)
    if done.returncode:
        raise UserError(f"each command must succeed; {' '.join(command[1:])}: exit code {done.returncode}")
    return time.monotonic() - began


def measure_folder(folder: ImageFolder, seed: int, recipe: Sequence[str], *, scratch: bool) -> Measured:
    """Train on a folder, answer for unseen images and look for wrong labels; runs lie beside its images.

    Args:
        folder: the images.
        seed: of the folder.
        recipe: words behind train.py.
        scratch: also train by `SCRATCH` in the same minutes.
    """
    name, run = " ".join(recipe) or "default", folder.path / "run"
    trained = {name: train(folder, run, recipe)}
    for number, (other, words) in enumerate(SCRATCH.items() if scratch else ()):
        minutes = f"{trained[name].seconds / 60:.3f}"
        trained[other] = train(folder, folder.path / f"scratch-{number}", [*words, "--minutes", minutes])
    return Measured(seed, trained, find_wrong_labels(folder, run) if folder.wrong_paths() else None)


def train(folder: ImageFolder, run: Path, words: Sequence[str]) -> Trained:
    """Train on a folder and answer for its unseen images."""
    answers = run.with_suffix(".csv")
    seconds = run_python("train.py", *words, "--data", f"folder:{folder.images}", "--run-dir", run)
    run_python("predict.py", run, folder.unseen, "--csv", answers)
    return Trained(seconds, accuracy_of(answers))


def accuracy_of(answers: Path) -> float:
    """Return the share of right answers in what predict.py wrote."""
    rows = read_csv(answers)
    return statistics.fmean(row["answer"] == row["label"] for row in rows)


def find_wrong_labels(folder: ImageFolder, run: Path) -> Found:
    """Let the evaluation look for wrong labels among all images of a folder."""
    seconds = run_python("-m", "evaluation", run, "--cross-validate", "5", "--corrupted", "0")
    return score_suspects(run / "evaluation" / "label_errors.csv", folder.wrong_paths(), seconds)


def score_suspects(suspects: Path, wrong: set[str], seconds: float) -> Found:
    """Hold the evaluation's list, the most suspicious first, to the labels that are wrong.

    Args:
        suspects: the list.
        wrong: paths, the class folder and the file.
        seconds: that it took.
    """
    ranked = ["/".join(Path(row["path"]).parts[-2:]) in wrong for row in read_csv(suspects)]
    return Found(seconds, len(wrong), sum(ranked[:FIRST]), sum(ranked[: len(wrong)]) / len(wrong))


def print_folders(measured: Sequence[Measured]) -> None:
    """Print a line for each folder and one for their mean, with the standard deviation."""
    recipes = list(measured[0].trained)
    header = ["folder"]
    for recipe in recipes:
        header += [f"{recipe}, s", "unseen right"]
    columns = [[each.trained[recipe] for each in measured] for recipe in recipes]
    cells = [[str(each.seed) for each in measured]]
    for column in columns:
        cells.append([f"{trained.seconds:.0f}" for trained in column])
        cells.append([f"{trained.accuracy:.1%}" for trained in column])
    means = ["mean"]
    for column in columns:
        means += [_mean([t.seconds for t in column]), _mean([100 * t.accuracy for t in column]) + " %"]
    found = [each.found for each in measured if each.found]
    if found:
        header += ["evaluation, s", f"wrong of first {FIRST}", "recall"]
        cells.append([f"{each.seconds:.0f}" for each in found])
        cells.append([str(each.among_first) for each in found])
        cells.append([f"{each.recall:.2f}" for each in found])
        means += [
            _mean([each.seconds for each in found]),
            _mean([each.among_first for each in found]),
            _mean([each.recall for each in found], 2),
        ]
    print(plain_table(header, [*map(list, zip(*cells, strict=True)), means]))


def _mean(values: Sequence[float], digits: int = 1) -> str:
    spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.{digits}f}{spread}"


def parse_arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: the place for the folders is not new.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folders", type=count, default=3, help="how many, each of another seed (3)")
    parser.add_argument(
        "--cifar",
        action="store_true",
        help="500 of CIFAR-10's images in place of drawings; also from scratch",
    )
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave images and runs there, a new folder")
    parser.add_argument(
        "--recipe",
        nargs=argparse.REMAINDER,
        default=[],
        metavar="WORD",
        help="last: what stands behind train.py, in place of its own choice",
    )
    arguments = parser.parse_args(given)
    if arguments.keep and arguments.keep.exists():
        raise UserError(f"--keep must be new; received {arguments.keep}")
    if arguments.keep:
        check_can_be_made(arguments.keep, "--keep")
    return arguments


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted; nothing was measured")


def _run(given: list[str]) -> int:
    arguments, load = parse_arguments(given), os.getloadavg()[0]
    write = write_cifar_folder if arguments.cifar else write_drawn_folder
    with contextlib.ExitStack() as stack:
        place = arguments.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        measured = []
        for seed in range(1, arguments.folders + 1):
            print(f"folder {seed} of {arguments.folders}", flush=True)
            folder = write(place / f"folder{seed}", seed)
            measured.append(measure_folder(folder, seed, arguments.recipe, scratch=arguments.cifar))
    environment = {**describe_environment("scikit-learn", "pillow"), "load_before": load}
    print(f"\n{environment['processor']}, {CORES} cores, load before {load:.2f}\n")
    if load > BUSY_LOAD * CORES:
        print("The machine was busy: measure again.\n")
    print_folders(measured)
    print(as_json(arguments, measured, environment))
    return DONE


def as_json(
    arguments: argparse.Namespace, measured: Sequence[Measured], environment: Mapping[str, Any]
) -> str:
    """Return all figures as one line."""
    settings = {name: getattr(arguments, name) for name in ("folders", "cifar", "recipe")}
    return json.dumps(
        {
            "benchmark": "own_images",
            "settings": settings,
            "folders": [asdict(each) for each in measured],
            "environment": environment,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
