"""Files of named arrays: `torch.save` and safetensors."""

import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.pretrained.keras_file import check_archive

TENSOR_ENDINGS = (".pth", ".pt", ".th", ".tar", ".bin", ".safetensors")
"""How the names of such files end; all but the last are PyTorch's."""
WRAPPERS = ("state_dict", "model", "net")
"""Where checkpoints keep the state dict, beside the epoch and the like."""


def read_tensors(path: Path) -> dict[str, np.ndarray]:
    """Read a state dict: parameter name -> float32 array, as PyTorch orders its axes.

    Raises:
        UserError: the file is damaged or holds something else, or PyTorch is needed and missing.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    return _read_torch(path)


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = load_file(path)
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--weights must be a whole safetensors file; {path}: {_first_line(error)}"
        ) from error
    return {name: tensor.astype(np.float32) for name, tensor in tensors.items()}


def _read_torch(path: Path) -> dict[str, np.ndarray]:
    try:
        import torch
    except ModuleNotFoundError:
        raise UserError(
            f"--weights {path} needs the package torch: pip install torch (a .safetensors file needs none)"
        ) from None
    try:
        if zipfile.is_zipfile(path):
            check_archive(path)
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        # PyTorch's own message is a page, and advises to run what is in the file.
        raise UserError(
            "--weights must be a whole file of torch.save(network.state_dict(), ...), with nothing "
            f"but arrays in it; received {path}"
        ) from error
    except Exception as error:
        # A damaged pickle may raise anything.
        raise UserError(f"--weights must be a whole PyTorch file; {path}: {_first_line(error)}") from error
    state = _unwrapped(loaded)
    named = all(isinstance(name, str) for name in state)
    if not state or not named or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"--weights must hold a state dict; received {path}")
    try:
        return {name: tensor.detach().float().numpy() for name, tensor in state.items()}
    except (TypeError, RuntimeError) as error:
        # Sparse and quantised tensors have no plain array.
        raise UserError(f"--weights must hold dense tensors; {path}: {_first_line(error)}") from error


def _unwrapped(loaded: Any) -> dict[str, Any]:
    if not isinstance(loaded, dict):
        return {}
    wrapped = [loaded[name] for name in WRAPPERS if isinstance(loaded.get(name), dict)]
    return wrapped[0] if wrapped else loaded


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
