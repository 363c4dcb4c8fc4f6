"""`python -m export`: turn a finished run into a verified bundle for devices."""

import sys

from export.bundle.directory import BundleDirectory
from export.errors import ExportFailed
from export.request import parse_export_request
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, FAILED, run_command


def main(arguments: list[str]) -> int:
    """Run `python -m export` with `arguments`; return its exit code."""
    return run_command(_export, arguments, "interrupted; no bundle was written")


def _export(arguments: list[str]) -> int:
    request = parse_export_request(arguments)
    request.run.load_finished()
    BundleDirectory(request.out).check()
    load_tensorflow_quietly()
    # Not before the command line is understood: TensorFlow takes seconds to load.
    from export.export import export_run

    try:
        export_run(request)
    except ExportFailed as error:
        print(f"export failed: {error}", file=sys.stderr)
        return FAILED
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
