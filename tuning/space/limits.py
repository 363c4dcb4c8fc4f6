"""What a network may cost at most on the device that it is searched for.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
from dataclasses import dataclass

from export.formats import MAX_FILE_BYTES
from pipeline.config.option import Section, option


@dataclass(frozen=True)
class Limits(Section):
    """The most that a network may cost; None for any."""

    max_parameters: int | None = option(None, "weights of the network", above=0, maximum=10**12, metavar="N")
    max_mac: int | None = option(None, "multiply-adds of one image", above=0, maximum=10**15, metavar="N")
    max_bytes_int8: int | None = option(
        None, "size of the exported int8 file, bytes", above=0, maximum=MAX_FILE_BYTES, metavar="N"
    )
    max_latency_ms: float | None = option(
        None, "median time of the int8 file on one thread of this machine", above=0, maximum=1e6, metavar="N"
    )
    max_arena_kib: float | None = option(
        None, "arena of the int8 file in TensorFlow Lite Micro", above=0, maximum=1e6, metavar="N"
    )

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in dataclasses.astuple(self))

    @property
    def need_file(self) -> bool:
        """Whether a limit is held by the int8 file, not by what can be counted."""
        return (self.max_bytes_int8, self.max_latency_ms, self.max_arena_kib) != (None, None, None)
