"""`python -m pipeline.shards`: make a folder of images a set of TensorFlow Datasets."""

import re
import sys
from pathlib import Path

from pipeline.config.settings import MAX_IMAGE_SIZE
from pipeline.console.command_line import Parser, parser_of
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.data.folders.layout import find_class_folders, real_path
from pipeline.errors import UserError
from pipeline.files.place import check_can_be_made

MIN_SIDE = 8

NAME = re.compile("[a-z][a-z0-9_]*")
"""Of a set of TensorFlow Datasets."""


def main(arguments: list[str]) -> int:
    """Run `python -m pipeline.shards` with `arguments`; return its exit code."""
    return run_command(_run, arguments, "interrupted; the set is not there")


def _run(arguments: list[str]) -> int:
    parser = Parser(
        prog="python -m pipeline.shards",
        usage="python -m pipeline.shards FOLDER OUT [--side N]",
        description="Write the images of a folder, made smaller, as a set of TensorFlow Datasets.",
    )
    parser.add_argument("folder", type=parser_of(Path), metavar="FOLDER", help="class or split folders")
    parser.add_argument(
        "out",
        type=parser_of(Path),
        metavar="OUT",
        help="a new folder, whose last name is the set's: small letters, digits and _",
    )
    parser.add_argument(
        "--side", type=int, default=256, metavar="N", help="pixels of the shorter side, at most (256)"
    )
    values = parser.parse(arguments)
    folder, out, side = values["folder"], values["out"], values["side"]
    if not MIN_SIDE <= side <= MAX_IMAGE_SIZE:
        raise UserError(f"--side must be from {MIN_SIDE} to {MAX_IMAGE_SIZE}; received {side}")
    if not folder.expanduser().is_dir():
        raise UserError(f"FOLDER must name a folder; received {folder}")
    find_class_folders(real_path(folder))
    if not NAME.fullmatch(out.name):
        raise UserError(f"OUT must be called as a set may be, {NAME.pattern}; received {out}")
    if out.exists():
        raise UserError(f"OUT must be new; received {out}")
    check_can_be_made(out, "OUT")
    # Not before the folder is seen to be there: TensorFlow takes seconds to load.
    load_tensorflow_quietly()
    import tensorflow_datasets as tfds

    from pipeline.shards.write import write_shards

    if out.name == "digits" or out.name in tfds.list_builders(with_community_datasets=False):
        raise UserError(
            f"OUT must have a name of its own, for --data {out.name} is another set; received {out}"
        )

    write_shards(folder, out, side)
    print(f"everything lies in {out}: TFDS_DATA_DIR={out.parent} python train.py --data {out.name}")
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
