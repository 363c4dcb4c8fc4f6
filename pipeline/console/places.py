"""What the command line points at, looked at before TensorFlow takes seconds to load."""

import os
from pathlib import Path

from pipeline.config.config import Config
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory

WEIGHT_ENDINGS = (".keras", ".pth", ".pt", ".th", ".tar", ".bin", ".safetensors")
"""How the names of files of weights end; all but the first and the last are PyTorch's."""


def check_places(config: Config) -> None:
    """Refuse data and weights that are plainly not there.

    Raises:
        UserError: there is no such folder, run or file.
    """
    kind, _, path = config.data.data.partition(":")
    if kind == "folder" and path and not os.path.isdir(os.path.expanduser(path)):
        raise UserError(f"--data folder:PATH must name a folder; received {config.data.data}")
    if config.data.data.startswith(("/", ".", "~")):
        # No set of TFDS is called so.
        raise UserError(f"--data must be folder:PATH where it is a folder; received {config.data.data}")
    if config.transfer.weights:
        check_weights(config.transfer.weights)


def check_weights(source: str) -> None:
    """Hold what `--weights` names to its kinds; a name that is no path may be a KerasHub preset's.

    Raises:
        UserError: there is no such file, or it is of another kind, or a run is not finished.
    """
    path = Path(source)
    if os.path.isdir(source):
        if not is_preset(path):
            RunDirectory(path).load_finished()
        return
    if not os.path.exists(source):
        if path.suffix in WEIGHT_ENDINGS or ("/" in source and "://" not in source):
            raise UserError(f"--weights must exist; received {source}")
        return
    if not path.is_file():
        raise UserError(f"--weights must be a regular file, a directory or a preset; received {source}")
    if path.suffix not in WEIGHT_ENDINGS:
        raise UserError(f"--weights must be a file of {', '.join(WEIGHT_ENDINGS)}; received {source}")


def is_preset(folder: Path) -> bool:
    """Whether KerasHub wrote the folder: into every preset it writes a file that a run lacks."""
    return (folder / "metadata.json").is_file()
