"""What a run's network costs: parameters, multiply-adds by layer, bytes and time."""

from collections.abc import Mapping
from typing import Any

from export.formats import FORMATS
from export.quantize.preview import preview_int8
from pipeline.console.progress import Progress
from pipeline.data.batches import Examples, load_images
from pipeline.finished_run import FinishedRun
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import measure_file

TIMED_IMAGES = 16
SECONDS = 0.5


def measure_cost(run: FinishedRun, deployed: Mapping[str, TFLiteFile]) -> dict[str, Any]:
    """Count what one image costs, and time every exported file on one thread of this machine.

    Size and time do not depend on the weights. So where int8 was not exported, a file that
    `python -m export` would make of an untrained network stands in for it, as a preview.

    Args:
        run: the finished run.
        deployed: format -> the exported file.
    """
    train = run.data.examples("train")
    images = load_images(Examples(train.source, train.rows[:TIMED_IMAGES], train.image_size))
    tflite = dict(deployed)
    previewed = "int8" not in tflite
    if previewed:
        tflite["int8"] = preview_int8(run.network, images)
    layers = multiply_adds(run.network)
    total = sum(layers.values())
    files = [
        {
            "network": "keras",
            "file": run.directory.model.name,
            "bytes": run.directory.model.stat().st_size,
            "latency_p50_ms": None,
            "preview": False,
        }
    ]
    with Progress(len(tflite), "measuring latency", "files") as progress:
        for name, file in tflite.items():
            latency = measure_file(file, images, threads=1, seconds=SECONDS)
            files.append(
                {
                    "network": name,
                    "file": FORMATS[name].file,
                    "bytes": file.size,
                    "latency_p50_ms": latency.p50_ms,
                    "preview": previewed and name == "int8",
                }
            )
            progress.update(1, name)
    return {
        "parameters": count_parameters(run.network),
        "multiply_adds": total,
        "layers": [
            {"layer": name, "multiply_adds": count, "share": count / total} for name, count in layers.items()
        ],
        "threads": 1,
        "files": files,
    }
