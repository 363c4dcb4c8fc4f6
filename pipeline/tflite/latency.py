"""How fast a network's file runs on this machine, and how much memory it takes.

Every measurement has a fresh process, which must start fast and hold nothing else: this module
imports LiteRT and NumPy, never TensorFlow. A spawned process imports the top of the caller's main
module too, which therefore must be as light.
"""

import contextlib
import multiprocessing
import re
import signal
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from itertools import cycle
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.interpreter import Interpreter

WARM_UP_RUNS = 5

ENOUGH = ((1, 200), (10, 50), (30, 1))
"""After how many times `seconds` how many runs suffice: a slow network is let off with fewer."""

ROUNDS = 6
"""How often a file is timed for the interval of its latency: the least and the greatest of so many
independent values hold the median of their distribution in 1 - 2 / 2^6 = 97 % of cases (David and
Nagaraja 2003, "Order Statistics", section 7.1)."""

STATUS = Path("/proc/self/status")
"""Where Linux tells a process about itself."""


class Engine(Protocol):
    """What runs a file, loaded with it: `Interpreter`, or another that measures alike."""

    def encode(self, images: np.ndarray) -> np.ndarray:
        """Turn pixels in [0, 255] into what the file's input takes."""

    def run(self, encoded: np.ndarray) -> np.ndarray:
        """Run one image."""

    def count_delegated(self) -> tuple[int | None, int | None]:
        """Count the operations that a delegate took over, and all; None where it does not tell."""


class Runnable(Protocol):
    """A file and what runs it."""

    @property
    def content(self) -> bytes:
        """The bytes."""

    @property
    def engine(self) -> Callable[..., Engine]:
        """From the bytes, and `threads`, to what runs them."""


@dataclass(frozen=True)
class Latency:
    """How one file runs, one image at a time.

    Attributes:
        threads: that it was given.
        cold_start_ms: from the file to the first scores in a fresh process: read, load, allocate
            and run once. The imports before it and a cold disk are not in it.
        p50_ms: median time of a run once warm, from the encoded image to the scores.
        p90_ms: time that 90 of 100 runs stay below, and so on.
        images_per_second: runs divided by the sum of their times.
        peak_memory_bytes: by how much the process grew at most from before the file was read to
            the last run; None where the system does not tell (other than Linux).
        runs: that the figures are of.
        delegated: operations that LiteRT's default delegate, XNNPACK, took over; None of a file of
            another kind.
        operations: all there are in the file; None as before.
    """

    threads: int
    cold_start_ms: float
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    images_per_second: float
    peak_memory_bytes: int | None
    runs: int
    delegated: int | None
    operations: int | None


def measure_file(file: Runnable, images: np.ndarray, threads: int, seconds: float = 1.0) -> Latency:
    """Measure a file in a fresh process.

    Args:
        file: what to measure.
        images: uint8 [images, height, width, 3], at least one; they take turns.
        threads: to compute with.
        seconds: least time to measure for; longer until there are runs enough, see `ENOUGH`.
    """
    fresh = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory() as folder,
        # Ctrl-C reaches every process of a terminal; only the one that waits is to explain.
        ProcessPoolExecutor(1, fresh, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as process,
    ):
        # Through a pipe the file would come as copies that raise the peak before it is loaded.
        path = Path(folder, "model")
        path.write_bytes(file.content)
        return process.submit(measure_here, path, images, threads, seconds, file.engine).result()


def time_in_turns(
    files: Sequence[tuple[TFLiteFile, np.ndarray]], threads: int, seconds: float
) -> Iterator[list[float]]:
    """Time several files in turn, again and again, so that whatever slows the machine slows all.

    Args:
        files: each with its images, uint8 [images, height, width, 3], at least one.
        threads: to compute with.
        seconds: least time for each file in each round; longer until there are runs enough, see `ENOUGH`.

    Yields:
        for each of `ROUNDS` the median time of a run of each file, in ms; every round has a fresh
        process, and every other one goes backwards.
    """
    fresh = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        paths = [Path(folder, f"{place}.tflite") for place in range(len(files))]
        for path, (file, _) in zip(paths, files, strict=True):
            path.write_bytes(file.content)
        named = [(path, images) for path, (_, images) in zip(paths, files, strict=True)]
        for place in range(ROUNDS):
            way = 1 if place % 2 == 0 else -1
            with ProcessPoolExecutor(1, fresh, signal.signal, (signal.SIGINT, signal.SIG_DFL)) as process:
                yield process.submit(_time_each, named[::way], threads, seconds).result()[::way]


def _time_each(files: Sequence[tuple[Path, np.ndarray]], threads: int, seconds: float) -> list[float]:
    medians = []
    for path, images in files:
        model = Interpreter(path.read_bytes(), threads=threads)
        times = time_runs(model.run, (model.encode(image[None]) for image in cycle(images)), seconds)
        medians.append(1000 * float(np.median(times)))
    return medians


def measure_here(
    path: Path, images: np.ndarray, threads: int, seconds: float, load: Callable[..., Engine] = Interpreter
) -> Latency:
    """Measure in this process what `measure_file` measures in a fresh one."""
    _forget_peak_memory()
    memory_before = _peak_memory()
    start = time.perf_counter()
    content = path.read_bytes()
    model = load(content, threads=threads)
    model.run(model.encode(images[:1]))
    cold_start = time.perf_counter() - start
    times = time_runs(model.run, (model.encode(image[None]) for image in cycle(images)), seconds)
    memory = _peak_memory()
    p50, p90, p95, p99 = 1000 * np.percentile(times, (50, 90, 95, 99))
    delegated, operations = model.count_delegated()
    return Latency(
        threads=threads,
        cold_start_ms=1000 * cold_start,
        p50_ms=float(p50),
        p90_ms=float(p90),
        p95_ms=float(p95),
        p99_ms=float(p99),
        images_per_second=len(times) / sum(times),
        peak_memory_bytes=memory - memory_before if memory and memory_before else None,
        runs=len(times),
        delegated=delegated,
        operations=operations,
    )


def time_runs(run: Callable[[Any], Any], inputs: Iterator[Any], seconds: float) -> list[float]:
    """Time `run` on one input after the other until it is `ENOUGH`; seconds of each run."""
    for _ in range(WARM_UP_RUNS):
        run(next(inputs))
    times: list[float] = []
    elapsed = 0.0
    while not any(elapsed >= least * seconds and len(times) >= runs for least, runs in ENOUGH):
        encoded = next(inputs)
        start = time.perf_counter()
        run(encoded)
        times.append(time.perf_counter() - start)
        elapsed += times[-1]
    return times


def _forget_peak_memory() -> None:
    """Let the peak begin anew at what is held now; imports took more for a while."""
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_memory() -> int | None:
    """Most memory this process held, in bytes; None where the system does not tell.

    Not `getrusage`: Linux hands its figure on from the parent, which may hold TensorFlow.
    """
    if not STATUS.exists():
        return None
    (peak,) = re.findall(r"^VmHWM:\s*(\d+) kB$", STATUS.read_text(), re.MULTILINE)
    return 1024 * int(peak)
