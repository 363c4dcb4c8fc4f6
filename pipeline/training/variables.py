"""Variables by name, in a file: written only if finite, read only if whole."""

import errno
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from pipeline.errors import UserError
from pipeline.files.regular import open_regular
from pipeline.files.whole import write_whole


class Damaged(Exception):
    """A file of arrays cannot be read, or holds what no run saves."""


class Unreadable(UserError):
    """A file is there, and may be whole, but the machine does not read it now."""


PASSING = {errno.EACCES, errno.EPERM, errno.EIO, errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.ETIMEDOUT}
"""What the system answers where a disk, a network or a right is missing, and not the file."""


class NonFinite(Exception):
    """The loss or a weight is infinite or not a number."""


def name_variables(variables: list[keras.Variable]) -> dict[str, keras.Variable]:
    """Give each variable a unique name: its place and its path."""
    return {f"{place:04d} {variable.path}": variable for place, variable in enumerate(variables)}


def save_variables(path: Path, variables: dict[str, keras.Variable], **extra: np.ndarray) -> None:
    """Write named variables, and `extra` arrays, to an .npz file (a CRC-32 an array) in whole.

    Raises:
        NonFinite: a variable holds an infinity or NaN; nothing is written.
    """
    write_arrays(path, {**copy_variables(variables), **extra})


def copy_variables(variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Copy the values of named variables, which may change afterwards.

    Raises:
        NonFinite: a variable holds an infinity or NaN.
    """
    arrays = {name: to_numpy(variable) for name, variable in variables.items()}
    for name, array in arrays.items():
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise NonFinite(f"variable {name} is no longer finite")
    return arrays


def write_arrays(path: Path, arrays: dict[str, np.ndarray]) -> None:
    """Write arrays to an .npz file (a CRC-32 an array) in whole.

    Raises:
        UserError: it cannot be written.
    """

    def write(aside: Path) -> None:
        with aside.open("wb") as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]  # none is allow_pickle

    write_whole(path, write)


def load_variables(path: Path, variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Assign the named variables from `path`; return the arrays saved beside them.

    Raises:
        UserError: the file is of another model.
        Damaged: as of `read_variables`; nothing is assigned.
    """
    arrays = read_variables(path, variables)
    for name, variable in variables.items():
        variable.assign(arrays.pop(name))
    return arrays


def read_variables(path: Path, variables: dict[str, keras.Variable]) -> dict[str, np.ndarray]:
    """Read all arrays of `path`, those of the named variables as `save_variables` wrote them.

    Raises:
        UserError: the file is of another model.
        Damaged: it is not whole, or a variable's array is of another type or not finite.
        Unreadable: the machine does not read it now.
    """
    arrays = _read_arrays(path)
    for name, variable in variables.items():
        saved = arrays[name].shape if name in arrays else "nothing"
        if saved != tuple(variable.shape):
            raise UserError(
                f"a checkpoint must come from the same model; {path} has {saved} "
                f"for {name}, which needs {tuple(variable.shape)}"
            )
    for name, variable in variables.items():
        array, kind = arrays[name], to_numpy(variable).dtype
        if array.dtype != kind:
            raise Damaged(f"variable {name} is {array.dtype}, not {kind}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            raise Damaged(f"variable {name} is not finite")
    return arrays


def _read_arrays(path: Path) -> dict[str, np.ndarray]:
    try:
        # NumPy leaves a damaged file open that it opened itself.
        with open_regular(path) as content, np.load(content, allow_pickle=False) as file:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in file.zip.infolist()):
                # A run's never are; a small file could unfold to more than the memory holds.
                raise ValueError("its arrays are compressed")
            return {name: file[name] for name in file.files}
    except Exception as error:
        if isinstance(error, OSError) and error.errno in PASSING:
            raise Unreadable(f"a checkpoint must be readable; {path}: {error.strerror}") from error
        # Every byte of its headers can be wrong: zipfile, zlib and NumPy raise what they like.
        raise Damaged(str(error).partition("\n")[0] or type(error).__name__) from error


def parts_of_sum(variable: keras.Variable) -> list[tf.Variable]:
    """Return the parts of a running sum that the replicas of this host have."""
    value = variable.value
    return list(value.values) if isinstance(value, tf.distribute.DistributedValues) else [value]


def to_numpy(variable: keras.Variable) -> np.ndarray:
    """Copy its value, under a mirrored strategy too."""
    # Not `keras.ops.convert_to_numpy`, which cannot read a metric under a mirrored strategy.
    return np.asarray(variable.numpy())
