"""From the command line of `predict.py` to a request."""

import os
from dataclasses import dataclass
from pathlib import Path

from pipeline.config.option import Section, option
from pipeline.console.command_line import Parser, add_settings, parser_of, take
from pipeline.errors import UserError, received
from pipeline.files.whole import try_to_write
from pipeline.ready_models import describe_ready, list_ready

MOST = 10**6
"""More classes than any network has."""

DEFAULT_PORT = 8000
"""Of a page that is served."""


@dataclass(frozen=True)
class Request(Section):
    """What to classify, and how the answer is given.

    Attributes:
        model: what answers, as it was typed.
        images: files and folders, all of which are there: one or more, none with `serve`.
    """

    model: str
    images: tuple[Path, ...]
    top: int | None = option(
        None,
        "classes shown of each image, the most probable first (default: 3, or all where there are fewer)",
        minimum=1,
        maximum=MOST,
        metavar="K",
    )
    unsure: float = option(
        0.0,
        "the answer is 'unsure' where the best class is less probable than this, a probability",
        minimum=0.0,
        maximum=1.0,
        metavar="P",
    )
    csv: Path | None = option(None, "write the answers there, in place of printing them", metavar="FILE")
    serve: int | None = option(
        None,
        "answer on a page that browsers on this machine can open, for images that are dropped there and for "
        f"a camera, until Ctrl-C; at PORT (without: {DEFAULT_PORT}; 0: any that is free)",
        minimum=0,
        maximum=2**16 - 1,
        metavar="PORT",
        alone=DEFAULT_PORT,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.serve is None and not self.images:
            raise UserError("an image or folder must be given after the model; received none, see --help")
        if self.serve is not None and self.images:
            given = received(str(self.images[0]))
            raise UserError(f"--serve must stand without images, its page takes them; received {given}")
        if self.serve is not None and self.csv is not None:
            raise UserError(f"--csv must stand without --serve; received --csv {self.csv}")
        for path in self.images:
            if not os.path.exists(path):
                raise UserError(f"an image or folder must exist; received {received(str(path))}")
            if not (path.is_file() or path.is_dir()):
                # A pipe may never begin, and a device never end.
                raise UserError(f"an image must be a regular file; received {received(str(path))}")
        if self.csv is not None and os.path.lexists(self.csv):
            raise UserError(f"--csv must be a new file; received {self.csv}, which is there")
        if self.csv is not None and not os.path.isdir(self.csv.parent):
            raise UserError(f"--csv must be in a folder that is there; received {self.csv}")
        if self.csv is not None:
            try_to_write(self.csv, "--csv")


def parse_prediction_request(arguments: list[str]) -> Request:
    """Read the command line of `predict.py`.

    Raises:
        UserError: anything that cannot be understood, or an image or folder that is not there.
    """
    parser = Parser(
        prog="predict.py",
        usage="python predict.py MODEL IMAGE_OR_FOLDER [...] [--top K] [--unsure P] [--csv FILE]\n"
        "       python predict.py MODEL --serve [PORT] [--top K] [--unsure P]",
        description="Classify images. Prints a table on a terminal, CSV in a pipe. Where a folder holds "
        "folders that are called as the classes, the answers are scored as well.",
        epilog="Exit code 1: an image could not be read; 2: wrong arguments or an unusable model. "
        f"Models that come along, by name: {', '.join(list_ready())}.",
    )
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="a run directory, a bundle, a .tflite or .keras file, or the name of a ready model",
    )
    parser.add_argument(
        "images",
        nargs="*",
        type=parser_of(Path),
        metavar="IMAGE_OR_FOLDER",
        help="what to classify; folders are searched at any depth, by what files hold",
    )
    add_settings(parser, Request)
    values = parser.parse(arguments)
    if not values["model"]:
        raise UserError(f"a model must be given; received none, see --help; {describe_ready()}")
    return Request(values["model"], tuple(values["images"]), **take(values, Request))
