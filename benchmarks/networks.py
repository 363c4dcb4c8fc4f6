"""The networks side by side: parameters, multiply-adds, and the int8 file's size and latency.

    python -m benchmarks.networks
    python -m benchmarks.networks --image-size 224 --classes 1000

Each network of its paper's width, an image at a time, on one thread of the CPU. The weights are
random and the images noise: size and work are the same whatever the numbers are.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.inference_contenders import PIXEL_DEVIATION, PIXEL_MEAN, images, tflite
from benchmarks.measure import (
    BUSY_LOAD,
    CORES,
    Spread,
    count,
    describe_machine,
    measure_in_turns,
    own_process,
    seconds,
)
from pipeline.config.architectures import (
    ARCHITECTURES,
    Architecture,
    LargeImageArchitecture,
    ResidualArchitecture,
)
from pipeline.config.settings import ModelConfig
from pipeline.console.progress import Progress
from pipeline.console.quiet_start import load_tensorflow_quietly
from pipeline.console.run_command import DONE, run_command
from pipeline.console.tables import plain_table

LARGE_PIXELS = 96
"""Size of images from which the networks with four stages are shown alone."""


@dataclass(frozen=True)
class Cost:
    """What a network costs, on any machine.

    Attributes:
        width: channels of the first stage.
        stem: `cifar`, `imagenet` or `deep`; `auto` where there is none.
        parameters: trainable weights.
        multiply_adds: for one image.
        int8_bytes: size of the int8 .tflite file.
    """

    width: int
    stem: str
    parameters: int
    multiply_adds: int
    int8_bytes: int


def networks_for(image_size: int) -> list[str]:
    """Name the networks that are made for such images.

    Three stages end in maps a quarter as large as the first: 56 x 56 for images of 224 px and a
    large stem, where four end in 7 x 7. The plain networks would flatten even larger ones.
    """
    return [name for name in ARCHITECTURES if _is_made_for(ARCHITECTURES[name], image_size)]


def _is_made_for(network: Architecture, image_size: int) -> bool:
    if isinstance(network, LargeImageArchitecture):
        return image_size >= network.reduction
    return image_size < LARGE_PIXELS or (
        isinstance(network, ResidualArchitecture) and len(network.blocks) == 4
    )


def write_int8(file: Path, name: str, size: int, classes: int) -> Cost:
    """Write a network's int8 file as `python -m export` would after training.

    Raises:
        UserError: the images are too small for the network.
    """
    load_tensorflow_quietly()
    import keras

    from export.quantize.preview import preview_int8
    from export.verify.operations import verify_built_in, verify_integer_only
    from pipeline.models import build_model, resolve_model
    from pipeline.models.cost import count_parameters, multiply_adds

    keras.utils.clear_session()
    model = ModelConfig(model=name)
    network = build_model(
        model,
        input_shape=(size, size, 3),
        classes=classes,
        pixel_mean=[PIXEL_MEAN] * 3,
        pixel_std=[PIXEL_DEVIATION] * 3,
        seed=0,
    )
    parameters, cost = count_parameters(network), sum(multiply_adds(network).values())
    int8 = preview_int8(network, images(size))
    verify_built_in(int8.graph)
    verify_integer_only(int8.graph)
    file.write_bytes(int8.content)
    stem = resolve_model(model, size).stem
    return Cost(model.architecture.width, stem, parameters, cost, int8.size)


def measure(arguments: argparse.Namespace) -> tuple[dict[str, Cost], dict[str, list[float]]]:
    """Return what each network costs, and its latency in ms in each round.

    Raises:
        UserError: the images are too small for a network.
    """
    size, costs = arguments.image_size, {}
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, f"{name}.tflite") for name in arguments.models}
        with Progress(len(files), "converting", "networks") as progress:
            for name, file in files.items():
                # The converter keeps some hundred MiB of each network.
                with own_process() as process:
                    converting = process.submit(write_int8, file, name, size, arguments.classes)
                    costs[name] = converting.result()
                progress.update(1, name)
        contenders = {name: (tflite, (file, size, arguments.seconds, 1)) for name, file in files.items()}
        rates = measure_in_turns(contenders, arguments.rounds)
    return costs, {name: [1000 / rate for rate in values] for name, values in rates.items()}


def print_networks(costs: Mapping[str, Cost], latencies: Mapping[str, Sequence[float]]) -> None:
    """Print one line a network."""
    header = ("network", "width", "parameters", "multiply-adds", "int8 file", "int8 latency, p50")
    rows = []
    for name, cost in costs.items():
        spread = Spread.of(latencies[name])
        rows.append(
            (
                name,
                str(cost.width),
                f"{cost.parameters:,}",
                f"{cost.multiply_adds / 1e6:,.1f} M",
                f"{cost.int8_bytes / 1024:,.0f} KiB",
                f"{spread.median:.3g} ms ({spread.minimum:.3g} - {spread.maximum:.3g})",
            )
        )
    print(plain_table(header, rows))


def as_json(
    arguments: argparse.Namespace,
    costs: Mapping[str, Cost],
    latencies: Mapping[str, Sequence[float]],
    environment: Mapping[str, Any],
) -> str:
    """Return all figures as one line."""
    figures = {
        name: {
            **asdict(cost),
            "int8_latency_ms": {**asdict(Spread.of(latencies[name])), "rounds": latencies[name]},
        }
        for name, cost in costs.items()
    }
    settings = {"batch_size": 1, "threads": 1, **vars(arguments)}
    return json.dumps(
        {
            "benchmark": "networks",
            "settings": settings,
            "networks": figures,
            "environment": environment,
            "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        }
    )


def parse_arguments(given: list[str]) -> argparse.Namespace:
    """Read the command line.

    Raises:
        UserError: there is no such network.
    """
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--image-size", type=count, default=32, help="height and width in pixels (32)")
    parser.add_argument("--classes", type=count, default=10, help="number of logits (10)")
    parser.add_argument("--rounds", type=count, default=8, help="how often each is measured (8)")
    parser.add_argument(
        "--seconds", type=seconds, default=0.5, help="length of one measurement in seconds (0.5)"
    )
    parser.add_argument(
        "--models",
        nargs="+",
        metavar="NAME",
        help=f"default: all; from {LARGE_PIXELS} px on those made for them",
    )
    arguments = parser.parse_args(given)
    arguments.models = arguments.models or networks_for(arguments.image_size)
    for name in arguments.models:
        ModelConfig(model=name)
    return arguments


def main(arguments: list[str]) -> int:
    """Run the benchmark; return the exit code."""
    return run_command(_run, arguments, "interrupted; nothing was kept")


def _run(given: list[str]) -> int:
    load = os.getloadavg()[0]
    arguments = parse_arguments(given)
    costs, latencies = measure(arguments)
    environment = {**describe_machine(), "load_before": load}
    size, classes = arguments.image_size, arguments.classes
    print(
        f"\n{size} x {size} px, {classes:,} classes; latency on one thread: median of "
        f"{arguments.rounds} rounds (least - greatest)"
    )
    print(f"{environment['processor']}, {CORES} cores, load before {load:.2f}\n")
    if load > BUSY_LOAD * CORES:
        print("The machine was busy: measure again.\n")
    print_networks(costs, latencies)
    print(as_json(arguments, costs, latencies, environment))
    return DONE


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
