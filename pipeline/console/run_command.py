"""What every command's entry has in common: signals, closed streams, user errors, exit codes."""

import contextlib
import errno
import os
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any, TextIO, cast

from pipeline.errors import UserError

DONE, FAILED, USER_ERROR, INTERRUPTED = 0, 1, 2, 130
"""Exit codes. FAILED: a check that the product made did not hold."""

FULL = (errno.ENOSPC, errno.EDQUOT)
"""No room on a disk, or none that is left to this user."""


def run_command(command: Callable[[list[str]], int], arguments: list[str], when_interrupted: str) -> int:
    """Run a command; return its exit code.

    Args:
        command: from arguments to an exit code.
        arguments: what stands behind the command's name.
        when_interrupted: what a signal leaves, where the command does not say so itself.
    """
    for number in stopping_signals():
        # Like Ctrl-C, so that what is half done is undone or saved.
        signal.signal(number, signal.default_int_handler)
    with streams_that_may_close():
        try:
            return command(arguments)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr)
            return USER_ERROR
        except OSError as error:
            if error.errno not in FULL:
                raise
            # What a command writes is named by itself; libraries and temporary files come here.
            where = error.filename or "where the command writes, or where TMPDIR leads"
            print(f"error: a disk must have room; {where}: {error.strerror}", file=sys.stderr)
            return USER_ERROR
        except KeyboardInterrupt:
            print(when_interrupted, file=sys.stderr)
            return INTERRUPTED


def stopping_signals() -> list[signal.Signals]:
    """List the signals that mean the same as Ctrl-C; not SIGHUP where `nohup` has it ignored."""
    ignores_hangup = signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    return [signal.SIGTERM] if ignores_hangup else [signal.SIGTERM, signal.SIGHUP]


@contextlib.contextmanager
def streams_that_may_close() -> Iterator[None]:
    """Let the work go on where nobody reads stdout or stderr, or its disk is full.

    A stream that was closed before the start is opened on nothing, lest the next file that is
    opened take its number and what native code prints.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (_forgiving(stream) for stream in before)
    try:
        yield
    finally:
        for stream in (sys.stdout, sys.stderr):
            stream.flush()
        sys.stdout, sys.stderr = before


def _forgiving(stream: TextIO | None) -> TextIO:
    # None is what Python has for a stream that was closed.
    return cast(TextIO, ForgivingStream(stream or open(os.devnull, "w")))


def failure_of(stream: object) -> OSError | None:
    """Return why a stream of a command drops what is written to it; None where it takes it."""
    return stream.failure if isinstance(stream, ForgivingStream) else None


class ForgivingStream:
    """A text stream that drops what it can no longer take, and escapes what it cannot show.

    Attributes:
        failure: why it takes no more; None while it does.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.failure: OSError | None = None

    def write(self, text: str) -> int:
        """Write, or drop."""
        try:
            return self._stream.write(self._showable(text))
        except OSError as error:
            self._let_go(error)
            return len(text)

    def _showable(self, text: str) -> str:
        """Escape what the terminal's encoding lacks: of a class name or a path, for instance."""
        encoding, errors = self._stream.encoding, self._stream.errors
        if not encoding:
            return text
        try:
            text.encode(encoding, errors or "strict")
        except UnicodeEncodeError:
            return text.encode(encoding, "backslashreplace").decode(encoding)
        return text

    def flush(self) -> None:
        """Flush, or drop."""
        try:
            self._stream.flush()
        except OSError as error:
            self._let_go(error)

    def _let_go(self, error: OSError) -> None:
        """Lead the descriptor nowhere, for what is buffered and for native code."""
        self.failure = self.failure or error
        with contextlib.suppress(OSError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._stream.fileno())
            os.close(nowhere)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)
