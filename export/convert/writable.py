"""What TensorFlow says where it cannot write, as an error of the user's."""

import contextlib
from collections.abc import Iterator
from pathlib import Path

import tensorflow as tf

from pipeline.errors import UserError


@contextlib.contextmanager
def writable(what: str, path: Path) -> Iterator[None]:
    """Turn TensorFlow's errors into `UserError`s about `what` at `path`."""
    try:
        yield
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"{what} must be writable; {path}: {reason}") from error
