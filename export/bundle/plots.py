"""The charts of an export."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from pipeline.files.whole import write_figure


def plot_files(report: Mapping[str, Any], path: Path) -> None:
    """Draw size, latency and accuracy lost, with its 95 % interval, of each TFLite file."""
    files = report["files"]
    names = list(files)
    figure = Figure(figsize=(10, 0.9 + 0.4 * len(names)), layout="constrained")
    sizes, speeds, drops = figure.subplots(1, 3, sharey=True)
    sizes.barh(names, [file["bytes"] / 1024 for file in files.values()])
    sizes.set_title("size, KiB", fontsize=10)
    speeds.barh(names, [file["latency"][0]["p50_ms"] for file in files.values()])
    speeds.set_title("one image, one thread, ms", fontsize=10)
    for name, file in files.items():
        low, high = file["drop_interval_95_points"]
        points = file["drop_points"]
        drops.errorbar(points, name, xerr=[[points - low], [high - points]], fmt="o", capsize=3)
    drops.axvline(report["max_drop_points"], color="black", linestyle=":")
    drops.set_title("accuracy lost, points (dotted: --max-drop)", fontsize=10)
    for axes in (sizes, speeds, drops):
        axes.grid(axis="x", alpha=0.3)
    sizes.invert_yaxis()
    write_figure(path, figure)
