"""The chart of a comparison: accuracy of several runs against what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from evaluation.plots import INK, SERIES, _chart, _short, to_svg


def plot_cost(runs: Sequence[Mapping[str, Any]], cost: str, label: str, unit: float) -> str:
    """Draw accuracy with its 95 % interval against a cost, and the runs that no other beats.

    Args:
        runs: rows of comparison.json.
        cost: which of their costs.
        label: of the axis.
        unit: how many of the cost make one of the axis.
    """
    costs = np.array([row[cost] for row in runs]) / unit
    values = np.array([row["accuracy"]["value"] for row in runs])
    bounds = np.array([row["accuracy"]["interval_95"] for row in runs])
    front = sorted((costs[at], values[at]) for at, row in enumerate(runs) if row["on_front"][cost])
    with _chart(3.4) as figure:
        axes = figure.subplots()
        reach = [values - bounds[:, 0], bounds[:, 1] - values]
        axes.plot(*zip(*front, strict=True), color=SERIES[1], linewidth=1.5, label="not beaten")
        axes.errorbar(costs, values, yerr=reach, fmt="o", color=SERIES[0], markersize=5)
        for row, at, value in zip(runs, costs, values, strict=True):
            axes.annotate(
                _short(row["run"]), (at, value), xytext=(5, 5), textcoords="offset points",
                color=INK, fontsize=9,
            )  # fmt: skip
        axes.set_xscale("log")
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
        axes.margins(x=0.2)
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        axes.grid()
        axes.legend(loc="lower right")
        return to_svg(figure, cost, f"Accuracy against {label}")
