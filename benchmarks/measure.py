"""What the benchmarks share: contenders in turns, medians with their spread, one report.

Other work on a machine comes and goes, so contenders take turns (A B C A B C ...), and two of
them are compared round by round, under the same load, before the median is taken.
"""

import argparse
import contextlib
import itertools
import json
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from typing import Any

from pipeline.console.progress import Progress
from pipeline.environment import describe_environment

CORES = os.cpu_count() or 1
BUSY_LOAD = 0.5
"""Load a core from which figures are worth little."""

PEERS = ("torch", "ai-edge-litert", "onnx", "onnxruntime")
"""Packages whose versions a report tells besides the pipeline's, where they are installed."""

Measure = Callable[[], float]
"""Work for a while and return the rate, images a second."""


@dataclass(frozen=True)
class Spread:
    """Median and extremes over the rounds."""

    median: float
    minimum: float
    maximum: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Take the spread of at least one value."""
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Comparison:
    """A figure with a bar to clear.

    Attributes:
        name: what is compared.
        values: the figure of each round.
        bar: what the median is to reach.
        unit: of the figures.
        upper: the bar is a ceiling, not a floor.
    """

    name: str
    values: Sequence[float]
    bar: float
    unit: str = "times"
    upper: bool = False

    @property
    def passes(self) -> bool:
        """Whether the median clears the bar."""
        median = statistics.median(self.values)
        return median <= self.bar if self.upper else median >= self.bar


def ratios(rates: Sequence[float], peer: Sequence[float]) -> list[float]:
    """Divide each round's rate by the peer's rate in the same round."""
    return [rate / other for rate, other in zip(rates, peer, strict=True)]


def fastest(rates: Mapping[str, Sequence[float]], names: Sequence[str]) -> str:
    """Name the contender with the highest median among `names`."""
    return max(names, key=lambda name: statistics.median(rates[name]))


def count(text: str) -> int:
    """Read a whole number above 0 from the command line."""
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; received {text}")
    return value


def seconds(text: str) -> float:
    """Read a span of time above 0 from the command line."""
    value = float(text)
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be above 0 and finite; received {text}")
    return value


def rounds_and_seconds(description: str) -> argparse.Namespace:
    """Read the command line of a benchmark of batches: `rounds`, and `seconds` of each measurement."""
    parser = argparse.ArgumentParser(description=description.partition("\n")[0])
    parser.add_argument("--rounds", type=count, default=9, help="how often each is measured (9)")
    parser.add_argument("--seconds", type=float, default=3.0, help="length of each measurement (3)")
    return parser.parse_args()


def measure_batches(batches: Iterator[Any], seconds: float, *, batch_size: int, buffered: int) -> Measure:
    """Warm up, and return what counts the images of batches for `seconds`.

    Args:
        batches: without an end.
        seconds: length of a measurement.
        batch_size: images of a batch.
        buffered: batches that may be in stock when its turn comes; they are not counted.
    """

    def measure() -> float:
        for _ in itertools.islice(batches, buffered):
            pass
        taken, start = 0, time.perf_counter()
        while time.perf_counter() - start < seconds:
            next(batches)
            taken += 1
        return taken * batch_size / (time.perf_counter() - start)

    next(batches)
    return measure


def has_torch() -> bool:
    """Whether PyTorch can be measured; says so where it cannot."""
    if find_spec("torch"):
        return True
    print("PyTorch is not installed: left out (pip install -r requirements-dev.txt)")
    return False


def own_process() -> ProcessPoolExecutor:
    """Open a fresh process: what runs there inherits nobody's threads, memory or settings."""
    return ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))


def measure_in_turns(
    contenders: Mapping[str, tuple[Callable[..., Measure], tuple[Any, ...]]], rounds: int
) -> dict[str, list[float]]:
    """Measure each contender once a round.

    Args:
        contenders: name -> (build, arguments). `build` prepares and warms up in a process of the
            contender's own.
        rounds: how often each is measured.

    Returns:
        name -> images a second of each round.
    """
    rates: dict[str, list[float]] = {name: [] for name in contenders}
    with contextlib.ExitStack() as stack:
        processes = {name: stack.enter_context(own_process()) for name in contenders}
        ready = [processes[name].submit(_build, *contenders[name]) for name in contenders]
        for contender in ready:
            contender.result()
        progress = stack.enter_context(Progress(rounds * len(contenders), "measuring", "measurements"))
        for _ in range(rounds):
            for name, process in processes.items():
                rates[name].append(process.submit(_measure).result())
                progress.update(1, name)
    return rates


_contender: Measure


def _build(build: Callable[..., Measure], arguments: tuple[Any, ...]) -> None:
    """In a contender's process: prepare it."""
    global _contender
    _contender = build(*arguments)


def _measure() -> float:
    """In a contender's process: measure it once."""
    return _contender()


def report(
    name: str,
    settings: Mapping[str, Any],
    rates: Mapping[str, Sequence[float]],
    comparisons: Sequence[Comparison],
    load_before: float,
) -> None:
    """Print tables of what was measured and, as the last line, all of it as JSON.

    Args:
        name: of the benchmark.
        settings: what was measured, with units in the names.
        rates: contender -> images a second of each round.
        comparisons: figures with their bars.
        load_before: the machine's load average when the benchmark began.
    """
    environment = {**describe_machine(), "load_before": load_before}
    print(f"\n{name}: " + ", ".join(f"{key} {value}" for key, value in settings.items()))
    print(f"{environment['processor']}, {CORES} cores, load before {load_before:.2f}\n")
    if load_before > BUSY_LOAD * CORES:
        print("The machine was busy: measure again. PyTorch suffers most from other work, because")
        print("its threads wait for each other after every operation.\n")
    wide = max(len(label) for label in [*rates, *(c.name for c in comparisons)])
    print(f"{'images a second':{wide}}  {'median':>9}  {'min':>9}  {'max':>9}")
    for label, values in rates.items():
        cells = "  ".join(f"{value:>9,.1f}" for value in asdict(Spread.of(values)).values())
        print(f"{label:{wide}}  {cells}")
    print(f"\n{'round by round':{wide}}  {'median':>9}  {'min':>9}  {'max':>9}")
    for comparison in comparisons:
        cells = "  ".join(f"{value:>9.3f}" for value in asdict(Spread.of(comparison.values)).values())
        bar = f"{'at most' if comparison.upper else 'at least'} {comparison.bar:g}"
        verdict = "pass" if comparison.passes else "fall short"
        print(f"{comparison.name:{wide}}  {cells}  {comparison.unit}; bar {bar}: {verdict}")
    print(
        json.dumps(
            {
                "benchmark": name,
                "settings": settings,
                "images_per_second": {
                    label: {**asdict(Spread.of(values)), "rounds": values} for label, values in rates.items()
                },
                "comparisons": [
                    {**asdict(c), **asdict(Spread.of(c.values)), "passes": c.passes} for c in comparisons
                ],
                "environment": environment,
                "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            }
        )
    )


def describe_machine() -> dict[str, Any]:
    """Versions and machine, those of the peers that are installed among them."""
    return describe_environment(*PEERS)
