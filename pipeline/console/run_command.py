"""What every command's entry has in common: signals, user errors, exit codes."""

import signal
import sys
from collections.abc import Callable

from pipeline.errors import UserError

DONE, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
"""Exit codes. FAILED: a check that the product made did not hold."""


def run_command(command: Callable[[list[str]], int], arguments: list[str], when_interrupted: str) -> int:
    """Run a command; return its exit code.

    Args:
        command: from arguments to an exit code.
        arguments: what stands behind the command's name.
        when_interrupted: what Ctrl-C or SIGTERM leaves, where the command does not say so itself.
    """
    # Like Ctrl-C, so that what is half done is undone or saved.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return command(arguments)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print(when_interrupted, file=sys.stderr)
        return INTERRUPTED
