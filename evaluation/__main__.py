"""`python -m evaluation`: measure a finished run, or compare several."""

import signal
import sys

from evaluation.request import parse_evaluation_request
from pipeline.console.command_line import report_user_error
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.errors import UserError


def main(arguments: list[str]) -> int:
    """Run `python -m evaluation` with `arguments`; return its exit code."""
    # Like Ctrl-C, so that what is half done is left as it was.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        request = parse_evaluation_request(arguments)
        for run in request.runs:
            run.load_finished()
        load_tensorflow_quietly()
        # Not before the command line is understood: TensorFlow takes seconds to load.
        from evaluation.evaluate import evaluate

        evaluate(request)
    except UserError as error:
        return report_user_error(error)
    except KeyboardInterrupt:
        print("interrupted; what was not finished was not written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
