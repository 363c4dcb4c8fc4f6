"""Limits that a device sets: the size of the int8 file, of its tensor arena, and its time on an NPU."""

from export.verify.micro import MicroResult
from export.verify.npu import NpuResult
from pipeline.errors import UserError


def check_limits(
    size: int, micro: MicroResult | str | None, *, max_bytes: int | None, max_arena_kib: float | None
) -> None:
    """Hold the int8 file to the limits that were given.

    Args:
        size: of the file, bytes.
        micro: what TensorFlow Lite Micro made of it, or why it made nothing.
        max_bytes: largest allowed file; None for any.
        max_arena_kib: largest allowed arena, KiB; None for any.

    Raises:
        UserError: it is too large, or its arena is or could not be found out.
    """
    if max_bytes is not None and size > max_bytes:
        raise UserError(
            f"--max-bytes must be at least the int8 file's {size:,} bytes; received "
            f"{max_bytes:,} (train with a smaller --width)"
        )
    if max_arena_kib is None:
        return
    if not isinstance(micro, MicroResult):
        raise UserError(f"--max-arena-kib needs TensorFlow Lite Micro; {micro}")
    if micro.arena_bytes > 1024 * max_arena_kib:
        raise UserError(
            f"--max-arena-kib must be at least the {micro.arena_bytes / 1024} KiB that the int8 "
            f"file's header reserves; received {max_arena_kib:g} (train with a smaller --width or "
            "--image-size)"
        )


def check_npu_limit(npu: NpuResult, max_ms: float | None) -> None:
    """Hold the compiler's estimate to the limit that was given.

    Raises:
        UserError: the network takes longer, or the processor has a part in it, which is not estimated.
    """
    if max_ms is None:
        return
    if npu.cpu_operations:
        # Vela counts them as no time at all: a network that is left to the processor takes 0 ms.
        left = ", ".join(f"{count} {name}" for name, count in npu.cpu_operations.items())
        raise UserError(
            f"--max-npu-ms needs a network that {npu.npu} computes alone, as Vela estimates no other time; "
            f"it leaves to the processor {left}"
        )
    if npu.milliseconds > max_ms:
        raise UserError(
            f"--max-npu-ms must be at least the {npu.milliseconds:g} ms that Vela estimates for {npu.npu}; "
            f"received {max_ms:g} (train with a smaller --width or --image-size)"
        )
