"""`python -m tuning`: search better hyperparameters, and go on where a search was stopped."""

import signal
import sys

from pipeline.console.command_line import report_user_error
from pipeline.errors import UserError
from tuning.request import parse_tuning_request
from tuning.space.search_space import describe_space
from tuning.workers import role, run_workers, watch_supervisor


def main(arguments: list[str]) -> int:
    """Run `python -m tuning` with `arguments`; return its exit code."""
    # Like Ctrl-C, until a trial trains and knows how to save itself.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        request = parse_tuning_request(arguments)
        if request.list_space:
            print(describe_space(request.plan.space))
            return 0
        watch_supervisor()
        if request.workers > 1 and role() == "alone":
            return run_workers(request, arguments)
        # Not before the command line is understood: TensorFlow takes seconds to load.
        from pipeline.console.quiet_start import load_tensorflow_quietly

        load_tensorflow_quietly()
        from tuning.search import run_search

        return run_search(request, role())
    except UserError as error:
        return report_user_error(error)
    except KeyboardInterrupt:
        print("interrupted; the same command goes on", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
