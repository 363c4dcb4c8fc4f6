"""`python -m export.ready`: keep a finished and exported run as a ready model."""

import sys
from pathlib import Path

from pipeline.console.command_line import Parser, parser_of
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.run_directory import RunDirectory


def main(arguments: list[str]) -> int:
    """Run `python -m export.ready` with `arguments`; return its exit code."""
    return run_command(_run, arguments, "interrupted; nothing was written")


def _run(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m export.ready",
        usage="python -m export.ready RUN_DIR FOLDER",
        description="Keep a finished and exported run as a ready model, called as its folder.",
    )
    parser.add_argument("run_dir", type=parser_of(Path), metavar="RUN_DIR", help="a finished, exported run")
    parser.add_argument("folder", type=parser_of(Path), metavar="FOLDER", help="a new one, as ready/NAME")
    values = parser.parse(arguments)
    run, folder = RunDirectory(values["run_dir"]), values["folder"]
    run.load_finished()
    # Not before the run is seen to be there: TensorFlow takes seconds to load.
    load_tensorflow_quietly()
    from export.ready.make import make_ready

    make_ready(run, folder)
    print(f"everything lies in {folder}: card.md, model_int8.tflite, model.keras")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
