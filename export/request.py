"""From the command line of `python -m export` to a request."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from export.tflite.formats import DEFAULT_FORMATS, FORMATS, INPUT_TYPES, OUTPUTS
from pipeline.console.command_line import Parser
from pipeline.errors import UserError, unknown
from pipeline.run_directory import RunDirectory

MAX_DROP = 0.5
"""Percentage points of test accuracy that quantisation may cost unless told otherwise."""


@dataclass(frozen=True)
class Request:
    """What to export, and what it must fulfil.

    Attributes:
        run: the run directory.
        out: where the bundle goes.
        formats: names in `FORMATS`, without repetition.
        output: `logits` or `probabilities`.
        temperature: that the logits are divided by.
        input_type: of the int8 file: int8 or uint8.
        max_drop: percentage points of test accuracy that quantisation may cost.
        repair: try remedies one after the other where the int8 file costs more.
        benchmark: measure latency and memory at length.
        max_bytes: largest allowed int8 file, bytes; None for any.
        max_arena_kib: largest allowed tensor arena on a microcontroller, KiB; None for any.
    """

    run: RunDirectory
    out: Path
    formats: tuple[str, ...]
    output: str
    temperature: float
    input_type: str
    max_drop: float
    repair: bool
    benchmark: bool
    max_bytes: int | None
    max_arena_kib: float | None


def parse_export_request(arguments: list[str]) -> Request:
    """Read the command line of `python -m export`.

    Raises:
        UserError: anything that cannot be understood or contradicts itself.
    """
    parser = _build_parser()
    values = vars(parser.parse(arguments))
    run_dir = values.pop("run_dir")
    request = Request(run=RunDirectory(run_dir), out=values.pop("out") or run_dir / "export", **values)
    about_int8 = {
        "--max-bytes": request.max_bytes is not None,
        "--max-arena-kib": request.max_arena_kib is not None,
        "--repair": request.repair,
        "--input-type": request.input_type != "int8",
    }
    for flag, given in about_int8.items():
        if given and "int8" not in request.formats:
            raise UserError(f"{flag} is about the int8 file; received --formats {','.join(request.formats)}")
    return request


def _build_parser() -> Parser:
    parser = Parser(
        prog="python -m export",
        usage="python -m export RUN_DIR [--formats ...] [--out DIR] [...]",
        description="Convert a finished run to files that a device can run, and prove them.",
        epilog="formats: " + "; ".join(f"{f.name}: {f.purpose}" for f in FORMATS.values()),
    )
    parser.add_argument("run_dir", type=Path, metavar="RUN_DIR", help="a finished run")
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="where the bundle goes (default: RUN_DIR/export)"
    )
    parser.add_argument(
        "--formats",
        type=_formats,
        default=DEFAULT_FORMATS,
        metavar="A,B,...",
        help=f"of {', '.join(FORMATS)}, or all (default: {','.join(DEFAULT_FORMATS)})",
    )
    parser.add_argument(
        "--output",
        type=_one_of("--output", OUTPUTS),
        default="logits",
        metavar="{" + ",".join(OUTPUTS) + "}",
        help="what the network returns (default: logits)",
    )
    parser.add_argument(
        "--temperature",
        type=_number(float, 0.01, 100),
        default=1.0,
        metavar="T",
        help="divide the logits by T, so that probabilities mean what they say; "
        "python -m evaluation finds T (default: 1)",
    )
    parser.add_argument(
        "--input-type",
        type=_one_of("--input-type", INPUT_TYPES),
        default="int8",
        metavar="{" + ",".join(INPUT_TYPES) + "}",
        help="how the int8 file takes pixels and returns scores (default: int8)",
    )
    parser.add_argument(
        "--max-drop",
        type=_number(float, 0, 100),
        default=MAX_DROP,
        metavar="POINTS",
        help=f"percentage points of test accuracy that quantisation may cost (default: {MAX_DROP})",
    )
    parser.add_argument("--repair", action="store_true", help="try remedies where the int8 file costs more")
    parser.add_argument("--benchmark", action="store_true", help="measure latency and memory at length")
    parser.add_argument(
        "--max-bytes", type=_number(int, 1), metavar="BYTES", help="largest allowed int8 file"
    )
    parser.add_argument(
        "--max-arena-kib",
        type=_number(float, 1),
        metavar="KIB",
        help="largest allowed tensor arena of the int8 file on a microcontroller",
    )
    return parser


def _formats(text: str) -> tuple[str, ...]:
    if text == "all":
        return tuple(FORMATS)
    names = tuple(dict.fromkeys(name.strip() for name in text.split(",")))
    for name in names:
        if name not in FORMATS:
            raise unknown("format", name, FORMATS)
    return names


def _one_of(flag: str, choices: tuple[str, ...]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise unknown(flag, text, choices)
        return text

    return parse


def _number(kind: type, minimum: float, maximum: float = float("inf")) -> Callable[[str], float]:
    def parse(text: str) -> float:
        try:
            value = kind(text)
        except ValueError:
            value = None
        if value is None or not minimum <= value <= maximum or value == float("inf"):
            rule = f"at least {minimum:g}" + (f" and at most {maximum:g}" if maximum < 1e9 else "")
            name = "a whole number" if kind is int else "a number"
            raise argparse.ArgumentTypeError(f"must be {name}, {rule}; received {text!r}")
        return value

    return parse
