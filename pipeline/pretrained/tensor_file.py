"""Files of named arrays: `torch.save` and safetensors."""

import pickle
import zipfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.pretrained.keras_file import check_archive

WRAPPERS = ("state_dict", "model", "net", "model_state_dict", "params")
"""Where checkpoints keep the state dict, beside the epoch and the like, the first of them taken; where
there is none of these, any entry that is one."""
COUNTERS = ("num_batches_tracked", "n_averaged")
"""Whole numbers in a state dict that no logit depends on: of norms, and of PyTorch's averages."""
WEIGHTS = {"F16", "BF16", "F32", "F64"}
"""Types of safetensors that are numbers as they stand."""


def is_counter(name: str) -> bool:
    """Whether an array of a state dict only counts."""
    return name.rpartition(".")[2] in COUNTERS


def read_tensors(path: Path) -> tuple[dict[str, np.ndarray], str]:
    """Read a state dict: parameter name -> float32 array, as PyTorch orders its axes.

    Returns:
        The arrays, and which of several state dicts of the file they are, where it has more.

    Raises:
        UserError: the file is damaged or holds something else, or PyTorch is needed and missing.
    """
    if path.suffix == ".safetensors":
        return _read_safetensors(path), ""
    return _read_torch(path)


def _check_types(types: dict[str, str], plain: Collection[str], path: Path) -> None:
    """Refuse whole numbers and 8-bit floats, which are weights only with scales of their own."""
    for name, kind in types.items():
        if kind not in plain and not is_counter(name):
            raise UserError(
                f"--weights must be floating-point numbers of 16 bits or more, not quantised; {name} "
                f"of {path} is {kind}"
            )


def _read_safetensors(path: Path) -> dict[str, np.ndarray]:
    # NumPy learns bfloat16 from it.
    import ml_dtypes  # noqa: F401
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            names = list(file.keys())
            _check_types({name: file.get_slice(name).get_dtype() for name in names}, WEIGHTS, path)
            return {name: file.get_tensor(name).astype(np.float32) for name in names}
    except (OSError, SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"--weights must be a whole safetensors file; {path}: {_first_line(error)}"
        ) from error


def _read_torch(path: Path) -> tuple[dict[str, np.ndarray], str]:
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
    state, remark = _unwrapped(loaded)
    named = all(isinstance(name, str) for name in state)
    if not state or not named or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise UserError(f"--weights must hold a state dict; received {path}")
    plain = {str(kind) for kind in (torch.float16, torch.bfloat16, torch.float32, torch.float64)}
    _check_types({name: str(tensor.dtype) for name, tensor in state.items()}, plain, path)
    try:
        return {name: tensor.detach().float().numpy() for name, tensor in state.items()}, remark
    except (TypeError, RuntimeError) as error:
        # Sparse and quantised tensors have no plain array.
        raise UserError(f"--weights must hold dense tensors; {path}: {_first_line(error)}") from error


def _unwrapped(loaded: Any) -> tuple[dict[str, Any], str]:
    """Take the state dict out of a checkpoint; say so where it has another, as of averaged weights."""
    if not isinstance(loaded, dict):
        return {}, ""
    found = [
        name
        for name, value in loaded.items()
        if isinstance(value, dict) and value and all(map(_is_tensor, value.values()))
    ]
    wrapped = [name for name in WRAPPERS if isinstance(loaded.get(name), dict)] or found
    if not wrapped:
        return loaded, ""
    others = [name for name in found if name != wrapped[0]]
    if not others:
        return loaded[wrapped[0]], ""
    return loaded[wrapped[0]], (
        f", its {wrapped[0]!r} (to start from its {others[0]!r} instead: "
        f"torch.save(torch.load(FILE)[{others[0]!r}], OTHER_FILE))"
    )


def _is_tensor(value: Any) -> bool:
    return hasattr(value, "is_floating_point")


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
