"""What a state that is saved in the middle of an epoch costs the training of ResNet50.

    python -m benchmarks.checkpoints

The network and optimizer of the preset imagenet; nothing is trained. Of each state the seconds that the
training waits for its copy, the seconds until it is on the disk, and those of a processor for both. A run
saves one every --checkpoint-seconds; 1 % of them is the bar.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

from benchmarks.measure import CORES, Comparison, Spread, count
from pipeline.config.presets import preset
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.environment import describe_environment

CLASSES, MOST_SHARE = 1000, 0.01
"""Classes of ImageNet, and the share of the time that saving may take."""


def measure(folder: Path, model: str, rounds: int) -> dict[str, list[float]]:
    """Save so many states in `folder`; return megabytes, and seconds of each round."""
    load_tensorflow_quietly()
    from pipeline.data.prepare import PixelStatistics
    from pipeline.run_directory import RunDirectory
    from pipeline.training.checkpoint import Checkpoints, Progression
    from pipeline.training.networks import build_training_network, compile_for_training
    from pipeline.training.optimization import build_schedule

    config = preset("imagenet").with_values({"model": model, "precision": "float32"})
    network = build_training_network(config, CLASSES, PixelStatistics((0.0,) * 3, (1.0,) * 3), replicas=1)
    compile_for_training(network, config, build_schedule(config.fit, config.transfer, 5_000), None)
    directory = RunDirectory(folder)
    directory.checkpoints.mkdir()
    checkpoints = Checkpoints(directory, [*network.variables, *network.optimizer.variables])
    found: dict[str, list[float]] = {name: [] for name in ("mb", "waits_s", "written_s", "processor_s")}
    for step in range(1 + rounds):
        started, processor = time.perf_counter(), time.process_time()
        path = checkpoints.begin_to_save(Progression(step=step))
        waited = time.perf_counter() - started
        checkpoints.wait()
        written = time.perf_counter() - started
        # The first has the memory of its arrays to take from the system.
        if step:
            values = (path.stat().st_size / 1e6, waited, written, time.process_time() - processor)
            for figures, value in zip(found.values(), values, strict=True):
                figures.append(value)
    return found


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=count, default=9, help="how many states are saved (9)")
    parser.add_argument("--model", default="resnet50", help="which network (resnet50)")
    parser.add_argument("--disk", type=Path, help="a folder on the disk to write to")
    arguments = parser.parse_args()
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(dir=arguments.disk) as place:
        found = measure(Path(place), arguments.model, arguments.rounds)
    every = preset("imagenet").run.checkpoint_seconds
    bar = Comparison("waits", found["waits_s"], MOST_SHARE * every, unit="s", upper=True)
    print(f"{arguments.model}, {CORES} cores, load before {load:.2f}\n")
    print(f"{'of a state':>12}  {'median':>8}  {'min':>8}  {'max':>8}")
    for name, values in found.items():
        print(f"{name:>12}  " + "  ".join(f"{value:8.3f}" for value in asdict(Spread.of(values)).values()))
    print(f"\nwaits at most {bar.bar:g} s of {every:g} s: {'pass' if bar.passes else 'fall short'}")
    print(
        json.dumps(
            {
                "benchmark": "checkpoints",
                "model": arguments.model,
                "found": found,
                "passes": bar.passes,
                "environment": {**describe_environment(), "load_before": load},
            }
        )
    )


if __name__ == "__main__":
    main()
