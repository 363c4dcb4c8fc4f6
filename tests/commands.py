"""Run a command of this project in this process."""

import contextlib
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]


class Outcome(NamedTuple):
    """Exit code, stdout and stderr of a command."""

    code: int
    printed: str
    error: str


def refusal(
    command: Callable[..., Outcome],
    watched: Path,
    contents: Callable[[Path], dict],
    *arguments: str | os.PathLike,
) -> str:
    """Run a command that must refuse and change nothing below `watched`.

    Returns:
        Its one line without `error: `.
    """
    before = contents(watched)
    outcome = command(*arguments)
    assert outcome.code == 2, outcome.printed + outcome.error
    assert outcome.error.startswith("error: ")
    assert outcome.error.count("\n") == 1
    assert contents(watched) == before
    return outcome.error.removeprefix("error: ").strip()


def run_command(main: Callable[[list[str]], int], *arguments: str | os.PathLike) -> Outcome:
    """Run a command's `main`."""
    printed, error = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(error):
        code = main([str(argument) for argument in arguments])
    return Outcome(code, printed.getvalue(), error.getvalue())
