"""The charts of the report: matplotlib figures as SVG that takes the page's font and colours.

Every chart is 360 points wide, so that on a phone one of its points is about one pixel.
"""

import html
import io
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, PercentFormatter

WIDTH_INCHES = 5
LONGEST_NAME = 24

# matplotlib knows no CSS: colours that no chart would use stand for those of style.css.
INK = "#010203"
SERIES = ("#010204", "#010205", "#010206", "#010207", "#010208", "#010209")
_CSS_COLOURS = {
    INK: "currentColor",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES, start=1)},
}
_MARKERS = "os^DvP"
_LINES = ("-", "--", "-.", ":", "--", "-.")

_STYLE: dict[Any, Any] = {
    "axes.axisbelow": True,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.labelsize": 10,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "grid.alpha": 0.2,
    "grid.color": INK,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,  # a class may be called $100_bill$
    "xtick.color": INK,
    "ytick.color": INK,
}


@contextmanager
def chart(height_inches: float) -> Iterator[Figure]:
    """Begin a figure in the style that all charts share."""
    with rc_context(_STYLE):
        yield Figure(figsize=(WIDTH_INCHES, height_inches))


def to_svg(figure: Figure, name: str, alt: str) -> str:
    """Draw a figure as an `<svg>` element that can stand in a page beside others.

    Args:
        figure: its colours are `INK` and those of `SERIES`.
        name: distinct in the page; every id in the drawing begins with it.
        alt: what the chart shows, for those who do not see it.
    """
    drawing = io.StringIO()
    nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    with rc_context(_STYLE | {"svg.hashsalt": name}), warnings.catch_warnings():
        # matplotlib's font measures the letters of a name, the reader's draws them.
        warnings.filterwarnings("ignore", r"Glyph \d+ .* missing from", UserWarning)
        figure.savefig(drawing, format="svg", transparent=True, metadata=nothing)
    svg = drawing.getvalue()
    svg = svg[svg.index("<svg") :]
    for sentinel, colour in _CSS_COLOURS.items():
        svg = svg.replace(sentinel, colour)
    svg = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    label = html.escape(alt)
    # Without width and height it is as wide as its place.
    return re.sub(
        r' width="[^"]*" height="[^"]*"', lambda _: f' role="img" aria-label="{label}"', svg, count=1
    )


def shorten(name: str) -> str:
    """Cut a name that would not fit beside a chart."""
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1]}…"


def percent_ticks() -> PercentFormatter:
    """Write the shares of an axis as percent."""
    return PercentFormatter(1, decimals=0, symbol="\N{NO-BREAK SPACE}%")


def _label_rows(axes: Axes, names: Sequence[str]) -> None:
    """Put one name a row, the first on top."""
    axes.set_yticks(range(len(names)), [shorten(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _legend_above(axes: Axes) -> None:
    axes.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=4, borderpad=0, handletextpad=0.3)


def plot_class_recall(networks: Mapping[str, Sequence[Mapping[str, Any]]]) -> Figure:
    """Draw the recall of each class with its 95 % interval, network beside network.

    Args:
        networks: name -> classes, `{"class": ..., "recall": estimate or None}`, in the same order.
    """
    names = [row["class"] for row in next(iter(networks.values()))]
    with chart(0.8 + 0.27 * len(names)) as figure:
        axes = figure.subplots()
        # Side by side within a row's height of 1.
        offsets = 0.22 * (np.arange(len(networks)) - (len(networks) - 1) / 2)
        for place, (network, rows) in enumerate(networks.items()):
            known = [(at, row["recall"]) for at, row in enumerate(rows) if row["recall"]]
            values = np.array([recall["value"] for _, recall in known])
            bounds = np.array([recall["interval_95"] for _, recall in known]).reshape(-1, 2)
            # A bootstrap's interval need not hold its estimate; an error bar must.
            reach = np.maximum([values - bounds[:, 0], bounds[:, 1] - values], 0)
            axes.errorbar(
                values,
                [at + offsets[place] for at, _ in known],
                xerr=reach,
                label=network,
                color=SERIES[place],
                fmt=_MARKERS[place],
                markersize=4.5,
                elinewidth=1.5,
            )
        _label_rows(axes, names)
        axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.xaxis.set_major_formatter(percent_ticks())
        axes.set_xlabel("recall, with its 95 % interval")
        _legend_above(axes)
        return figure


def plot_reliability(bins: Sequence[Mapping[str, Any]], title: str) -> Figure:
    """Draw accuracy against confidence over the images of each bin.

    A reliability diagram (Guo et al. 2017, figure 1) above the number of images in each bin.

    Args:
        bins: `{"low", "high", "images", "confidence", "accuracy"}`, shares in [0, 1].
        title: above it.
    """
    filled = [each for each in bins if each["images"]]
    edges = [each["low"] for each in filled]
    widths = [each["high"] - each["low"] for each in filled]
    confidence = [each["confidence"] for each in filled]
    accuracy = [each["accuracy"] for each in filled]
    with chart(4.6) as figure:
        top, bottom = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
        top.plot([0, 1], [0, 1], color=INK, linestyle=":", label="calibrated")
        top.bar(edges, accuracy, widths, align="edge", color=SERIES[0], alpha=0.3)
        top.vlines(confidence, confidence, accuracy, color=SERIES[1], linewidth=1.5, label="gap")
        top.plot(confidence, accuracy, "o", color=SERIES[0], markersize=4.5, label="accuracy")
        top.set_ylim(0, 1.02)
        top.set_ylabel("accuracy")
        top.yaxis.set_major_formatter(percent_ticks())
        top.legend(loc="upper left")
        top.set_title(title)
        images = [each["images"] for each in filled]
        # Nearly all lie in the last bins; only a logarithm shows how few the others rest on.
        bottom.bar(edges, images, widths, align="edge", color=SERIES[0], alpha=0.6, log=True)
        bottom.set_ylim(bottom=0.7)
        bottom.yaxis.set_major_locator(LogLocator(numticks=6))
        bottom.yaxis.set_major_formatter(FuncFormatter(lambda count, _: f"{count:,.0f}"))
        bottom.yaxis.minorticks_off()
        bottom.set_ylabel("images")
        bottom.set_xlabel("confidence")
        bottom.set_xlim(0, 1)
        bottom.xaxis.set_major_formatter(percent_ticks())
        for axes in (top, bottom):
            axes.grid(axis="y")
        return figure


def plot_severity(networks: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Draw the mean accuracy over all corruptions against their severity; 0 is the clean image.

    Args:
        networks: name -> `{"clean": estimate, "by_severity": five shares}`.
    """
    with chart(3) as figure:
        axes = figure.subplots()
        for place, (network, robustness) in enumerate(networks.items()):
            shares = [robustness["clean"]["value"], *robustness["by_severity"]]
            axes.plot(
                shares,
                label=network,
                color=SERIES[place],
                marker=_MARKERS[place],
                markersize=5,
                # So that of two lines that are nearly one both are seen.
                linestyle=_LINES[place],
            )
        axes.set_xticks(range(6), ["clean", "1", "2", "3", "4", "5"])
        axes.set_xlabel("severity")
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("accuracy")
        axes.yaxis.set_major_formatter(percent_ticks())
        axes.grid(axis="y")
        _legend_above(axes)
        return figure


def plot_layers(layers: Sequence[Mapping[str, Any]]) -> Figure:
    """Draw the multiply-adds of each layer, for one image.

    Args:
        layers: `{"layer": name, "multiply_adds": count}`, from the pixels to the logits.
    """
    counts = [each["multiply_adds"] for each in layers]
    unit, word = (1e6, "million") if max(counts) >= 1e6 else (1e3, "thousand")
    with chart(0.7 + 0.22 * len(layers)) as figure:
        axes = figure.subplots()
        axes.barh(range(len(counts)), [count / unit for count in counts], color=SERIES[0])
        _label_rows(axes, [each["layer"] for each in layers])
        axes.set_xlabel(f"multiply-adds, {word}")
        axes.xaxis.set_major_locator(MaxNLocator(6))
        return figure
