"""Charts of a search: its progress, what mattered, and the confirmation."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tuning.trials.results import COMPLETED, FAILED, SEARCH, STOPPED, TrialResult

ACCURACY = "validation accuracy, %"


def write_across(figure: Figure, text: str) -> None:
    """Say in the middle of a chart why there is nothing in it."""
    box = {"facecolor": "white", "edgecolor": "tab:gray", "pad": 6}
    figure.text(0.5, 0.5, text, ha="center", va="center", fontsize=11, bbox=box)


def plot_progress(results: Sequence[TrialResult]) -> Figure:
    """Draw the accuracy of each search trial, the best so far, and the epochs they took."""
    trials = sorted((r for r in results if r.purpose == SEARCH), key=lambda result: result.trial)
    figure = Figure(figsize=(8, 5), layout="constrained")
    figure.suptitle("Progress of the search", fontsize=11)
    scores, effort = figure.subplots(2, sharex=True, height_ratios=(3, 1))
    _draw_scores(scores, trials)
    numbers = [int(result.trial) for result in trials]
    effort.bar(numbers, [result.epochs for result in trials], color="tab:gray", alpha=0.5)
    effort.set_ylabel("epochs\nof the trial")
    effort.set_xlabel("trial")
    effort.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    effort.set_xlim(min(numbers, default=0) - 0.7, max(numbers, default=0) + 0.7)
    total = effort.twinx()
    spent = np.cumsum([result.epochs for result in trials])
    total.plot(numbers, spent, color="tab:green", marker=".", label="epochs of all so far")
    total.set_ylabel("epochs\nof all so far", color="tab:green")
    for axes in (effort, total):
        axes.set_ylim(bottom=0)
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
    figure.legend(*scores.get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def _draw_scores(axes: Axes, trials: Sequence[TrialResult]) -> None:
    looks: dict[str, dict[str, Any]] = {
        COMPLETED: {"marker": "o", "color": "tab:blue"},
        STOPPED: {"marker": "v", "facecolors": "none", "edgecolors": "tab:gray"},
        FAILED: {"marker": "x", "color": "tab:red"},
    }
    for status, look in looks.items():
        numbers = [int(result.trial) for result in trials if result.status == status]
        if not numbers:
            continue
        if status == FAILED:
            # They have no accuracy: a row along the bottom edge.
            heights, transform = [0.03] * len(numbers), axes.get_xaxis_transform()
        else:
            heights = [result.percent for result in trials if result.status == status]
            transform = axes.transData
        axes.scatter(numbers, heights, transform=transform, s=28, label=status, zorder=3, **look)
    completed = [result for result in trials if result.status == COMPLETED]
    if completed:
        best = np.maximum.accumulate([result.percent for result in completed])
        numbers = [int(result.trial) for result in completed]
        # The best stays the best up to the last trial.
        axes.step(
            [*numbers, int(trials[-1].trial)],
            [*best, best[-1]],
            where="post",
            color="tab:orange",
            label="best completed so far",
        )
    if all(result.status == FAILED for result in trials):
        axes.set_ylim(0, 100)
    axes.margins(y=0.12)
    axes.set_ylabel(ACCURACY)
    axes.grid(alpha=0.3)


def plot_curves(results: Sequence[TrialResult]) -> Figure:
    """Draw the learning curve of each search trial, and where it was cut."""
    trials = [r for r in results if r.purpose == SEARCH and r.accuracies]
    figure = Figure(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title("Learning curves of the search", fontsize=11)
    completed = [result for result in trials if result.status == COMPLETED]
    best = max(completed, key=lambda result: max(result.accuracies), default=None)
    for result in trials:
        epochs, points = range(1, len(result.accuracies) + 1), 100 * np.array(result.accuracies)
        whole = result.status == COMPLETED
        color = "tab:orange" if result is best else "tab:blue" if whole else "tab:gray"
        width, alpha = (2, 1) if result is best else (1, 0.5)
        axes.plot(epochs, points, color=color, alpha=alpha, linewidth=width)
        # A curve of one epoch is a point.
        axes.plot(epochs[-1], points[-1], "o" if whole else "v", color=color, markersize=4)
    for color, marker, label in (
        ("tab:blue", "o", "completed"),
        ("tab:gray", "v", "cut or frozen"),
        ("tab:orange", "o", "best"),
    ):
        axes.plot([], [], color=color, marker=marker, markersize=4, label=label)
    if not trials:
        axes.set(xlim=(0, 1), ylim=(0, 100))
        write_across(figure, "no trial has ended an epoch")
    axes.set_xlabel("epoch")
    axes.set_ylabel(ACCURACY)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.grid(alpha=0.3)
    figure.legend(loc="outside lower center", ncols=3)
    return figure


def plot_importance(shares: Mapping[str, float]) -> Figure:
    """Draw the share of each hyperparameter, greatest on top.

    Args:
        shares: name -> share in [0, 1]; empty where nothing can be said.
    """
    figure = Figure(figsize=(7, 1.3 + 0.27 * max(len(shares), 3)), layout="constrained")
    axes = figure.subplots()
    axes.set_title("How much each hyperparameter explains of the scores", fontsize=11)
    if not shares:
        axes.axis("off")
        write_across(figure, "too few trials, or too little difference between them, to tell")
    else:
        names = sorted(shares, key=lambda name: shares[name])
        bars = axes.barh(names, [100 * shares[name] for name in names])
        axes.bar_label(bars, fmt="%.0f %%", padding=3, fontsize=8)
        axes.set_xlabel("share, % (permutation importance in a random forest)")
        axes.set_xlim(0, 110 * max(shares.values()))
        axes.grid(axis="x", alpha=0.3)
    return figure


def plot_confirmation(accuracies: Mapping[str, Sequence[float]], reference: str) -> Figure:
    """Draw mean ± standard deviation over seeds of each configuration, and the single runs.

    Args:
        accuracies: configuration -> validation accuracy of each seed, in [0, 1]; drawn from top
            to bottom.
        reference: which configuration the others are compared with.
    """
    figure = Figure(figsize=(8, 1.7 + 0.55 * max(len(accuracies), 1)), layout="constrained")
    axes = figure.subplots()
    for row, (name, shares) in enumerate(accuracies.items()):
        if not shares:
            continue
        points, color = 100 * np.array(shares), "tab:gray" if name == reference else "tab:blue"
        mean = points.mean()
        # A single run has no standard deviation.
        deviation = points.std(ddof=1) if len(points) > 1 else None
        axes.errorbar(mean, row - 0.1, xerr=deviation, fmt="D", color=color, capsize=4, markersize=6)
        axes.plot(points, [row + 0.2] * len(points), "o", color=color, alpha=0.5, markersize=4)
        if name == reference:
            axes.axvline(mean, zorder=0, color="tab:gray", linestyle=":", label=f"mean of {name}")
    if not any(accuracies.values()):
        write_across(figure, "no finished run")
        axes.set_xlim(0, 100)
    labels = [f"{name}\n{_seeds(len(shares))}" for name, shares in accuracies.items()]
    axes.set_yticks(range(len(labels)), labels, fontsize=8)
    axes.set_ylim(max(len(labels), 1) - 0.5, -0.5)
    axes.set_xlabel(ACCURACY)
    axes.set_title("Trained again with other seeds", fontsize=11)
    axes.grid(axis="x", alpha=0.3)
    axes.errorbar([], [], xerr=[], fmt="D", color="black", capsize=4, label="mean ± std. deviation")
    axes.plot([], [], "o", color="black", alpha=0.5, markersize=4, label="one seed")
    figure.legend(loc="outside lower center", ncols=3, fontsize=8)
    return figure


def _seeds(count: int) -> str:
    return "1 seed" if count == 1 else f"{count} seeds"
