"""`python -m tuning`: search better hyperparameters, and go on where a search was stopped."""

import sys

from pipeline.console.run_command import DONE, run_command
from pipeline.places import check_places
from tuning.request import parse_tuning_request
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import describe_space
from tuning.workers import role, run_workers, watch_supervisor


def main(arguments: list[str]) -> int:
    """Run `python -m tuning` with `arguments`; return its exit code."""
    return run_command(_tune, arguments, "interrupted; the same command goes on")


def _tune(arguments: list[str]) -> int:
    request = parse_tuning_request(arguments)
    if request.list_space:
        print(describe_space(request.plan.space))
        return DONE
    watch_supervisor()
    if role() != "worker":
        check_places(request.plan.config)
        SearchDirectory(request.out).check_place(request.plan.identity())
    if request.workers > 1 and role() == "alone":
        return run_workers(request, arguments)
    # Not before the command line is understood: TensorFlow takes seconds to load.
    from pipeline.console.quiet_start import load_tensorflow_quietly

    load_tensorflow_quietly()
    from tuning.search import run_search

    return run_search(request, role())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
