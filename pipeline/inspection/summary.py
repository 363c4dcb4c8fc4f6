"""The network of a configuration, shown before anything is trained: as a table, as a diagram."""

import math
from collections.abc import Sequence
from pathlib import Path

from pipeline.config.config import Config
from pipeline.config.settings import ModelConfig
from pipeline.console.tables import plain_table
from pipeline.data.image_size import size_and_classes
from pipeline.inspection.anatomy import Part, dissect
from pipeline.inspection.diagram import plot_diagram
from pipeline.inspection.diagram_boxes import TIMES
from pipeline.models import build_model, resolve_model

HEADER = ("", "blocks", "output", "parameters", "multiply-adds", "share", "receptive field")


def show_network(config: Config, *, table: bool, diagram: bool) -> None:
    """Build the network; print it as a table, draw it as `<model>_diagram.png`, or both.

    The images need not be on this machine; see `size_and_classes`.

    Raises:
        UserError: the data or the network cannot be, or the diagram cannot be written.
    """
    size, classes = size_and_classes(config.data)
    settings = resolve_model(config.model, size)
    model = build_model(
        settings,
        input_shape=(size, size, 3),
        classes=classes,
        # They change neither shapes nor counts.
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
        seed=config.run.seed,
    )
    title, parts = describe(settings, size, classes), dissect(model)
    if table:
        print(title, network_table(parts), totals(parts), sep="\n")
        print(_note(parts, size))
    if diagram:
        path = Path(f"{config.model.model}_diagram.png")
        title = title.replace(" x ", f" {TIMES} ")
        plot_diagram(parts, title, totals(parts).split("; "), path)
        print(f"drawn in {path}")


def describe(model: ModelConfig, size: int, classes: int) -> str:
    """Name a network that is resolved, its width and stem, its input and its classes."""
    return (
        f"{model.model}, width {model.width}"
        f"{'' if model.stem == 'auto' else f', {model.stem} stem'}, {size} x {size} px, {classes:,} classes"
    )


def network_table(parts: Sequence[Part]) -> str:
    """Write a row for each part and the total."""
    all_adds = sum(part.multiply_adds for part in parts)
    rows = [
        (
            part.name,
            str(len(part.blocks) or ""),
            " x ".join(f"{length:,}" for length in part.output_shape),
            f"{part.parameters:,}",
            f"{part.multiply_adds:,}",
            f"{part.multiply_adds / all_adds:.1%}",
            "whole" if math.isinf(part.receptive_field) else f"{part.receptive_field:,} px",
        )
        for part in parts
    ]
    total = f"{sum(part.parameters for part in parts):,}"
    return plain_table(HEADER, [*rows, ("total", "", "", total, f"{all_adds:,}", "100.0%", "")])


def totals(parts: Sequence[Part]) -> str:
    """Say what the network weighs and costs."""
    parameters = sum(part.parameters for part in parts)
    adds = sum(part.multiply_adds for part in parts)
    mib = parameters / 2**20
    return (
        f"{parameters:,} parameters, {adds:,} multiply-adds an image; "
        f"weights {4 * mib:.3g} MiB in float32, about {mib:.3g} MiB in int8"
    )


def _note(parts: Sequence[Part], size: int) -> str:
    largest = max(part.receptive_field for part in parts if math.isfinite(part.receptive_field))
    note = "receptive field: side of the square of pixels that one position of the output sees"
    beyond = f"; more than {size} reaches beyond the image, into padding"
    return note + (beyond if largest > size else "")
