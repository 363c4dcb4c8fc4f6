"""The main job: train an image classifier from the command line."""

import sys
import time
from dataclasses import replace
from pathlib import Path

from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.console.training_request import parse_training_request
from pipeline.places import check_places
from pipeline.run_directory import RunDirectory


def new_run_dir(name: str) -> Path:
    """Return the default run directory: preset and time."""
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def main(arguments: list[str]) -> int:
    """Run `train.py` with `arguments`; return its exit code."""
    return run_command(_train, arguments, "interrupted")


def _train(arguments: list[str]) -> int:
    began = time.monotonic()
    request = parse_training_request(arguments)
    chosen = request.chosen
    deadline = None if request.minutes is None else began + 60 * request.minutes
    run_dir = request.run_dir or new_run_dir(chosen.preset_name())
    if request.resume:
        config = RunDirectory(run_dir).load_unfinished(asked=chosen.explicit_values())
    else:
        config = chosen.build_config()
        if not (request.summary or request.diagram):
            RunDirectory(run_dir).check_is_new()
    if not (request.summary or request.diagram or RunDirectory(run_dir).metrics.exists()):
        check_places(config)

    # Not before the command line is understood: TensorFlow takes seconds to load.
    load_tensorflow_quietly()
    if request.summary or request.diagram:
        from pipeline.inspection.summary import show_network

        show_network(config, table=request.summary, diagram=request.diagram)
        return DONE
    from pipeline.data.tfds import UnavailableData
    from pipeline.training.train import train

    try:
        return train(config, run_dir, resume=request.resume, deadline=deadline)
    except UnavailableData:
        if chosen.names_data or request.resume:
            raise
    print("CIFAR-10 is neither prepared nor downloadable here: training on digits instead")
    config = replace(chosen, preset="digits").build_config()
    return train(config, request.run_dir or new_run_dir("digits"), deadline=deadline)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
