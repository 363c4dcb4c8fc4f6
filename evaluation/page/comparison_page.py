"""The comparison of several runs as one HTML page."""

from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from evaluation.page.cost_plot import plot_cost
from evaluation.page.page import build_environment
from evaluation.page.plots import to_svg

LABELS = {
    "multiply_adds": ("multiply-adds, millions", 1e6),
    "int8_bytes": ("int8 file, KiB", 1024),
    "int8_latency_p50_ms": ("int8 latency, ms", 1),
}
"""Cost -> what its axis says, and how many make one unit of it."""

CAPTIONS = {
    "multiply_adds": "Work for one image.",
    "int8_bytes": "Size of the int8 file.",
    "int8_latency_p50_ms": "Time of the int8 file for one image on one thread.",
}


def write_comparison_page(comparison: Mapping[str, Any]) -> str:
    """Write the whole page.

    Args:
        comparison: the content of comparison.json; every number of the page is in it.
    """
    charts = {}
    for cost in comparison["costs"]:
        label, unit = LABELS[cost]
        figure = plot_cost(comparison["runs"], cost, label, unit)
        charts[cost] = Markup(to_svg(figure, cost, f"Accuracy against {label}"))
    template = build_environment().get_template("comparison.html.jinja")
    return template.render(**comparison, charts=charts, captions=CAPTIONS)
