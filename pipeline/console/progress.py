"""Progress of long work: a bar on a terminal, plain lines in a pipe."""

import sys
import time
from types import TracebackType
from typing import Self, TextIO

from tqdm import tqdm

PLAIN_LINE_SECONDS = 15.0


def duration(seconds: float) -> str:
    """Format a span of time the way one would say it: `42 s`, `7 min`, `3 h 05 min`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


class Progress:
    """Count up to `total`, showing the time left and an optional note.

    Args:
        total: number of units of work.
        label: what the work is, shown first.
        unit: plural name of one unit, shown with the rate.
        done: units that were finished before this process began.
        stream: where it is shown; stdout unless told otherwise.
    """

    def __init__(
        self, total: int, label: str, unit: str, done: int = 0, stream: TextIO | None = None
    ) -> None:
        self.total, self.label, self.unit = total, label, unit
        self.done = done
        self._stream = stream or sys.stdout
        self._timed_from: tuple[int, float] | None = None
        self._last_line = time.monotonic()
        self._bar = None
        if self._stream.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=label,
                unit=f" {unit}",
                file=self._stream,
                dynamic_ncols=True,
                leave=False,
            )

    def update(self, count: int, note: str = "") -> None:
        """Report `count` more units done; `note` is shown beside them."""
        self.done += count
        if self._bar is not None:
            self._bar.set_postfix_str(note, refresh=False)
            self._bar.update(count)
            return
        now = time.monotonic()
        if self._timed_from is None:
            # The first unit may load or compile what the others use: it tells no rate.
            self._timed_from = self.done, now
        elif now - self._last_line >= PLAIN_LINE_SECONDS and self.done > self._timed_from[0]:
            self._last_line = now
            first, started = self._timed_from
            rate = (self.done - first) / max(now - started, 1e-9)
            left = duration(max(self.total - self.done, 0) / max(rate, 1e-9))
            share = f"{self.done:,} of {self.total:,} {self.unit}"
            print(
                f"{self.label}: {share}, {left} left{', ' + note if note else ''}",
                file=self._stream,
                flush=True,
            )

    def line(self, text: str) -> None:
        """Print a line to stdout that stays, above the bar where there is one."""
        if self._bar is not None:
            self._bar.write(text, file=sys.stdout)
            sys.stdout.flush()
        else:
            print(text, flush=True)

    def close(self) -> None:
        """Remove the bar."""
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
