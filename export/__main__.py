"""`python -m export`: turn a finished run into a verified bundle for devices."""

import signal
import sys

from export.errors import ExportFailed
from export.request import parse_export_request
from pipeline.console.command_line import report_user_error
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.errors import UserError


def main(arguments: list[str]) -> int:
    """Run `python -m export` with `arguments`; return its exit code."""
    # Like Ctrl-C, so that what was written aside is removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        request = parse_export_request(arguments)
        request.run.load_finished()
        load_tensorflow_quietly()
        # Not before the command line is understood: TensorFlow takes seconds to load.
        from export.export import export_run

        export_run(request)
    except UserError as error:
        return report_user_error(error)
    except ExportFailed as error:
        print(f"export failed: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; no bundle was written", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
