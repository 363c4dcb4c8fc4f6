"""From the command line of `python -m export` to a request."""

import re
from collections.abc import Iterable
from dataclasses import MISSING, dataclass
from importlib.util import find_spec
from pathlib import Path

from export.formats import ALL, DEFAULT_FORMATS, FORMATS, INPUT_TYPES, MAX_FILE_BYTES, OUTPUTS
from export.litert_js import find_runtime
from export.vela import NPUS, find_vela
from pipeline.config.option import Section, flag, option
from pipeline.console.command_line import Parser, add_settings, parser_of, take
from pipeline.errors import UserError
from pipeline.ready_models import find_place, refuse_ready
from pipeline.run_directory import RunDirectory

NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*", re.ASCII)
"""With `_int8` behind it, a C identifier that is no keyword."""

MAX_NAME = 64
"""Letters that are taken over from the name of a run's directory."""


@dataclass(frozen=True)
class Request(Section):
    """What to export, and what it must fulfil.

    Attributes:
        run: the run directory.
    """

    run: RunDirectory
    out: Path = option(MISSING, "where the bundle goes (default: RUN_DIR/export)", metavar="DIR")
    formats: tuple[str, ...] = option(
        DEFAULT_FORMATS,
        f"of {', '.join(FORMATS)}, or all, which are those that need no other package",
        choices=(*FORMATS, "all"),
        metavar="A,B,...",
    )
    output: str = option("logits", "what the network returns", choices=OUTPUTS)
    temperature: float = option(
        1.0,
        "divide the logits by T, so that probabilities mean what they say; python -m evaluation finds T",
        minimum=0.01,
        maximum=100,
        metavar="T",
    )
    input_type: str = option("int8", "how the int8 file takes pixels and returns scores", choices=INPUT_TYPES)
    max_drop: float = option(
        0.5,
        "percentage points of test accuracy that quantisation may cost",
        minimum=0,
        maximum=100,
        metavar="POINTS",
    )
    repair: bool = option(False, "try remedies where the int8 file costs more", switch=True)
    finetune: int | None = option(
        None,
        "train so many epochs more, with int8's rounding; taken if better on validation",
        minimum=1,
        maximum=1000,
        metavar="EPOCHS",
    )
    slim: bool = option(True, "the int8 file goes without what no device reads, such as its tensors' names")
    web: Path | None = option(
        None,
        "write web/ too, a page that computes in the browser; DIR: the node_modules of npm install "
        "@litertjs/core",
        metavar="DIR",
    )
    benchmark: bool = option(False, "measure latency and memory at length", switch=True)
    max_bytes: int | None = option(
        None, "largest allowed int8 file", minimum=1, maximum=MAX_FILE_BYTES, metavar="BYTES"
    )
    max_arena_kib: float | None = option(
        None,
        "largest allowed tensor arena of the int8 file on a microcontroller",
        minimum=1,
        maximum=MAX_FILE_BYTES // 1024,
        metavar="KIB",
    )
    npu: str | None = option(
        None,
        f"compile the int8 file for this NPU of Arm too, of {', '.join(NPUS)}; needs ethos-u-vela",
        choices=NPUS,
        metavar="NPU",
    )
    max_npu_ms: float | None = option(
        None,
        "longest allowed time of an image on the NPU, as its compiler estimates it",
        minimum=0.001,
        maximum=10**6,
        metavar="MS",
    )
    name: str | None = option(
        None,
        "of the C array, micro/NAME_int8.h and .cc (default: the run directory's); networks of one firmware "
        "need different ones",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if "all" in self.formats:
            others = (name for name in self.formats if name not in (*ALL, "all"))
            object.__setattr__(self, "formats", (*ALL, *others))
        _check_installed(self.formats)
        if self.name is not None and not NAME.fullmatch(self.name):
            raise UserError(
                "--name must be words of lower-case letters and digits, joined by _, the first beginning "
                f"with a letter; received {self.name!r}"
            )
        names = ("max_bytes", "max_arena_kib", "repair", "finetune", "input_type", "name", "web", "npu")
        asked = {name: getattr(self, name) for name in names} | {"no_slim": not self.slim}
        for name, value in asked.items():
            if value not in (None, False, "int8") and "int8" not in self.formats:
                raise UserError(
                    f"{flag(name)} is about the int8 file; received --formats {','.join(self.formats)}"
                )
        if self.max_npu_ms is not None and not self.npu:
            raise UserError(f"--max-npu-ms needs --npu; received {self.max_npu_ms:g} without")
        if self.web:
            find_runtime(self.web)
        if self.npu:
            find_vela()

    @property
    def c_name(self) -> str:
        """Name of the C array of the int8 file: an identifier."""
        return f"{self.name or _as_name(self.run.path)}_int8"


def _check_installed(formats: Iterable[str]) -> None:
    for name in formats:
        needed = FORMATS[name].needs
        if missing := [package for package in needed if not find_spec(package)]:
            raise UserError(
                f"--formats {name} needs {' and '.join(needed)}; {' and '.join(missing)} cannot be imported "
                f"(pip install {' '.join(needed)})"
            )


def _as_name(run: Path) -> str:
    """Make a `NAME` of a directory's name: `Digits-2026` becomes `digits_2026`."""
    words = re.findall("[a-z0-9]+", run.resolve().name.lower()[:MAX_NAME])
    name = "_".join(words)
    return name if NAME.fullmatch(name) else "_".join(["run", *words])


def parse_export_request(arguments: list[str]) -> Request:
    """Read the command line of `python -m export`.

    Raises:
        UserError: anything that cannot be understood or contradicts itself.
    """
    parser = Parser(
        prog="python -m export",
        usage="python -m export RUN_DIR [--formats ...] [--out DIR] [...]",
        description="Convert a finished run to files that a device can run, and prove them.",
        epilog="formats: " + "; ".join(f"{f.name}: {f.purpose}" for f in FORMATS.values()),
    )
    parser.add_argument("run_dir", type=parser_of(Path), metavar="RUN_DIR", help="a finished run")
    add_settings(parser, Request)
    values = parser.parse(arguments)
    run_dir = find_place(str(values["run_dir"]))
    request = Request(RunDirectory(run_dir), **{"out": run_dir / "export", **take(values, Request)})
    refuse_ready(request.out)
    return request
