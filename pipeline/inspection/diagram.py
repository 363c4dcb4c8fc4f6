"""A network drawn as papers draw it: its parts from top to bottom, their blocks left to right."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.figure import Figure
from matplotlib.font_manager import FontProperties
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path as Curve

from pipeline.files.whole import write_figure
from pipeline.inspection.anatomy import Block, Part
from pipeline.inspection.diagram_boxes import TIMES, Box, boxes_before_shortcut, boxes_of
from pipeline.models.names import CONCATENATION

INK, PALE_INK, PANEL = "#22303c", "#5f6f7d", "#f4f6f8"
TITLE, FONT = 11, 9
"""Sizes of letters in points. All lengths below are in inches."""
LINE, GAP, PADDING, MARGIN = 0.165, 0.2, 0.08, 0.12
ARC, SUM = 0.34, 0.09
"""Height of a shortcut's arc above its boxes; radius of the circle it ends in."""
RULER = RendererAgg(1, 1, dpi=120)
"""It measures text."""


def plot_diagram(parts: Sequence[Part], title: str, notes: Sequence[str], path: Path) -> None:
    """Draw a network as `draw_network` does and write it as PNG, in whole."""
    write_figure(path, draw_network(parts, title, notes))


def draw_network(parts: Sequence[Part], title: str, notes: Sequence[str]) -> Figure:
    """Draw the parts as rows of boxes; equal blocks that follow each other are drawn once.

    A row is headed by its output shape and its trainable parameters. Shortcuts are arcs, dashed
    where they change the shape (He et al. 2015, arXiv:1512.03385, figure 3).

    Args:
        parts: of `dissect`.
        title: line above the drawing.
        notes: lines below the title.
    """
    figure = Figure()
    axes = figure.add_axes((0, 0, 1, 1))
    axes.axis("off")
    top, right, panels = MARGIN, 0.0, []
    for line, points, weight in [(title, TITLE, "bold"), *((note, FONT, "normal") for note in notes)]:
        top += 1.3 * LINE
        end = _write(axes, MARGIN, top - LINE / 2, line, fontsize=points, weight=weight)
        right = max(right, end)
    top += PADDING
    for part in parts:
        bottom, end = _draw_row(axes, part, top)
        panels.append((part, top, bottom))
        headings = sum(_text_width(text, FONT, "bold") for text in _headings(part))
        right, top = max(right, end, MARGIN + headings + 2 * GAP), bottom + GAP
    for panel in panels:
        _draw_panel(axes, *panel, right, last=panel is panels[-1])
    # An inch of the axes is an inch of the image, with y downwards.
    figure.set_size_inches(right + MARGIN, bottom + MARGIN)
    axes.set_xlim(0, right + MARGIN)
    axes.set_ylim(bottom + MARGIN, 0)
    return figure


def _runs(part: Part) -> list[tuple[Block, int]]:
    """Blocks that look different from the one before, and how often each follows itself."""
    blocks = [Block(part.entry, None)] if part.entry else []
    blocks += part.blocks
    runs = groupby(blocks, key=lambda block: (boxes_of(block), block.shortcut))
    return [(first, 1 + len(others)) for _, (first, *others) in runs]


def _draw_row(axes: Axes, part: Part, top: float) -> tuple[float, float]:
    """Draw the boxes of a part below its headings; return its bottom and its right end."""
    runs = _runs(part)
    tallest = max(len(box.lines) for block, _ in runs for box in boxes_of(block))
    height = tallest * LINE + PADDING
    arc = ARC + LINE if any(block.shortcut for block, _ in runs) else 0.0
    y = top + 2 * PADDING + 1.5 * LINE + arc + height / 2
    x = MARGIN + 2 * PADDING
    for index, (block, count) in enumerate(runs):
        if index:
            # Where a shortcut leaves, the arrow into the first box goes on from this line.
            x = _draw_arrow(axes, x, y, style="-" if block.shortcut else "-|>")
        start, x = x, _draw_block(axes, block, x, y, height)
        if count > 1:
            x = _draw_frame(axes, (start, x), (y - height / 2 - arc, y + height / 2), count)
    return y + height / 2 + 2 * PADDING, x + 2 * PADDING


def _draw_block(axes: Axes, block: Block, x: float, y: float, height: float) -> float:
    """Draw boxes with arrows between them, and the shortcut around them; return the end."""
    branch, shared = x, boxes_before_shortcut(block)
    for index, box in enumerate(boxes_of(block)):
        branch = x if index == shared else branch
        if index or block.shortcut:
            x = _draw_arrow(axes, x, y)
        if box.lines:
            x = _draw_box(axes, box, x, y, height)
        else:
            assert block.shortcut is not None  # it is what meets the block here
            x = _draw_junction(axes, x, y, sums=block.shortcut != CONCATENATION)
            _draw_shortcut(axes, block.shortcut, (branch + GAP / 3, x - SUM), y, height)
    return x


def _draw_box(axes: Axes, box: Box, x: float, y: float, height: float) -> float:
    text = "\n".join(box.lines)
    width = _text_width(text, FONT) + 2 * PADDING
    axes.add_patch(_rounded(x, y - height / 2, width, height, facecolor=box.colour))
    _write(axes, x + width / 2, y, text, ha="center")
    return x + width


def _draw_junction(axes: Axes, x: float, y: float, *, sums: bool) -> float:
    """Draw a circle with a plus, or with two bars where channels are put side by side; return the end."""
    axes.add_patch(Circle((x + SUM, y), SUM, facecolor="white", edgecolor=INK))
    reach = 0.6 * SUM
    if sums:
        axes.plot((x + SUM - reach, x + SUM + reach), (y, y), color=INK, linewidth=1)
    for aside in (0.0,) if sums else (-reach / 2, reach / 2):
        axes.plot((x + SUM + aside, x + SUM + aside), (y - reach, y + reach), color=INK, linewidth=1)
    return x + 2 * SUM


def _draw_shortcut(axes: Axes, kind: str, ends: tuple[float, float], y: float, height: float) -> None:
    """Draw an arc from the block's input over its boxes to where they end, with its name on top."""
    (left, right), top = ends, y - height / 2 - ARC
    bend = (right - left) / 4
    points = [
        (left, y),
        (left, top),
        (left, top),
        (left + bend, top),
        (right - bend, top),
        (right, top),
        (right, top),
        (right, y - SUM),
    ]
    codes = [Curve.MOVETO, *[Curve.CURVE4] * 3, Curve.LINETO, *[Curve.CURVE4] * 3]
    dashes = "-" if kind == "identity" else (0, (3, 2))
    arc = _arrow(path=Curve(points, codes), linestyle=dashes, gid=f"shortcut: {kind}")
    axes.add_patch(arc)
    _write(axes, (left + right) / 2, top - LINE / 2, kind, ha="center", style="italic")


def _draw_frame(axes: Axes, ends: tuple[float, float], sides: tuple[float, float], count: int) -> float:
    """Frame what is drawn once and computed `count` times; return the end."""
    (left, right), (top, bottom) = ends, sides
    left, right = left - PADDING / 2, right + PADDING
    height = bottom - top + 2 * PADDING
    dots = {"facecolor": "none", "linestyle": (0, (1, 2))}
    axes.add_patch(_rounded(left, top - PADDING, right - left, height, **dots))
    middle, label = (top + bottom) / 2, f"{TIMES} {count}"
    return _write(axes, right + PADDING, middle, label, fontsize=TITLE, weight="bold")


def _headings(part: Part) -> tuple[str, str]:
    blocks = f", {len(part.blocks)} block{'s' if part.blocks[1:] else ''}" if part.blocks else ""
    shape = f" {TIMES} ".join(f"{length:,}" for length in part.output_shape)
    return part.name + blocks, f"output {shape}; {part.parameters:,} parameters"


def _draw_panel(axes: Axes, part: Part, top: float, bottom: float, right: float, *, last: bool) -> None:
    """Draw what lies behind a row, its headings and the arrow to the next one."""
    axes.add_patch(_rounded(MARGIN, top, right - MARGIN, bottom - top, facecolor=PANEL, zorder=0))
    y, (name, figures) = top + PADDING + LINE / 2, _headings(part)
    _write(axes, MARGIN + PADDING, y, name, weight="bold")
    _write(axes, right - PADDING, y, figures, ha="right")
    if not last:
        centre = (MARGIN + right) / 2
        axes.add_patch(_arrow((centre, bottom), (centre, bottom + GAP)))


def _draw_arrow(axes: Axes, x: float, y: float, style: str = "-|>") -> float:
    axes.add_patch(_arrow((x, y), (x + GAP, y), arrowstyle=style))
    return x + GAP


def _arrow(*ends: tuple[float, float], arrowstyle: str = "-|>", **style: Any) -> FancyArrowPatch:
    return FancyArrowPatch(
        *ends, arrowstyle=arrowstyle, mutation_scale=8, shrinkA=0, shrinkB=0, color=INK, **style
    )


def _rounded(x: float, y: float, width: float, height: float, **style: Any) -> FancyBboxPatch:
    shape = "round,pad=0,rounding_size=0.06"
    return FancyBboxPatch((x, y), width, height, boxstyle=shape, edgecolor=PALE_INK, **style)


def _write(axes: Axes, x: float, y: float, text: str, **style: Any) -> float:
    """Write beside `x`, in the middle of `y`; return where one line from `x` on would end."""
    style = {"fontsize": FONT, "weight": "normal", **style}
    axes.text(x, y, text, color=INK, va="center", **style)
    return x + _text_width(text, style["fontsize"], style["weight"])


def _text_width(text: str, points: float, weight: str = "normal") -> float:
    """Measure the longest line."""
    font = FontProperties(size=points, weight=weight)
    widths = [RULER.get_text_width_height_descent(line, font, ismath=False)[0] for line in text.splitlines()]
    return max(widths) / RULER.dpi
