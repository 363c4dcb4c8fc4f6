"""From the command line of `python -m evaluation` to a request."""

import dataclasses
import os
from collections.abc import Sequence
from dataclasses import MISSING, dataclass
from pathlib import Path

from export.formats import TFLITE
from pipeline.config.option import Section, option
from pipeline.console.command_line import Parser, add_settings, parser_of, take
from pipeline.errors import UserError
from pipeline.ready_models import find_place, is_ready, refuse_ready
from pipeline.run_directory import RunDirectory


@dataclass(frozen=True)
class Request(Section):
    """What to measure.

    Attributes:
        runs: finished runs, one or more.
    """

    runs: tuple[RunDirectory, ...]
    out: Path = option(
        MISSING,
        "where the report goes (default: RUN_DIR/evaluation, with --data RUN_DIR/evaluation_FOLDER; that of "
        "several runs: comparison, beside the first)",
        metavar="DIR",
    )
    formats: tuple[str, ...] | None = option(
        None,
        f"exported files to measure beside Keras, of {', '.join(TFLITE)} "
        "(default: int8, else the smallest there is)",
        choices=TFLITE,
        metavar="A,B,...",
    )
    flip: bool = option(False, "also average each image's answer with that for its mirror image", switch=True)
    cross_validate: int = option(
        0,
        "look for wrong labels in all splits, each image judged by a linear head that was fitted to K - 1 of "
        "K folds without it, 0 for none",
        minimum=0,
        maximum=100,
        metavar="K",
    )
    corrupted: int = option(
        1000,
        "test images that every corruption is applied to, 0 for none",
        minimum=0,
        maximum=10**6,
        metavar="N",
    )
    data: str | None = option(
        None,
        "test on other images: a folder whose class folders are called as classes of the run",
        metavar="FOLDER",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.cross_validate == 1:
            raise UserError("--cross-validate must be 0 or at least 2; received 1")
        if self.cross_validate and self.data:
            raise UserError(
                "--cross-validate judges the images that a run has; received "
                f"--cross-validate {self.cross_validate} and --data {self.data}"
            )

    @property
    def new_folder(self) -> Path | None:
        """The folder that is tested on in place of the run's own test."""
        return None if self.data is None else Path(self.data.removeprefix("folder:"))

    def place_of(self, run: RunDirectory) -> Path:
        """Return where the report of a run goes when nothing else is asked."""
        return run.path / f"evaluation{_ending(self.new_folder)}"

    def place_among_several(self, run: RunDirectory) -> Path:
        """Return where the report of one of several runs goes: of a ready model beside the comparison."""
        return self.out / run.path.name if is_ready(run.path) else self.place_of(run)


def _ending(folder: Path | None) -> str:
    """What tells the names of reports on other images from those on test."""
    if folder is None:
        return ""
    return f"_{os.path.basename(os.path.realpath(os.path.expanduser(folder)))}"


def parse_evaluation_request(arguments: Sequence[str]) -> Request:
    """Read the command line of `python -m evaluation`.

    Raises:
        UserError: anything that cannot be understood or contradicts itself.
    """
    parser = Parser(
        prog="python -m evaluation",
        usage="python -m evaluation RUN_DIR [RUN_DIR ...] [--data FOLDER] [--out DIR] [--flip] [...]",
        description="Measure how good, how sure and how fragile a finished run is; several runs "
        "are compared.",
    )
    parser.add_argument(
        "run_dirs", nargs="*", type=parser_of(Path), metavar="RUN_DIR", help="a finished run, or several"
    )
    add_settings(parser, Request)
    values = parser.parse(list(arguments))
    paths = [find_place(str(path)) for path in values["run_dirs"]]
    if not paths:
        raise UserError("a run directory must be given; received none, see --help")
    resolved = [path.resolve() for path in paths]
    if twice := [path for path in paths if resolved.count(path.resolve()) > 1]:
        raise UserError(f"runs to compare must be different; received {twice[0]} twice")
    runs = tuple(RunDirectory(path) for path in paths)
    request = Request(runs, **{"out": Path(), **take(values, Request)})
    if "out" not in values:
        request = dataclasses.replace(request, out=_place(request))
    refuse_ready(request.out)
    return request


def _place(request: Request) -> Path:
    """Return where a report goes that is given no place."""
    first = request.runs[0]
    if len(request.runs) == 1:
        return request.place_of(first)
    # `.` and `..` have parents that their names do not tell.
    return Path(os.path.normpath(first.path / ".." / f"comparison{_ending(request.new_folder)}"))
