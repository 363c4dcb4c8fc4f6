"""The main job: train an image classifier from the command line."""

import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from pipeline.console.command_line import parse_training_request, report_user_error
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory


def new_run_dir(name: str) -> Path:
    """Return the default run directory: preset and time."""
    return Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}"


def main(arguments: list[str]) -> int:
    """Run `train.py` with `arguments`; return its exit code."""
    # Like Ctrl-C, until training begins and knows how to save itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        request = parse_training_request(arguments)
        run_dir = request.run_dir or new_run_dir(request.preset_name())
        if request.resume:
            config = RunDirectory(run_dir).load_config(asked=request.explicit_values())
        else:
            config = request.config()
            if not (request.summary or request.diagram):
                RunDirectory(run_dir).check_is_new()

        load_tensorflow_quietly()
        if request.summary or request.diagram:
            from pipeline.inspection.summary import show_network

            show_network(config, table=request.summary, diagram=request.diagram)
            return 0
        from pipeline.data.sources import UnavailableData
        from pipeline.training import train as training

        try:
            return training.train(config, run_dir, resume=request.resume)
        except UnavailableData:
            if request.names_data or request.resume:
                raise
        print("CIFAR-10 is neither prepared nor downloadable here: training on digits instead")
        config = replace(request, preset="digits").config()
        return training.train(config, request.run_dir or new_run_dir("digits"))
    except UserError as error:
        return report_user_error(error)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
