"""Run a command of this project in this process."""

import contextlib
import io
import os
from collections.abc import Callable
from typing import NamedTuple


class Outcome(NamedTuple):
    """Exit code, stdout and stderr of a command."""

    code: int
    printed: str
    error: str


def run_command(main: Callable[[list[str]], int], *arguments: str | os.PathLike) -> Outcome:
    """Run a command's `main`."""
    printed, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(error):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, printed.getvalue(), error.getvalue())
