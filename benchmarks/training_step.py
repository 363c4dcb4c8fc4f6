"""What train.py's loop adds to its training step, and the step beside PyTorch's, on the CPU.

    python -m benchmarks.training_step

ResNet-18 on CIFAR-10's shape in batches of 128, with the cifar10 preset. First the whole loop,
with its input, callbacks, logging and checkpoints, against the same step on one batch that stays
in memory; then that step against the same network in eager PyTorch.
"""

import argparse
import os
import time
from collections.abc import Callable
from typing import Any

from benchmarks.measure import (
    CORES,
    Comparison,
    Measure,
    count,
    has_torch,
    measure_in_turns,
    own_process,
    ratios,
    report,
)
from pipeline.config.config import Config
from pipeline.console.quiet_start import load_tensorflow_quietly

BATCH_SIZE, CLASSES, PIXELS = 128, 10, 32
MOST_LOST_PERCENT = 3.0
BAR_TORCH = {"float32": 1.2, "bfloat16": 1.0}


def loop_seconds(width: int, precision: str, rounds: int, steps: int) -> tuple[dict[str, list[float]], float]:
    """In a process of its own: see `benchmarks.training_loop.measure_loop`."""
    load_tensorflow_quietly()
    from benchmarks.training_loop import measure_loop

    return measure_loop(width, precision, rounds, steps)


def our_step(width: int, precision: str, steps: int) -> Measure:
    """Build the compiled step on a batch in memory."""
    load_tensorflow_quietly()
    from benchmarks.training_loop import first_batch, in_memory, training_run

    with training_run(width, precision, steps) as run:
        run.model.make_train_function()
        batches = in_memory(first_batch(run))
    return _measure_steps(lambda: run.model.train_function(batches), steps)


def torch_step(width: int, precision: str, steps: int) -> Measure:
    """Build PyTorch's eager step on a batch in memory."""
    import torch

    from benchmarks.torch_resnet import build_torch_resnet18, build_torch_step

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    train = build_torch_step(build_torch_resnet18(width, CLASSES), bfloat16=precision == "bfloat16")
    pixels = torch.randint(256, (BATCH_SIZE, PIXELS, PIXELS, 3), dtype=torch.uint8)
    labels = torch.randint(CLASSES, (BATCH_SIZE,))
    return _measure_steps(lambda: train(pixels, labels), steps)


def _measure_steps(step: Callable[[], Any], steps: int) -> Measure:
    """Take two steps to warm up, and return what measures `steps` more."""

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(steps):
            step()
        return steps * BATCH_SIZE / (time.perf_counter() - start)

    step()
    step()
    return measure


def compare_loop(arguments: argparse.Namespace, precision: str) -> tuple[dict[str, list[float]], Comparison]:
    """Measure the loop's cost, a share of the checkpoints' included."""
    print(f"{precision}: the loop of train.py", flush=True)
    with own_process() as process:
        seconds, save = process.submit(
            loop_seconds, arguments.width, precision, arguments.rounds, arguments.steps
        ).result()
    every = Config().run.checkpoint_seconds
    images = arguments.steps * BATCH_SIZE
    # The blocks hold no checkpoint; a run saves one every so many seconds.
    seconds["loop"] = [block * (1 + save / every) for block in seconds["loop"]]
    rates = {
        f"{precision}, {name}": [images / block for block in blocks]
        for name, blocks in (("loop", seconds["loop"]), ("batch in memory", seconds["memory"]))
    }
    loop, memory = rates.values()
    lost = [100 * (1 - ratio) for ratio in ratios(loop, memory)]
    print(f"{precision}: a checkpoint takes {save:.2f} s, every {every:.0f} s", flush=True)
    name = f"{precision}, time lost to the loop"
    return rates, Comparison(name, lost, MOST_LOST_PERCENT, unit="%", upper=True)


def compare_step(arguments: argparse.Namespace, precision: str) -> tuple[dict[str, list[float]], Comparison]:
    """Measure the step beside PyTorch's."""
    print(f"{precision}: the step beside PyTorch's", flush=True)
    settings = (arguments.width, precision, arguments.steps)
    contenders = {
        f"{precision}, our step": (our_step, settings),
        f"{precision}, PyTorch's step": (torch_step, settings),
    }
    rates = measure_in_turns(contenders, arguments.rounds)
    mine, theirs = rates.values()
    name = f"{precision}, our step / PyTorch's"
    return rates, Comparison(name, ratios(mine, theirs), BAR_TORCH[precision])


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=count, default=8, help="how often each is measured (8)")
    parser.add_argument("--steps", type=count, default=2, help="steps of a measurement (2)")
    parser.add_argument("--width", type=count, default=64, help="channels of the first stage (64)")
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=tuple(BAR_TORCH),
        help="default: float32, and bfloat16 where the CPU computes it",
    )
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    if not arguments.precision:
        load_tensorflow_quietly()
        from pipeline.training.devices import cpu_computes_bfloat16

        arguments.precision = list(BAR_TORCH) if cpu_computes_bfloat16() else ["float32"]

    rates: dict[str, list[float]] = {}
    comparisons = []
    parts = [compare_loop, compare_step] if has_torch() else [compare_loop]
    for precision in arguments.precision:
        for compare in parts:
            measured, comparison = compare(arguments, precision)
            rates.update(measured)
            comparisons.append(comparison)
    settings = {"batch_size": BATCH_SIZE, "pixels": PIXELS, **vars(arguments)}
    report("training_step", settings, rates, comparisons, load_before)


if __name__ == "__main__":
    main()
