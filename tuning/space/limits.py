"""What a network may cost at most on the device that it is searched for.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """The most that a network may cost; None for any. Each is a flag of the same name.

    Attributes:
        max_parameters: trainable weights.
        max_mac: multiply-adds of one image.
        max_bytes_int8: size of the int8 .tflite file.
        max_latency_ms: median time of one image through that file, on one thread here.
    """

    max_parameters: int | None = None
    max_mac: int | None = None
    max_bytes_int8: int | None = None
    max_latency_ms: float | None = None

    @property
    def is_set(self) -> bool:
        """Whether there is any limit."""
        return any(limit is not None for limit in dataclasses.astuple(self))
