"""Weights that somebody trained already: read, and assigned to a network by layer name."""

import os
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.pretrained.keras_file import read_keras_file, read_run
from pipeline.pretrained.kerashub import read_preset
from pipeline.pretrained.state_dict import read_state_dict
from pipeline.pretrained.tensor_file import TENSOR_ENDINGS
from pipeline.pretrained.weights import Pretrained, assign_pretrained

__all__ = ["Pretrained", "assign_pretrained", "keras_file", "read_pretrained"]


def read_pretrained(source: str) -> Pretrained:
    """Read the weights that `--weights` names.

    Args:
        source: a finished run's directory; a `.keras` file of this pipeline; a residual network's
            state dict in a file of `torch.save` or `.safetensors`; a KerasHub preset, by its name
            or its directory.

    Raises:
        UserError: it does not exist, is damaged, is of another kind, or needs a package that is
            not installed.
    """
    pretrained = _read(source)
    for name, arrays in pretrained.layers.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise UserError(f"--weights must be finite numbers; {name} of {pretrained.origin} is not")
    if not (np.isfinite([*pretrained.mean, *pretrained.std]).all() and min(pretrained.std) > 0):
        raise UserError(
            "--weights must be normalised by finite means and deviations above 0; "
            f"{pretrained.origin} has {pretrained.mean} and {pretrained.std}"
        )
    return pretrained


def _read(source: str) -> Pretrained:
    path = Path(source)
    if os.path.isdir(source):
        # KerasHub writes metadata.json into every preset, a run has none.
        return read_preset(source) if (path / "metadata.json").is_file() else read_run(path)
    endings = (".keras", *TENSOR_ENDINGS)
    if os.path.exists(source) and not path.is_file():
        raise UserError(f"--weights must be a regular file, a directory or a preset; received {source}")
    if not os.path.exists(source):
        if path.suffix in endings or ("/" in source and "://" not in source):
            raise UserError(f"--weights must exist; received {source}")
        return read_preset(source)
    if path.suffix not in endings:
        raise UserError(f"--weights must be a file of {', '.join(endings)}; received {source}")
    return read_keras_file(path) if path.suffix == ".keras" else read_state_dict(path)
