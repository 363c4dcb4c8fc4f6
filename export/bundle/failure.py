"""What a failed export leaves: which layers lose most to quantisation, and what to try."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from export.bundle.report import TRIED_HEADER, tried_row
from export.quantize.layer_error import LayerError
from pipeline.console.tables import markdown_table
from pipeline.files.json_file import write_json
from pipeline.files.whole import write_figure, write_text

SHOWN_LAYERS = 10
"""Rows of the table and bars of the chart."""

ADVICE = """\
- `--repair` tries more calibration images, clipped ranges and float32 for the worst layers, and
  stops at the first that is good enough.
- `--finetune 2` trains two epochs more, with the rounding of int8; the file is as fast as without.
- `--max-drop POINTS` accepts a greater loss, if the application can.
- A layer near 0 dB has lost its signal: look at the scale of its batch norm. One channel far louder
  than the others takes all the levels; training longer, with weight decay, evens them out.
- `--formats int16` keeps activations in 16 bits, at a price in speed; `--formats dynamic` keeps
  them in floating point.
"""


def write_failure(folder: Path, tried: Sequence[dict[str, Any]], errors: Sequence[LayerError]) -> None:
    """Write `report.json`, `report.md` and `layers.png`.

    Args:
        folder: where to.
        tried: each strategy, as `report.describe_tried` tells of it.
        errors: of the layers, worst first.
    """
    folder.mkdir(parents=True, exist_ok=True)
    report = {"int8_tried": list(tried), "layers": [_finite(error) for error in errors]}
    write_json(folder / "report.json", report)
    rows = [
        (error.layer, error.operation, f"{error.signal_to_noise_db:.1f}") for error in errors[:SHOWN_LAYERS]
    ]
    text = "\n\n".join(
        [
            "# The int8 file loses too much",
            markdown_table(TRIED_HEADER, [tried_row(row) for row in tried]),
            "## Where it is lost",
            "Each layer's int8 output against its float32 output on the same input: the less "
            "signal to noise, the more error its quantisation adds.",
            markdown_table(("layer", "operation", "signal to noise, dB"), rows),
            "![Signal to noise by layer](layers.png)",
            "## What to try",
            ADVICE,
        ]
    )
    write_text(folder / "report.md", text)
    _plot_layers(errors, folder / "layers.png")


def _finite(error: LayerError) -> dict[str, Any]:
    """A layer without any error has an infinite ratio, which JSON does not know."""
    described = asdict(error)
    if error.signal_to_noise_db == float("inf"):
        described["signal_to_noise_db"] = None
    return described


def _plot_layers(errors: Sequence[LayerError], path: Path) -> None:
    """Draw the signal-to-noise ratio of the worst layers, the worst on top."""
    shown = [error for error in errors if error.signal_to_noise_db < float("inf")][:SHOWN_LAYERS]
    figure = Figure(figsize=(7, 0.6 + 0.32 * len(shown)), layout="constrained")
    axes = figure.subplots()
    names = [f"{error.layer} ({error.operation})" for error in shown]
    axes.barh(range(len(shown)), [error.signal_to_noise_db for error in shown])
    axes.set_yticks(range(len(shown)), names, fontsize=8)
    axes.invert_yaxis()
    axes.set_xlabel("signal to noise of the int8 output, dB (less is worse)")
    axes.grid(axis="x", alpha=0.3)
    write_figure(path, figure)
