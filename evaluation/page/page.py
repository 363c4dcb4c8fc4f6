"""The report as one HTML page that holds all it needs: images, charts and style."""

import base64
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup
from PIL import Image

from evaluation.page import filters
from evaluation.page.plots import plot_class_recall, plot_layers, plot_reliability, plot_severity, to_svg
from pipeline.page.answering import STYLE

TEMPLATES = Path(__file__).parent / "templates"
SHOWN = 20
"""Rows of a table or chart; of more classes or layers only those that matter most are shown."""

LARGEST_ENLARGED = 96
"""Pixels a side up to which an image is enlarged pixel by pixel; larger ones are photographs."""

LARGEST_EMBEDDED = 160


def write_page(report: Mapping[str, Any], images: Mapping[str, np.ndarray]) -> str:
    """Write the whole page.

    Args:
        report: the content of report.json; every number of the page is in it.
        images: what the report's images name, uint8 [height, width, 3].
    """
    environment = build_environment()
    template = environment.get_template("report.html.jinja")
    rows = worst_rows(report["networks"]["keras"]["accuracy"]["per_class"])
    charts = {name: Markup(svg) for name, svg in draw_charts(report, rows).items()}
    return template.render(**report, pixels=images, rows=rows, charts=charts)


def build_environment() -> Environment:
    """Build the Jinja environment of this folder's templates: escaping, strict, with filters."""
    environment = Environment(
        loader=FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(filters.BY_NAME)
    environment.filters.update(embed=embed, smallest_classes=smallest_classes)
    environment.globals.update(style=Markup(STYLE.read_text()), shown=SHOWN)
    return environment


class Embedded(NamedTuple):
    """An image inside the page: its data URI, and whether it is enlarged pixel by pixel."""

    uri: str
    enlarged: bool


def embed(image: np.ndarray) -> Embedded:
    """Encode an image: a small one as PNG, pixel for pixel, a large one as a small JPEG."""
    embedded, content = Image.fromarray(image), io.BytesIO()
    enlarged = max(embedded.size) <= LARGEST_ENLARGED
    kind = "png" if enlarged else "jpeg"
    embedded.thumbnail((LARGEST_EMBEDDED, LARGEST_EMBEDDED))
    embedded.save(content, kind, optimize=True)
    text = base64.b64encode(content.getvalue()).decode()
    return Embedded(f"data:image/{kind};base64,{text}", enlarged)


def worst_rows(per_class: Sequence[Mapping[str, Any]]) -> list[int]:
    """Choose the classes with the lowest recall, worst first; those without images last."""
    recall = [row["recall"]["value"] if row["recall"] else math.inf for row in per_class]
    return sorted(range(len(recall)), key=recall.__getitem__)[:SHOWN]


def smallest_classes(classes: Sequence[Mapping[str, Any]], split: str) -> list[Mapping[str, Any]]:
    """Choose the classes with the fewest images of a split, the smallest first."""
    return sorted(classes, key=lambda row: row[split])[:SHOWN]


def largest_layers(layers: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Choose the layers with the most multiply-adds, in the network's order."""
    order = sorted(range(len(layers)), key=lambda at: -layers[at]["multiply_adds"])
    return [layers[at] for at in sorted(order[:SHOWN])]


def draw_charts(report: Mapping[str, Any], rows: Sequence[int]) -> dict[str, str]:
    """Draw every chart of the page: name -> SVG.

    Args:
        report: the content of report.json.
        rows: the classes that are shown.
    """
    networks = report["networks"]
    per_class = {name: network["accuracy"]["per_class"] for name, network in networks.items()}
    recall = plot_class_recall({name: [table[row] for row in rows] for name, table in per_class.items()})
    layers = plot_layers(largest_layers(report["cost"]["layers"]))
    charts = {
        "recall": to_svg(recall, "recall", "Recall of each class with its 95 % interval"),
        "layers": to_svg(layers, "layers", "Multiply-adds of each layer"),
    }
    for kind in ("robustness", "prepared_robustness"):
        if measured := {name: each[kind] for name, each in networks.items() if each[kind]}:
            alt = "Mean accuracy over all corruptions against severity"
            charts[kind] = to_svg(plot_severity(measured), kind, alt)
    for place, (name, network) in enumerate(networks.items()):
        for when in ("before", "after"):
            title = f"{name}, {when} temperature scaling"
            figure = plot_reliability(network["calibration"][when]["equal_width_bins"], title)
            alt = f"{title}: accuracy against confidence, and images per bin"
            # A network's name may hold what an id must not.
            charts[f"{name} {when}"] = to_svg(figure, f"reliability-{place}-{when}", alt)
    return charts
