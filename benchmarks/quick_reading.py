"""Whether JPEGs that are decoded at a half or a quarter of their size in training cost accuracy.

    python -m benchmarks.quick_reading

Drawn images (`benchmarks.drawn_images`) so large that most crops are at least four times the network's
pixels, which training reads at a half or less; beside it `--no-quick-reading`, with the same images, splits,
seed and steps. Test, three tenths of the images, is read in full by both.
"""

import argparse
import json
import os
import statistics
import sys
import tempfile
from pathlib import Path

from benchmarks.image_folders import write_drawn_folder
from benchmarks.measure import CORES, count
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.environment import describe_environment
from pipeline.errors import UserError

IMAGES, SHORTER_SIDE, SIZE = 400, (240, 420), 48
WORDS = ("--no-linear-head", "--freeze", "none", "--epochs", "8")
"""Beside the preset: what is measured is trained by gradients, on crops, and not fitted to whole images."""

RECIPES = {"quick": "--quick-reading", "in full": "--no-quick-reading"}


def measure(images: Path, runs: Path, words: list[str]) -> float:
    """Train on a folder of images; return the percentage of test that is right.

    Raises:
        UserError: training failed; it has told why.
    """
    load_tensorflow_quietly()
    import train

    given = [*words, "--data", f"folder:{images}", "--run-dir", str(runs)]
    if train.main([*given, "--image-size", str(SIZE), "--test-share", "0.3"]):
        raise UserError(f"training must succeed; received {' '.join(given)}")
    return 100 * json.loads((runs / "metrics.json").read_text())["test"]["accuracy"]


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted; nothing was measured")


def _run(given: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seeds", type=count, default=3, help="how many runs of each kind (3)")
    parser.add_argument("--preset", default="folder", help="what is trained (folder)")
    parser.add_argument("--images", type=Path, help="a folder of images (drawn anew)")
    arguments, load = parser.parse_args(given), os.getloadavg()[0]
    right: dict[str, list[float]] = {name: [] for name in RECIPES}
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        images = arguments.images or write_drawn_folder(place / "drawn", 1, IMAGES, 0, SHORTER_SIDE).images
        for seed in range(arguments.seeds):
            for recipe, flag in RECIPES.items():
                words = [arguments.preset, *WORDS, "--seed", str(seed), flag]
                right[recipe].append(measure(images, place / f"{recipe}-{seed}", words))
    right["difference"] = [a - b for a, b in zip(right["quick"], right["in full"], strict=True)]
    print(f"\n{CORES} cores, load before {load:.2f}; % of test right: mean ± standard deviation, each seed's")
    for recipe, values in right.items():
        spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
        each = " ".join(f"{value:.2f}" for value in values)
        print(f"{recipe:>12}  {statistics.fmean(values):.2f}{spread}   ({each})")
    environment = {**describe_environment(), "load_before": load}
    print(json.dumps({"benchmark": "quick_reading", "right_percent": right, "environment": environment}))
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
