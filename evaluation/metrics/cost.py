"""What a run's network costs: parameters, multiply-adds by layer, bytes and time."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.metrics.intervals import Estimate
from export.formats import FORMATS
from export.quantize.preview import preview_int8
from pipeline.console.progress import Progress
from pipeline.data.batches import Examples, load_images
from pipeline.finished_run import FinishedRun
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import ROUNDS, time_in_turns

LATENCY, LATENCY_INTERVAL = "int8_latency_p50_ms", "int8_latency_interval_ms"
"""What a comparison calls the cost that is measured, and its interval."""

TIMED_IMAGES = 16
SECONDS = 0.1
"""For each file in each round."""


@dataclass(frozen=True)
class TimedFiles:
    """The files of a run that are timed.

    Attributes:
        files: format -> the file; int8 is always there.
        previewed: whether int8 was not exported, and is a preview.
        images: uint8 [images, height, width, 3], to time them with.
    """

    files: dict[str, TFLiteFile]
    previewed: bool
    images: np.ndarray


def collect_timed_files(run: FinishedRun, deployed: Mapping[str, TFLiteFile]) -> TimedFiles:
    """Put a preview beside the exported files where int8 is not among them.

    Size and time do not depend on the weights. So a file that `python -m export` would make of an
    untrained network stands in for it.

    Args:
        run: the finished run.
        deployed: format -> the exported file.
    """
    train = run.data.examples("train")
    images = load_images(Examples(train.source, train.rows[:TIMED_IMAGES], train.image_size))
    if "int8" in deployed:
        return TimedFiles(dict(deployed), False, images)
    return TimedFiles({**deployed, "int8": preview_int8(run.network, images)}, True, images)


def measure_latencies(files: Sequence[tuple[TFLiteFile, np.ndarray]]) -> list[Estimate]:
    """Time files on one thread of this machine, in turn: median, least and greatest of the rounds.

    Args:
        files: each with its images.

    Returns:
        for each file, in ms.
    """
    with Progress(ROUNDS, "measuring latency", "rounds") as progress:
        rounds = []
        for times in time_in_turns(files, threads=1, seconds=SECONDS):
            rounds.append(times)
            progress.update(1)
    return [Estimate(float(np.median(of)), float(of.min()), float(of.max())) for of in np.array(rounds).T]


def measure_cost(run: FinishedRun, timed: TimedFiles) -> dict[str, Any]:
    """Count what one image costs, and time every file on one thread of this machine.

    Args:
        run: the finished run.
        timed: its files.
    """
    layers = multiply_adds(run.network)
    total = sum(layers.values())
    files = [
        {
            "network": "keras",
            "file": run.directory.model.name,
            "bytes": run.directory.model.stat().st_size,
            "latency_p50_ms": None,
            "latency_interval_ms": None,
            "preview": False,
        }
    ]
    latencies = measure_latencies([(file, timed.images) for file in timed.files.values()])
    for (name, file), latency in zip(timed.files.items(), latencies, strict=True):
        files.append(
            {
                "network": name,
                "file": FORMATS[name].file,
                "bytes": file.size,
                "latency_p50_ms": latency.value,
                "latency_interval_ms": [latency.low, latency.high],
                "preview": timed.previewed and name == "int8",
            }
        )
    return {
        "parameters": count_parameters(run.network),
        "multiply_adds": total,
        "layers": [
            {"layer": name, "multiply_adds": count, "share": count / total} for name, count in layers.items()
        ],
        "threads": 1,
        "files": files,
    }
