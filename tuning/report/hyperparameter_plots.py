"""Charts of the hyperparameters of a search, one by one and together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import LineCollection
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator, NullLocator

from tuning.report.plots import ACCURACY, write_across
from tuning.space.search_space import Dimension, Space, Value
from tuning.trials.results import COMPLETED, SEARCH, STOPPED, TrialResult, best_first

MARKERS = {COMPLETED: "o", STOPPED: "v"}
COLUMNS = 4
LETTERS = 30
"""That fit below a panel; names of more are set in two lines by turns."""
ABSENT = -0.16
"""Height of the place for a hyperparameter that does not matter, below the axes' 0 to 1."""


def plot_hyperparameters(space: Space, results: Sequence[TrialResult]) -> Figure:
    """Draw accuracy against each hyperparameter, coloured by the order of the trials.

    Failed trials have no accuracy and are not drawn, nor those in which it does not matter.
    """
    trials = [r for r in results if r.purpose == SEARCH and r.status in MARKERS]
    columns = min(COLUMNS, len(space))
    rows = -(-len(space) // columns)
    figure = Figure(figsize=(1.4 + 2.5 * columns, 1 + 2.2 * rows), layout="constrained")
    figure.suptitle("Accuracy against each hyperparameter", fontsize=11)
    figure.supylabel(ACCURACY, fontsize=10)
    grid = figure.subplots(rows, columns, sharey=True, squeeze=False)
    numbers = [int(result.trial) for result in trials] or [0]
    order = ScalarMappable(Normalize(min(numbers), max(*numbers, min(numbers) + 1)))
    for dimension, axes in zip(space, grid.flat, strict=False):
        _scale(axes, dimension)
        for status in MARKERS:
            drawn = [r for r in trials if r.status == status and dimension.name in r.values]
            _draw_trials(axes, dimension, drawn, order)
    for axes in grid.flat[len(space) :]:
        axes.axis("off")
    bar = figure.colorbar(order, ax=grid, label="trial", aspect=40)
    bar.ax.yaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    looks: dict[str, Any] = {"color": "black", "linestyle": ""}
    handles = [Line2D([], [], marker=marker, label=s, **looks) for s, marker in MARKERS.items()]
    figure.legend(handles=handles, loc="outside lower center", ncols=2, fontsize=8)
    if not trials:
        grid.flat[0].set_ylim(0, 100)
        write_across(figure, "no trial with an accuracy")
    return figure


def _draw_trials(
    axes: Axes, dimension: Dimension, trials: Sequence[TrialResult], order: ScalarMappable
) -> None:
    for result in trials:
        axes.plot(
            _place(dimension, result),
            result.percent,
            MARKERS[result.status],
            color=order.to_rgba(int(result.trial)),  # type: ignore[arg-type]  # takes a number, too
            markersize=4.5,
            alpha=0.85,
        )


def _scale(axes: Axes, dimension: Dimension) -> None:
    """Name the axis, and lay out its values as far as they are searched."""
    axes.set_title(dimension.name, fontsize=9)
    axes.set_xlabel(dimension.meaning, fontsize=7)
    axes.tick_params(labelsize=7)
    axes.grid(alpha=0.3)
    if dimension.choices:
        names = [str(choice) for choice in dimension.choices]
        if len("  ".join(names)) > LETTERS:
            names[1::2] = [f"\n{name}" for name in names[1::2]]
        axes.set_xticks(range(len(names)), names)
        axes.set_xlim(-0.5, len(dimension.choices) - 0.5)
        return
    if dimension.log:
        axes.set_xscale("log")
        margin = (dimension.high / dimension.low) ** 0.06
        axes.set_xlim(dimension.low / margin, dimension.high * margin)
    else:
        margin = 0.06 * (dimension.high - dimension.low)
        axes.set_xlim(dimension.low - margin, dimension.high + margin)
    axes.xaxis.set_minor_locator(NullLocator())
    values = _marks(dimension)
    axes.set_xticks(values, [_short(value) for value in values])


def _place(dimension: Dimension, result: TrialResult) -> float:
    value = result.values[dimension.name]
    if dimension.choices:
        return dimension.choices.index(value) + 0.5 * _scatter(result)
    assert not isinstance(value, str)
    return value


def _scatter(result: TrialResult) -> float:
    """Return an offset in [-0.5, 0.5) that sets trials of the same choice apart."""
    # Multiples of the golden ratio lie evenly, whichever of them are taken.
    return int(result.trial) * 0.618034 % 1 - 0.5


def _marks(dimension: Dimension) -> list[Value]:
    """List the values that an axis names: every choice, or both ends and the middle."""
    return list(dimension.choices) or [dimension.value_at(place) for place in (0, 0.5, 1)]


def _short(value: Value) -> str:
    return f"{value:.2g}" if isinstance(value, float) else str(value)


def plot_parallel(space: Space, results: Sequence[TrialResult]) -> Figure:
    """Draw each completed search trial as a line through its hyperparameters to its accuracy.

    Parallel coordinates (Inselberg 1985, "The plane with parallel coordinates"). Lines are
    coloured by accuracy, the best on top; where a hyperparameter does not matter they pass below.
    """
    trials = best_first([result for result in results if result.purpose == SEARCH])[::-1]
    width = len(space)
    figure = Figure(figsize=(max(2.2 + 1.15 * width, 5.5), 5), layout="constrained")
    figure.suptitle("Hyperparameters of the completed trials, the best on top", fontsize=11)
    axes = figure.subplots()
    shares = 100 * np.array([result.accuracy for result in trials])
    low, high = (shares.min(), shares.max()) if len(trials) else (0, 100)
    if low == high:
        low, high = low - 1, high + 1
    points = [
        [*enumerate(_height(d, result) for d in space), (width, (share - low) / (high - low))]
        for result, share in zip(trials, shares, strict=True)
    ]
    widths = [0.9] * len(trials)
    widths[-1:] = [2.6] * len(widths[-1:])
    lines = LineCollection(points, array=shares, linewidths=widths, alpha=0.8, cmap="viridis_r")
    lines.set_clim(low, high)
    axes.add_collection(lines)
    for column, dimension in enumerate(space):
        _draw_axis(axes, column, dimension)
    axes.set_xlim(-0.15, width)
    axes.set_ylim(ABSENT - 0.06, 1.03)
    axes.set_xticks(range(width), [d.name.replace("_", "\n") for d in space], fontsize=9)
    axes.xaxis.tick_top()
    axes.tick_params(length=0)
    axes.set_yticks([])
    axes.set_frame_on(False)
    # Beside the last column and at its height, so that lines end at their accuracy.
    place = axes.inset_axes((width, 0, 0.12, 1), transform=axes.transData)
    figure.colorbar(lines, cax=place, label=ACCURACY)
    if not trials:
        write_across(figure, "no completed trial")
    return figure


def _height(dimension: Dimension, result: TrialResult) -> float:
    if dimension.name not in result.values:
        return ABSENT
    height = dimension.position_of(result.values[dimension.name])
    if dimension.choices:
        height += 0.5 * _scatter(result) / len(dimension.choices)
    return height


def _draw_axis(axes: Axes, column: int, dimension: Dimension) -> None:
    axes.plot([column, column], [0, 1], color="black", linewidth=1)
    marks = {_short(value): dimension.position_of(value) for value in _marks(dimension)}
    if dimension.when:
        marks["not used"] = ABSENT
    for text, height in marks.items():
        axes.text(
            column + 0.04,
            height,
            text,
            fontsize=8,
            va="center",
            zorder=4,
            bbox={"facecolor": "white", "alpha": 0.75, "edgecolor": "none", "pad": 1},
        )
