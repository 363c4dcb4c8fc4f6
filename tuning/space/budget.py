"""What a whole search may take, its confirmation included.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
import time
from dataclasses import dataclass

from pipeline.config.option import Section, option

MAX_MINUTES = 60 * 24 * 365

STARTED = time.monotonic()
"""When this process began, nearly: the command line is read before TensorFlow is loaded."""


@dataclass(frozen=True)
class Budget(Section):
    """The most that all trainings of a search may take together; None for any."""

    minutes: float | None = option(
        None, "end within so many minutes", above=0, maximum=MAX_MINUTES, metavar="N"
    )
    max_epochs_total: int | None = option(
        None, "epochs of all trainings together", minimum=1, maximum=10**9, metavar="N"
    )

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in dataclasses.astuple(self))

    def __str__(self) -> str:
        parts = [f"{self.minutes:g} minutes"] if self.minutes is not None else []
        if self.max_epochs_total is not None:
            parts.append(f"{self.max_epochs_total:,} epochs")
        return ", ".join(parts)


def seconds_of_process() -> float:
    """Return the seconds since this process began."""
    return time.monotonic() - STARTED
