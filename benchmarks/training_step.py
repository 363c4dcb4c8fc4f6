"""What train.py's loop adds to its training step, and how near the step is to the machine's limit.

    python -m benchmarks.training_step --models resnet18 resnet20 resnet8

Networks on CIFAR-10's shape in batches of 128, with the cifar10 preset, on the CPU. First the whole
loop, with its input, callbacks, logging and checkpoints, against the same step on one batch that
stays in memory; then that step against a product of large matrices of the same precision, and
against the same network in PyTorch, eager or compiled (`--peers`; compiling takes minutes).

The product's images a second are those of a step that would be nothing but such products: its
operations a second, divided by the operations of one image in a training step, which are three
times two times the multiply-adds of the forward pass. So our step / product is the share of the
machine's peak that the step reaches.
"""

import argparse
import itertools
import math
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
from pipeline.config.architectures import ARCHITECTURES
from pipeline.config.config import Config
from pipeline.console.quiet_start import load_tensorflow_quietly

BATCH_SIZE, CLASSES, PIXELS = 128, 10, 32
MOST_LOST_PERCENT = 3.0
PEERS = ("eager", "compiled")
BAR_TORCH = {"float32": 1.2, "bfloat16": 1.0}
BAR_PEAK = {"resnet18": 0.8, "resnet20": 0.65, "resnet8": 0.6}
"""Network -> the share of the peak that its step is known to reach, at its own width."""


def loop_seconds(
    model: str, width: int, precision: str, rounds: int, steps: int
) -> tuple[dict[str, list[float]], float]:
    """In a process of its own: see `benchmarks.training_loop.measure_loop`."""
    load_tensorflow_quietly()
    from benchmarks.training_loop import measure_loop

    return measure_loop(model, width, precision, rounds, steps)


def our_step(model: str, width: int, precision: str, steps: int) -> Measure:
    """Build the compiled step on a batch in memory."""
    load_tensorflow_quietly()
    from benchmarks.training_loop import first_batch, in_memory, training_run

    with training_run(model, width, precision, steps) as run:
        run.model.make_train_function()
        batches = in_memory(first_batch(run))
    return _measure_steps(lambda: run.model.train_function(batches), steps)


def matrix_product(model: str, width: int, precision: str, steps: int) -> Measure:
    """Build products of large matrices, as much arithmetic as `steps` steps or a little more."""
    load_tensorflow_quietly()
    from benchmarks.training_loop import PRODUCT_OPERATIONS, build_product, step_operations

    operations = step_operations(model, width)
    product = build_product(precision)
    repeats = math.ceil(steps * BATCH_SIZE * operations / PRODUCT_OPERATIONS)

    def measure() -> float:
        start = time.perf_counter()
        for _ in range(repeats):
            product()
        return repeats * PRODUCT_OPERATIONS / operations / (time.perf_counter() - start)

    product()
    return measure


def torch_step(model: str, width: int, precision: str, steps: int, compiled: bool) -> Measure:
    """Build PyTorch's step on a batch in memory."""
    import torch

    from benchmarks.torch_resnet import build_torch_resnet, build_torch_step

    torch.set_num_threads(CORES)
    torch.manual_seed(0)
    network = build_torch_resnet(model, width, CLASSES)
    train = build_torch_step(network, bfloat16=precision == "bfloat16", compiled=compiled)
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


def compare_loop(
    model: str, width: int, precision: str, arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], list[Comparison]]:
    """Measure the loop's cost, a share of the checkpoints' included."""
    label = f"{model} {precision}"
    print(f"{label}: the loop of train.py", flush=True)
    with own_process() as process:
        seconds, save = process.submit(
            loop_seconds, model, width, precision, arguments.rounds, arguments.steps
        ).result()
    every = Config().run.checkpoint_seconds
    images = arguments.steps * BATCH_SIZE
    # The blocks hold no checkpoint; a run saves one every so many seconds.
    seconds["loop"] = [block * (1 + save / every) for block in seconds["loop"]]
    rates = {
        f"{label}, {name}": [images / block for block in blocks]
        for name, blocks in (("loop", seconds["loop"]), ("batch in memory", seconds["memory"]))
    }
    loop, memory = rates.values()
    lost = [100 * (1 - ratio) for ratio in ratios(loop, memory)]
    print(f"{label}: a checkpoint takes {save:.2f} s, every {every:.0f} s", flush=True)
    name = f"{label}, time lost to the loop"
    return rates, [Comparison(name, lost, MOST_LOST_PERCENT, unit="%", upper=True)]


def compare_step(
    model: str, width: int, precision: str, arguments: argparse.Namespace
) -> tuple[dict[str, list[float]], list[Comparison]]:
    """Measure the step beside a product of large matrices and beside PyTorch's steps."""
    label = f"{model} {precision}"
    print(f"{label}: the step beside a matrix product and PyTorch's", flush=True)
    settings = (model, width, precision, arguments.steps)
    contenders: dict[str, tuple[Callable[..., Measure], tuple[Any, ...]]] = {
        "our step": (our_step, settings),
        "matrix product": (matrix_product, settings),
    }
    for peer in arguments.peers:
        contenders[f"PyTorch {peer}"] = torch_step, (*settings, peer == "compiled")
    rates = measure_in_turns(contenders, arguments.rounds)
    bars = {"matrix product": BAR_PEAK[model], **{f"PyTorch {peer}": BAR_TORCH[precision] for peer in PEERS}}
    comparisons = [
        Comparison(f"{label}, our step / {name}", ratios(rates["our step"], rates[name]), bars[name])
        for name in rates
        if name != "our step"
    ]
    return {f"{label}, {name}": values for name, values in rates.items()}, comparisons


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=count, default=8, help="how often each is measured (8)")
    parser.add_argument("--steps", type=count, default=2, help="steps of a measurement (2)")
    parser.add_argument(
        "--models", nargs="+", choices=tuple(BAR_PEAK), default=["resnet18"], help="networks (resnet18)"
    )
    parser.add_argument(
        "--width", type=count, help="channels of the first stage (as in each network's paper)"
    )
    parser.add_argument(
        "--precision",
        nargs="+",
        choices=tuple(BAR_TORCH),
        help="default: float32, and bfloat16 where the CPU computes it",
    )
    parser.add_argument(
        "--peers", nargs="*", choices=PEERS, default=["eager"], help="PyTorch's steps (eager)"
    )
    arguments = parser.parse_args()
    load_before = os.getloadavg()[0]
    if not arguments.precision:
        load_tensorflow_quietly()
        from pipeline.training.devices import cpu_computes_bfloat16

        arguments.precision = list(BAR_TORCH) if cpu_computes_bfloat16() else ["float32"]
    if arguments.peers and not has_torch():
        arguments.peers = []

    rates: dict[str, list[float]] = {}
    comparisons = []
    for model, precision in itertools.product(arguments.models, arguments.precision):
        width = arguments.width or ARCHITECTURES[model].width
        for compare in (compare_loop, compare_step):
            measured, compared = compare(model, width, precision, arguments)
            rates.update(measured)
            comparisons += compared
    settings = {"batch_size": BATCH_SIZE, "pixels": PIXELS, **vars(arguments)}
    report("training_step", settings, rates, comparisons, load_before)


if __name__ == "__main__":
    main()
