"""From the command line of `python -m evaluation` to a request."""

import argparse
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from export.tflite.formats import FORMATS
from pipeline.console.command_line import Parser
from pipeline.errors import UserError, unknown
from pipeline.run_directory import RunDirectory

CORRUPTED_IMAGES = 1000
"""Test images that every corruption is applied to unless told otherwise."""

TFLITE_FORMATS = tuple(name for name in FORMATS if name != "saved_model")


@dataclass(frozen=True)
class Request:
    """What to measure.

    Attributes:
        runs: finished runs, one or more.
        out: where the report of one run, or the comparison of several, goes.
        formats: exported files that are measured beside Keras; None for int8, else the smallest.
        flip: measure flip test-time augmentation too.
        corrupted: test images that every corruption is applied to; 0 leaves corruptions out.
    """

    runs: tuple[RunDirectory, ...]
    out: Path
    formats: tuple[str, ...] | None
    flip: bool
    corrupted: int


def parse_evaluation_request(arguments: Sequence[str]) -> Request:
    """Read the command line of `python -m evaluation`.

    Raises:
        UserError: anything that cannot be understood or contradicts itself.
    """
    values = vars(_build_parser().parse(list(arguments)))
    paths = values.pop("run_dirs")
    if not paths:
        raise UserError("a run directory must be given; received none, see --help")
    resolved = [path.resolve() for path in paths]
    if twice := [path for path in paths if resolved.count(path.resolve()) > 1]:
        raise UserError(f"runs to compare must be different; received {twice[0]} twice")
    # `.` and `..` have parents that their names do not tell.
    neighbour = Path(os.path.normpath(paths[0] / ".." / "comparison"))
    own = paths[0] / "evaluation" if len(paths) == 1 else neighbour
    return Request(runs=tuple(RunDirectory(path) for path in paths), out=values.pop("out") or own, **values)


def _build_parser() -> Parser:
    parser = Parser(
        prog="python -m evaluation",
        usage="python -m evaluation RUN_DIR [RUN_DIR ...] [--out DIR] [--flip] [...]",
        description="Measure how good, how sure and how fragile a finished run is; several runs "
        "are compared.",
    )
    parser.add_argument(
        "run_dirs", nargs="*", type=Path, metavar="RUN_DIR", help="a finished run, or several"
    )
    parser.add_argument(
        "--out",
        type=Path,
        metavar="DIR",
        help="where the report goes (default: RUN_DIR/evaluation; that of several runs: "
        "comparison, beside the first)",
    )
    parser.add_argument(
        "--formats",
        type=_formats,
        metavar="A,B,...",
        help=f"exported files to measure beside Keras, of {', '.join(TFLITE_FORMATS)} "
        "(default: int8, else the smallest there is)",
    )
    parser.add_argument(
        "--flip", action="store_true", help="also average each image's answer with that for its mirror image"
    )
    parser.add_argument(
        "--corrupted",
        type=_count,
        default=CORRUPTED_IMAGES,
        metavar="N",
        help=f"test images that every corruption is applied to, 0 for none (default: {CORRUPTED_IMAGES:,})",
    )
    return parser


def _formats(text: str) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in TFLITE_FORMATS:
            raise unknown("format", name, TFLITE_FORMATS)
    return names


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number, at least 0; received {text!r}")
    return int(text)
