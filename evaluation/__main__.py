"""`python -m evaluation`: measure a finished run, or compare several."""

import sys

from evaluation.request import Request, parse_evaluation_request
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.data.folders.layout import find_known_class_folders, real_path
from pipeline.files.json_file import read_json
from pipeline.run_directory import RunDirectory


def main(arguments: list[str]) -> int:
    """Run `python -m evaluation` with `arguments`; return its exit code."""
    return run_command(_evaluate, arguments, "interrupted; what was not finished was not written")


def _evaluate(arguments: list[str]) -> int:
    request = parse_evaluation_request(arguments)
    for run in request.runs:
        run.load_finished()
        _check_folder(request, run)
    _check_place(request)
    load_tensorflow_quietly()
    # Not before the command line is understood: TensorFlow takes seconds to load.
    from evaluation.evaluate import evaluate

    evaluate(request)
    return DONE


def _check_folder(request: Request, run: RunDirectory) -> None:
    """Refuse a folder whose class folders are not called as classes of the run."""
    if request.new_folder is not None:
        names = read_json(run.splits, {"class_names": list}, of="a finished run")["class_names"]
        find_known_class_folders(real_path(request.new_folder), [str(name) for name in names])


def _check_place(request: Request) -> None:
    """Refuse a place that cannot be the report's; the reading of files needs NumPy, but no TensorFlow."""
    from evaluation.report_directory import ReportDirectory, comparison_directory

    alone = len(request.runs) == 1
    (ReportDirectory(request.out) if alone else comparison_directory(request.out)).check()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
