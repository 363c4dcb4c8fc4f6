"""Run a .tflite file in TensorFlow Lite Micro, as a microcontroller would, and size its arena."""

import bisect
import contextlib
import math
import os
import re
import signal
import tempfile
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import IO, Any

import numpy as np

from export.errors import ExportFailed
from pipeline.console.progress import Progress
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter

ARENA_ALIGNMENT = 16
"""Of buffers in the arena, in bytes: `MicroArenaBufferAlignment` of TensorFlow Lite Micro."""

ROOMY_ARENA = 64 * 2**20
"""More bytes than a microcontroller has; memory that is not written to is never taken."""

HEADROOM = 1 / 8
"""Share that is added to the least arena, for buffers of kernels that are made for one processor."""

CHUNK = 32
"""Images that go to the other process at a time."""


@dataclass(frozen=True)
class MicroResult:
    """What a file does in TensorFlow Lite Micro on this machine.

    Attributes:
        images: how many gave the scores of LiteRT's reference kernels, bit for bit.
        arena_bytes: what to reserve: the least arena in which the file was loaded and these images
            ran, and `HEADROOM`, rounded up to a multiple of 16. On a 32-bit microcontroller the
            least is smaller, for many of the structures in it consist of pointers, of 64 bits here.
        activation_bytes: part of the arena that activations and scratch buffers share. It does
            not depend on the width of pointers.
    """

    images: int
    arena_bytes: int
    activation_bytes: int


def verify_on_micro(file: TFLiteFile, images: np.ndarray) -> MicroResult | str:
    """Compare TensorFlow Lite Micro with LiteRT's reference kernels, which its own stem from.

    Both compute int8 and float32 convolutions, additions, means and softmax to the same bits.
    FULLY_CONNECTED of integers and SOFTMAX of int16 they round differently, by one level.

    Args:
        file: what to run.
        images: uint8 [images, height, width, 3].

    Returns:
        The result, or in a few words why TensorFlow Lite Micro does not run the file: it has no
        kernel for it (dynamic-range and float16 files, for instance) or is not installed.

    Raises:
        ExportFailed: the scores of an image differ in a bit, or the file ends the process.
    """
    try:
        with _child() as child:
            arena = child.submit(_measure_arena, file.content).result()
            if isinstance(arena, str):
                return arena
            # In the least one, which is what is to suffice.
            _verify_equal(*_run_both(child, file.content, arena[0], images))
    except ImportError as error:
        return _missing(error)
    least, activations = arena
    return MicroResult(len(images), to_reserve(least), activations)


def measure_arena(file: TFLiteFile) -> int | str:
    """Return the `arena_bytes` of a file's `MicroResult`, or in a few words why it is not run.

    Raises:
        ExportFailed: the file ends the process.
    """
    try:
        with _child() as child:
            arena = child.submit(_measure_arena, file.content).result()
    except ImportError as error:
        return _missing(error)
    return arena if isinstance(arena, str) else to_reserve(arena[0])


@contextlib.contextmanager
def _child() -> Iterator[ProcessPoolExecutor]:
    """Open the other process: files are not checked as they are loaded, and a bad one ends it."""
    # Ctrl-C reaches every process of a terminal; only the one that waits is to explain.
    end_at_once = signal.signal, (signal.SIGINT, signal.SIG_DFL)
    with ProcessPoolExecutor(1, get_context("spawn"), *end_at_once) as child:
        try:
            yield child
        except BrokenProcessPool:
            raise ExportFailed("TensorFlow Lite Micro must survive the file; it ended its process") from None


def _missing(error: ImportError) -> str:
    return f"the package tflite_micro cannot be loaded: {error}"


def to_reserve(least: int) -> int:
    """Return the bytes of arena to reserve where `least` were enough, a multiple of 16."""
    return math.ceil(least * (1 + HEADROOM) / ARENA_ALIGNMENT) * ARENA_ALIGNMENT


def _run_both(
    child: ProcessPoolExecutor, content: bytes, arena_bytes: int, images: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Scores [images, classes], as stored, of TensorFlow Lite Micro and of LiteRT."""
    reference = Interpreter(content, reference=True)
    scores, expected = [], []
    with Progress(len(images), "running TensorFlow Lite Micro", "images") as progress:
        for start in range(0, len(images), CHUNK):
            encoded = reference.encode(images[start : start + CHUNK])
            running = child.submit(_run, content, arena_bytes, encoded)
            expected += [reference.run(image[None]) for image in encoded]
            scores.append(running.result())
            progress.update(len(encoded))
    return np.concatenate(scores), np.concatenate(expected)


def _verify_equal(scores: np.ndarray, expected: np.ndarray) -> None:
    differs = (scores.view(np.uint8) != expected.view(np.uint8)).any(axis=-1)
    if differs.any():
        largest = np.abs(scores.astype(np.float64) - expected).max()
        unit = " levels" if np.issubdtype(scores.dtype, np.integer) else ""
        raise ExportFailed(
            "TensorFlow Lite Micro must equal LiteRT's reference kernels bit for bit; the scores "
            f"of {differs.sum()} of {len(differs)} images differ, by up to {largest:g}{unit}"
        )


# What follows runs in the other process.


def _run(content: bytes, arena_bytes: int, encoded: np.ndarray) -> np.ndarray:
    with _native_output():
        interpreter = _load(content, arena_bytes)
        rows = []
        for image in encoded:
            interpreter.set_input(image[None], 0)
            interpreter.invoke()
            rows.append(interpreter.get_output(0))
    return np.concatenate(rows)


def _measure_arena(content: bytes) -> tuple[int, int] | str:
    """Return the least arena and the `activation_bytes` of a `MicroResult`, or why the file is refused.

    The allocation record tells what stays in use once the file is loaded. Loading may need more
    for a moment, to plan where activations go: the least arena is therefore found by trial.
    """
    with _native_output() as native:
        try:
            _load(content, ROOMY_ARENA).print_allocations()
        except RuntimeError as error:
            return _last_words(native) or str(error)
        record = dict(re.findall(r"Arena allocation (\w+) (\d+) bytes", _read(native)))
        blocks = range(-(-int(record["total"]) // ARENA_ALIGNMENT), ROOMY_ARENA // ARENA_ALIGNMENT)
        least = bisect.bisect_left(blocks, True, key=lambda count: _fits(content, count * ARENA_ALIGNMENT))
    return blocks[least] * ARENA_ALIGNMENT, int(record["head"])


def _fits(content: bytes, arena_bytes: int) -> bool:
    # Some sizes that are too small are not refused but end the process: here a child's.
    attempt = get_context("fork").Process(target=_load, args=(content, arena_bytes))
    attempt.start()
    attempt.join()
    return attempt.exitcode == 0


def _load(content: bytes, arena_bytes: int) -> Any:
    # Not every platform has the package, and the command line is to start without it.
    from tflite_micro.python.tflite_micro import runtime

    return runtime.Interpreter.from_bytes(content, arena_size=arena_bytes)


def _last_words(native: IO[str]) -> str:
    """Join what was printed on the way to a refusal, without the places in its source code."""
    lines = _read(native).splitlines()
    return "; ".join(re.sub(r"^\S+\.cc(:\d+)? |\.$", "", line) for line in lines)


def _read(native: IO[str]) -> str:
    native.seek(0)
    return native.read()


@contextlib.contextmanager
def _native_output() -> Iterator[IO[str]]:
    """Send what native code prints meanwhile to a file, which is yielded."""
    kept = {descriptor: os.dup(descriptor) for descriptor in (1, 2)}
    with tempfile.TemporaryFile("w+") as native:
        try:
            for descriptor in kept:
                os.dup2(native.fileno(), descriptor)
            yield native
        finally:
            for descriptor, original in kept.items():
                os.dup2(original, descriptor)
                os.close(original)
