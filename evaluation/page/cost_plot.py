"""The chart of a comparison: accuracy of several runs against what they cost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from evaluation.metrics.cost import LATENCY, LATENCY_INTERVAL
from evaluation.page.plots import INK, SERIES, chart, percent_ticks, shorten


def plot_cost(runs: Sequence[Mapping[str, Any]], cost: str, label: str, unit: float) -> Figure:
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
    with chart(3.4) as figure:
        axes = figure.subplots()
        reach = [values - bounds[:, 0], bounds[:, 1] - values]
        # For more than a run costs one has at least its accuracy, and no more until the next.
        axes.plot(
            *zip(*front, strict=True),
            color=SERIES[1],
            linewidth=1.5,
            label="not beaten",
            drawstyle="steps-post",
        )
        axes.errorbar(
            costs,
            values,
            yerr=reach,
            xerr=_reach_of_time(runs, costs) if cost == LATENCY else None,
            fmt="o",
            color=SERIES[0],
            markersize=5,
        )
        for row, at, value in zip(runs, costs, values, strict=True):
            dear = at > np.sqrt(costs.min() * costs.max())
            axes.annotate(
                shorten(row["run"]),
                (at, value),
                xytext=(-5 if dear else 5, 5),
                fontsize=9,
                textcoords="offset points",
                color=INK,
                ha="right" if dear else "left",
            )
        axes.set_xscale("log")
        wide = costs.max() > 10 * costs.min()
        axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if wide else (1, 1.5, 2, 3, 5, 7)))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda cost, _: f"{cost:g}"))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlabel(label)
        axes.set_ylabel("accuracy")
        axes.margins(x=0.15, y=0.15)
        axes.yaxis.set_major_formatter(percent_ticks())
        axes.grid()
        axes.legend(loc="lower right")
        return figure


def _reach_of_time(runs: Sequence[Mapping[str, Any]], times: np.ndarray) -> np.ndarray:
    """How far the interval of each time goes down and up."""
    bounds = np.array([row[LATENCY_INTERVAL] for row in runs])
    return np.stack([times - bounds[:, 0], bounds[:, 1] - times])
