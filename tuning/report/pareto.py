"""The chart of accuracy against what the network costs on a device, with the Pareto front."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pipeline.pareto import pareto_front
from tuning.report.plots import ACCURACY, write_across
from tuning.trials.results import COMPLETED, SEARCH, TrialResult

if TYPE_CHECKING:  # Charts can be drawn without TensorFlow, which measuring costs takes.
    from tuning.cost import Cost


def plot_pareto(results: Sequence[TrialResult], costs: Mapping[str, Cost]) -> Figure:
    """Draw accuracy against size and latency of the completed search trials, with both fronts.

    Args:
        results: of search and confirmation.
        costs: trial -> what its network costs; one without is not drawn.
    """
    trials = [
        result
        for result in results
        if result.purpose == SEARCH and result.status == COMPLETED and result.trial in costs
    ]
    names = [result.trial for result in trials]
    gains = [result.percent for result in trials]
    sizes = [costs[name].int8_bytes / 1024 for name in names]
    latencies = [costs[name].latency_ms for name in names]
    figure = Figure(figsize=(10, 4.2), layout="constrained")
    figure.suptitle("Accuracy against cost: up and to the left is better", fontsize=11)
    left, right = figure.subplots(1, 2, sharey=True)
    _draw_front(left, names, list(zip(sizes, gains, strict=True)))
    _draw_front(right, names, list(zip(latencies, gains, strict=True)))
    left.set_xlabel("size as int8, KiB")
    right.set_xlabel("latency of one image, ms")
    left.set_ylabel(ACCURACY)
    if not trials:
        left.set(xlim=(0, 1000), ylim=(0, 100))
        right.set_xlim(0, 10)
        write_across(figure, "no completed trial")
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=2)
    return figure


def _draw_front(axes: Axes, names: Sequence[str], points: Sequence[tuple[float, float]]) -> None:
    axes.grid(alpha=0.3)
    axes.margins(0.1)
    costs, gains = zip(*points, strict=True) if points else ((), ())
    axes.scatter(costs, gains, s=20, color="tab:blue", alpha=0.6, label="completed trial")
    front = [(*points[index], names[index]) for index in pareto_front(points)]
    if not front:
        return
    # Whoever can afford more than the dearest of the front does not gain by it.
    corners = [*front, (max(costs), front[-1][1], "")]
    axes.step(
        [corner[0] for corner in corners],
        [corner[1] for corner in corners],
        where="post",
        color="tab:orange",
        label="Pareto front, named by trial",
    )
    axes.plot(*zip(*(place[:2] for place in front), strict=True), "o", color="tab:orange")
    _name(axes, front)


def _name(axes: Axes, front: Sequence[tuple[float, float, str]]) -> None:
    """Write names beside the points of a front, the best first, as far as there is room."""
    # A name takes 0.07 of a panel's width and 0.04 of its height.
    spans = np.ptp(axes.get_xlim()), np.ptp(axes.get_ylim())
    written: list[np.ndarray] = []
    for cost, gain, name in reversed(front):
        place = np.divide((cost, gain), spans)
        if all((abs(place - other) > (0.08, 0.05)).any() for other in written):
            written.append(place)
            axes.annotate(name, (cost, gain), (-4, 5), textcoords="offset points", fontsize=8, ha="right")
