"""Run a .tflite file in TensorFlow Lite Micro, as a microcontroller would, and size its arena."""

import bisect
import contextlib
import os
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing import get_context
from typing import IO, Any

import numpy as np

from export.errors import ExportFailed
from export.graph import Operation, read_graph
from export.litert import LiteRTModel
from pipeline.progress import Progress

ARENA_ALIGNMENT = 16
"""Of buffers in the arena, in bytes: `MicroArenaBufferAlignment` of TensorFlow Lite Micro."""

ROOMY_ARENA = 64 * 2**20
"""More bytes than a microcontroller has; memory that is not written to is never taken."""

CHUNK = 32
"""Pictures that go to the other process at a time."""

ROUNDED_OTHERWISE = ("FULLY_CONNECTED", "SOFTMAX")
"""Operations whose integers LiteRT rounds otherwise than TensorFlow Lite Micro."""


@dataclass(frozen=True)
class MicroResult:
    """What a file does in TensorFlow Lite Micro on this machine.

    Attributes:
        pictures: how many ran.
        identical: how many of them gave the scores of LiteRT's reference kernels, bit for bit; in
            the others nothing but a rounding differs (`verify_on_micro`).
        arena_bytes: the least arena, a multiple of 16, in which the file was loaded and these
            pictures ran. On a 32-bit microcontroller it is smaller, for many of the structures in
            it consist of pointers, of 64 bits here; optimised kernels may ask for buffers more.
        activation_bytes: part of the arena that activations and scratch buffers share. It does
            not depend on the width of pointers.
    """

    pictures: int
    identical: int
    arena_bytes: int
    activation_bytes: int


def verify_on_micro(
    content: bytes, images: np.ndarray, layers: Collection[str] = ()
) -> MicroResult | str:
    """Compare TensorFlow Lite Micro with LiteRT's reference kernels, which its own stem from.

    Scores must be equal bit for bit. Where they are not, the first operation to differ must be a
    FULLY_CONNECTED or SOFTMAX of integers, by one level. LiteRT multiplies a sum of products by
    its scale with 31 bits and rounds once; TensorFlow Lite Micro rounds twice for int8 (Jacob et
    al. 2018, arXiv:1712.05877, appendix B) and takes 16 bits of the scale for int16. Their int16
    softmax differs as well, seldom.

    Args:
        content: a .tflite file.
        images: uint8 [pictures, height, width, 3].
        layers: names of the Keras model's layers, to name the one where a difference begins.

    Returns:
        The result, or in a few words why TensorFlow Lite Micro does not run the file: it has no
        kernel for it (dynamic-range and float16 files, for instance) or is not installed.

    Raises:
        ExportFailed: the scores of a picture differ by more than that, or the file ends the
            process.
    """
    # Files are not checked as they are loaded: a bad one ends the process that it is loaded in.
    with ProcessPoolExecutor(1, get_context("spawn")) as child:
        try:
            arena = child.submit(_measure_arena, content).result()
            if isinstance(arena, str):
                return arena
            differing = _differing(child, content, arena[0], images)
            _verify_only_rounding_differs(child, content, images[differing], layers)
        except ImportError as error:
            return f"the package tflite_micro cannot be loaded: {error}"
        except BrokenProcessPool:
            raise ExportFailed(
                "TensorFlow Lite Micro must survive the file; it ended its process"
            ) from None
    return MicroResult(len(images), len(images) - int(differing.sum()), *arena)


def _differing(
    child: ProcessPoolExecutor, content: bytes, arena_bytes: int, images: np.ndarray
) -> np.ndarray:
    """Whether each picture's scores differ in a bit, bool [pictures]."""
    reference = LiteRTModel(content, reference=True)
    differing = []
    with Progress(len(images), "running TensorFlow Lite Micro", "pictures") as progress:
        for start in range(0, len(images), CHUNK):
            encoded = reference.encode(images[start : start + CHUNK])
            running = child.submit(_run, content, arena_bytes, encoded)
            expected = np.concatenate([reference.run(picture[None]) for picture in encoded])
            scores = running.result()
            differing.append((scores.view(np.uint8) != expected.view(np.uint8)).any(axis=-1))
            progress.update(len(encoded))
    return np.concatenate(differing)


def _verify_only_rounding_differs(
    child: ProcessPoolExecutor, content: bytes, images: np.ndarray, layers: Collection[str]
) -> None:
    operations = read_graph(content, layers).operations
    indices = [operation.output.index for operation in operations]
    reference = LiteRTModel(content, reference=True, keep_tensors=True)
    for image in images:
        encoded = reference.encode(image[None])
        reference.run(encoded)
        activations = child.submit(_run_keeping, content, encoded, indices).result()
        expected = [reference.tensor(index).ravel() for index in indices]
        if fault := _fault(operations, activations, expected):
            raise ExportFailed(
                "TensorFlow Lite Micro must equal LiteRT's reference kernels bit for bit; "
                f"{len(images)} pictures differ, beginning with {fault}"
            )


def _fault(
    operations: Sequence[Operation], outputs: list[np.ndarray], expected: list[np.ndarray]
) -> str:
    """Describe the first operation whose output differs by more than a rounding; else nothing."""
    for operation, output, exact in zip(operations, outputs, expected, strict=True):
        if output.tobytes() == exact.tobytes():
            continue
        largest = np.abs(output.astype(np.float64) - exact).max()
        integer = np.issubdtype(exact.dtype, np.integer)
        if operation.name in ROUNDED_OTHERWISE and integer and largest <= 1:
            return ""
        unit = " levels" if integer else ""
        return f"{operation.name} of layer {operation.layer!r}, by up to {largest:g}{unit}"
    return "the scores, once the activations share an arena"


# What follows runs in the other process.


def _run(content: bytes, arena_bytes: int, encoded: np.ndarray) -> np.ndarray:
    with _native_output():
        interpreter = _load(content, arena_bytes)
        rows = []
        for picture in encoded:
            interpreter.set_input(picture[None], 0)
            interpreter.invoke()
            rows.append(interpreter.get_output(0))
    return np.concatenate(rows)


def _run_keeping(content: bytes, encoded: np.ndarray, indices: list[int]) -> list[np.ndarray]:
    """Run one picture and return these tensors, each flat and as stored."""
    from tflite_micro.python.tflite_micro import runtime

    with _native_output():
        keeping = runtime.InterpreterConfig.kPreserveAllTensors
        interpreter = runtime.Interpreter.from_bytes(
            content, arena_size=ROOMY_ARENA, intrepreter_config=keeping
        )
        interpreter.set_input(encoded, 0)
        interpreter.invoke()
        return [interpreter.GetTensor(index, 0)["tensor_data"].ravel() for index in indices]


def _measure_arena(content: bytes) -> tuple[int, int] | str:
    """Return `arena_bytes` and `activation_bytes` of a `MicroResult`, or why the file is refused.

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
        least = bisect.bisect_left(
            blocks, True, key=lambda count: _fits(content, count * ARENA_ALIGNMENT)
        )
    return blocks[least] * ARENA_ALIGNMENT, int(record["head"])


def _fits(content: bytes, arena_bytes: int) -> bool:
    try:
        _load(content, arena_bytes)
    except RuntimeError:
        return False
    return True


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
