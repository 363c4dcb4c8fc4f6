"""The search for an int8 file: one strategy after the other, compared on validation, never on test."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from export.quantize.strategies import Strategy
from export.verify.accuracy import KerasAnswers
from export.verify.comparison import Comparison
from export.verify.operations import verify_built_in, verify_integer_only
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import measure_file

TIMED_IMAGES, TIMED_SECONDS = 20, 0.2
"""How long each strategy's file is timed, and on how many images."""


@dataclass(frozen=True)
class Tried:
    """A strategy and how it did.

    Attributes:
        strategy: how the file was quantised.
        file: the int8 file.
        comparison: with the Keras network on validation.
        latency_ms: median of one image on one thread.
    """

    strategy: Strategy
    file: TFLiteFile
    comparison: Comparison
    latency_ms: float


def try_strategies(
    strategies: Iterable[Strategy], float32: TFLiteFile, validation: KerasAnswers
) -> Iterator[Tried]:
    """Quantise by one strategy after the other, each only when it is asked for.

    Args:
        strategies: what to try.
        float32: the network in float32.
        validation: what the Keras network answers for that split.

    Raises:
        ExportFailed: a file computes in floating point where it must not.
    """
    for strategy in strategies:
        file = strategy.quantize(float32, strategy.calibration.images)
        verify_built_in(file.graph)
        verify_integer_only(file.graph, strategy.kept_float)
        comparison = validation.compare_files({"int8": file})["int8"]
        images = strategy.calibration.images[:TIMED_IMAGES]
        latency = measure_file(file, images, threads=1, seconds=TIMED_SECONDS)
        yield Tried(strategy, file, comparison, latency.p50_ms)


def most_accurate(tried: Sequence[Tried]) -> Tried:
    """Choose by accuracy on validation; of equals the first, which costs less."""
    return max(tried, key=lambda each: each.comparison.accuracy)
