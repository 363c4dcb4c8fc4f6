"""Reports of runs as far as a comparison reads them."""

import numpy as np

from evaluation.comparison import build_comparison
from evaluation.metrics.intervals import Estimate
from pipeline.environment import describe_environment

ENVIRONMENT = describe_environment()
NAMES = ["ant", "bee", "cat"]
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1])


def estimate(value: float) -> dict:
    return {"value": value, "interval_95": [value - 0.01, value + 0.02]}


def report(accuracy: float, work: int = 10, size: int = 20, time: float = 1.0, **changes: object) -> dict:
    """As far as a comparison reads it."""
    file = {"network": "int8", "bytes": size, "latency_p50_ms": time, "preview": False}
    return {
        "class_names": NAMES,
        "images": {"test": 8},
        "run": {
            "data": "digits",
            "model": "resnet18",
            "width": 8,
            "epochs": 3,
            "seed": 0,
            **{name: changes[name] for name in changes if name in ("width", "seed")},
        },
        "networks": {
            "keras": {
                "accuracy": {"top1": estimate(accuracy)},
                "calibration": {
                    "before": {"ece_equal_width": estimate(0.2)},
                    "after": {"ece_equal_width": estimate(0.1)},
                },
                "robustness": changes.get("robustness"),
            }
        },
        "cost": {
            "parameters": 100,
            "multiply_adds": work,
            "files": [
                {"network": "keras", "bytes": 1, "latency_p50_ms": None, "preview": False},
                {**file, "preview": changes.get("preview", False)},
            ],
        },
        "new_images": None,
        "environment": ENVIRONMENT,
    }


def build(**reports: dict) -> dict:
    """Compare runs of which only the figures matter."""
    same = (LABELS, LABELS)
    return build_comparison(reports, dict.fromkeys(reports, same), latencies_of(reports))


def latencies_of(reports: dict[str, dict]) -> dict[str, Estimate]:
    """Each as its report has it, to a hundredth."""
    times = {run: of["cost"]["files"][1]["latency_p50_ms"] for run, of in reports.items()}
    return {run: Estimate(time, 0.99 * time, 1.01 * time) for run, time in times.items()}
