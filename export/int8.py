"""From the float32 file to the int8 file: strategies, the choice on validation, and what it is held to."""

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from export.bundle.failure import write_failure
from export.bundle.report import Int8, describe_tried
from export.errors import ExportFailed
from export.finetune.training import train_for_int8
from export.limits import check_limits, check_npu_limit
from export.lines import say
from export.quantize.calibration_images import CalibrationImages, load_calibration
from export.quantize.search import Tried, most_accurate, try_strategies
from export.quantize.stability import compare_halves
from export.quantize.strategies import Strategy, list_remedies, list_strategies
from export.request import Request
from export.verify.accuracy import KerasAnswers
from export.verify.comparison import Comparison
from export.verify.micro import MicroResult, verify_on_micro
from export.verify.npu import NpuResult, compile_for_npu
from pipeline.finished_run import FinishedRun
from pipeline.tflite.file import TFLiteFile

MICRO_IMAGES = 100
"""Real images on which LiteRT and TensorFlow Lite Micro are compared, at most."""

CHOOSING_IMAGES = 10_000
"""Images of validation, at most, on which strategies are compared; evenly spread."""

LEAST_AGREEMENT = 0.98
"""Share of validation on which a file answers like the simulation that was trained for it. Ties are not
rounded alike, and a level here is more further on: ResNet18 of width 16 agrees on 99.6 %."""

FEW_IMAGES = 2
"""So many it may answer otherwise in any case, for of a small validation one alone may be more than 2 %."""


def prepare_strategies(
    float32: TFLiteFile,
    calibration: CalibrationImages,
    run: FinishedRun,
    validation: KerasAnswers,
    request: Request,
    state: Path,
) -> Iterator[Strategy]:
    """Say what is to be tried; how far `--finetune` is is kept in the file `state`."""
    train = None
    if request.finetune:
        train = partial(
            train_for_int8,
            float32,
            run=run,
            epochs=request.finetune,
            validation=validation,
            state=state,
            temperature=request.temperature,
        )
    plain = Strategy(calibration, request.input_type, slim=request.slim)
    if not request.repair:
        return list_strategies(float32, plain, train)
    return list_remedies(float32, plain, partial(load_calibration, run), train)


def choose(
    float32: TFLiteFile,
    strategies: Iterable[Strategy],
    validation: KerasAnswers,
    request: Request,
    failed: Path,
) -> tuple[list[Tried], Tried]:
    """Quantise by one strategy after the other, and choose among them on validation.

    With `--repair` the first that is good enough is chosen, and none is tried after it; else the
    most accurate, of equals the first.

    Returns:
        All that were tried, and the one that was chosen.

    Raises:
        ExportFailed: `--repair` finds none; what is known of them lies in the folder `failed`.
    """
    tried = []
    for each in try_strategies(strategies, float32, validation):
        tried.append(each)
        say("int8", f"{each.comparison.accuracy:.2%} on validation by {each.strategy.name}")
        if request.repair and each.comparison.passes(request.max_drop):
            return tried, each
    best = most_accurate(tried)
    if request.repair:
        best_drop = best.comparison.drop
        raise ExportFailed(
            explain_loss(float32, tried, best, best_drop, "validation", request.max_drop, failed)
        )
    if len(tried) > 1:
        say("int8", f"chosen: {best.strategy.name}")
    return tried, best


def compare_int8(
    float32: TFLiteFile,
    tried: Sequence[Tried],
    chosen: Tried,
    keras_answers: KerasAnswers,
    max_drop: float,
    failed: Path,
) -> Comparison:
    """Compare the file that was chosen with the Keras network on test: this once, and no other.

    Raises:
        ExportFailed: it loses more accuracy than `max_drop` percentage points.
    """
    comparison = keras_answers.compare_files({"int8": chosen.file})["int8"]
    say("int8", f"{comparison.accuracy:.2%} on test")
    if not comparison.passes(max_drop):
        raise ExportFailed(explain_loss(float32, tried, chosen, comparison.drop, "test", max_drop, failed))
    return comparison


def explain_loss(
    float32: TFLiteFile,
    tried: Sequence[Tried],
    best: Tried,
    drop: float,
    split: str,
    max_drop: float,
    failed: Path,
) -> str:
    """Rank the layers by their error in the best strategy, and leave that beside the bundle."""
    errors = best.strategy.rank_layers(float32)
    write_failure(failed, [describe_tried(each, max_drop) for each in tried], errors)
    return (
        f"int8 may cost at most {max_drop:g} points of {split} accuracy; it costs {drop:.2f}, most error "
        f"comes from layer {errors[0].layer!r}, see {failed / 'report.md'}"
    )


def verify_int8(
    float32: TFLiteFile,
    tried: Sequence[Tried],
    chosen: Tried,
    validation: KerasAnswers,
    images: np.ndarray,
    request: Request,
) -> Int8:
    """See how stable the int8 file's calibration or training is, and run it in TensorFlow Lite Micro.

    Args:
        float32: what it was made from.
        tried: the strategies.
        chosen: its own.
        validation: what the Keras network answers for that split.
        images: of the calibration, uint8 [images, height, width, 3].
        request: limits of its size and memory.

    Raises:
        ExportFailed: it answers otherwise than the simulation it was trained in, or in TensorFlow
            Lite Micro otherwise than in LiteRT.
        UserError: it is larger, or needs more memory, than it may.
    """
    halves = simulation = None
    if trained := chosen.strategy.trained:
        simulated = KerasAnswers(validation.split, trained.scores)
        simulation = simulated.compare_files({"int8": chosen.file})["int8"].agreement
        verify_simulation(simulation, len(validation.split.labels))
    else:
        halves = compare_halves(float32, chosen.strategy, validation.split)
        say("int8", f"two halves of the calibration agree on {halves.agreement:.2%} of validation")
    micro = verify_on_micro(chosen.file, images[:MICRO_IMAGES])
    if isinstance(micro, MicroResult):
        arena = f"arena {micro.arena_bytes / 1024:.1f} KiB"
        say("micro", f"equals LiteRT bit for bit on {micro.images} images; {arena}")
    else:
        say("micro", f"not run: {micro}")
    check_limits(chosen.file.size, micro, max_bytes=request.max_bytes, max_arena_kib=request.max_arena_kib)
    npu = compile_and_limit(chosen.file, request) if request.npu else None
    return Int8(tried, chosen, halves, simulation, micro, npu)


def compile_and_limit(file: TFLiteFile, request: Request) -> NpuResult:
    """Compile the int8 file for the NPU that is asked for.

    Raises:
        ExportFailed: the compiler refuses it.
        UserError: it is slower than it may be.
    """
    assert request.npu  # else there is nothing to compile for
    npu = compile_for_npu(file, request.npu)
    left = sum(npu.cpu_operations.values())
    estimate = f"{npu.milliseconds:.3f} ms estimated, SRAM {npu.sram_bytes / 1024:.1f} KiB"
    say("npu", f"{npu.npu}: {left} operations on the CPU, {estimate}")
    check_npu_limit(npu, request.max_npu_ms)
    return npu


def verify_simulation(agreement: float, images: int) -> None:
    """Check that the int8 file does what was trained.

    Args:
        agreement: share of validation on which it does.
        images: of validation.

    Raises:
        ExportFailed: it agrees with the simulation on too few images.
    """
    say("int8", f"agrees with the simulation that was trained on {agreement:.2%} of validation")
    if agreement < LEAST_AGREEMENT and round((1 - agreement) * images) > FEW_IMAGES:
        raise ExportFailed(
            f"int8 must answer as in training on {LEAST_AGREEMENT:.0%} of validation; it does on "
            f"{agreement:.2%}"
        )
