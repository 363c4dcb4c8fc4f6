"""What a run draws: its first augmented batch and its learning curves."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from pipeline.files.whole import write_figure

SHEET_IMAGES = 32
SHEET_COLUMNS = 8

OUTLIER, MIN_REACH = 3.0, 0.1
"""From how many reaches of the middle half on a loss is off the chart; the least reach, in logarithms."""


def plot_contact_sheet(
    images: np.ndarray, labels: np.ndarray, class_names: Sequence[str], path: Path
) -> None:
    """Draw the first images of a batch with their labels; mixed labels with their shares.

    Args:
        images: [batch, height, width, 3] in [0, 255].
        labels: float [batch, classes], rows that sum to 1.
        class_names: label -> name.
        path: where to.
    """
    count = min(len(images), SHEET_IMAGES)
    rows = -(-count // SHEET_COLUMNS)
    height = rows * 1.5 + 0.4
    figure = Figure(figsize=(SHEET_COLUMNS * 1.25, height))
    figure.suptitle("The first augmented training batch", fontsize=10, y=1 - 0.05 / height)
    # Margins by hand, and titles too: laying out measures the ticks of every image, which takes a second.
    figure.subplots_adjust(0.01, 0.05 / height, 0.99, 1 - 0.45 / height, wspace=0.06, hspace=0.2)
    for place, axes in enumerate(figure.subplots(rows, SHEET_COLUMNS, squeeze=False).flat):
        axes.axis("off")
        if place < count:
            axes.imshow(np.clip(images[place], 0, 255).astype(np.uint8), interpolation="nearest")
            caption = _caption(labels[place], class_names)
            axes.set_title(caption, fontsize=6, y=1, parse_math=False)
    write_figure(path, figure)


def _caption(label: np.ndarray, class_names: Sequence[str]) -> str:
    classes = [k for k in np.argsort(-label, kind="stable") if label[k] > 0.005]
    if len(classes) == 1:
        return class_names[classes[0]]
    return " + ".join(f"{label[k]:.0%} {class_names[k]}" for k in classes[:2])


def plot_learning_curves(history: Sequence[dict[str, float]], path: Path) -> None:
    """Draw cross-entropy (logarithmic), accuracy and learning rate against the epoch."""
    epochs = [row["epoch"] for row in history]
    figure = Figure(figsize=(10, 3.2), layout="constrained")
    panels = {
        "cross-entropy, nats": {"train": "cross_entropy", "validation": "val_cross_entropy"},
        "accuracy": {"train": "accuracy", "validation": "val_accuracy"},
        "learning rate": {"at the epoch's end": "learning_rate"},
    }
    for axes, (title, curves) in zip(figure.subplots(1, 3), panels.items(), strict=True):
        for label, column in curves.items():
            values = [row[column] for row in history]
            axes.plot(epochs, values, marker="o", markersize=3, label=label)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel("epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.grid(alpha=0.3)
        if "entropy" in title:
            axes.set_yscale("log")
            axes.set_ylim(*_limits([row[column] for row in history for column in curves.values()]))
        axes.legend(fontsize=8)
    write_figure(path, figure)


def _limits(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Return the ends of a logarithmic axis where an outlier would rule it; None leaves an end to the values.

    An outlier lies further from the middle half than OUTLIER times the half's own reach, in logarithms
    (the fences of Tukey 1977, section 2D, of "far out" values).
    """
    logs = np.log([value for value in values if value > 0])
    if not len(logs):
        return None, None
    low, high = np.quantile(logs, (0.25, 0.75))
    reach = OUTLIER * max(high - low, MIN_REACH)
    within = logs[(logs >= low - reach) & (logs <= high + reach)]
    ends = within.min() - 0.1, within.max() + 0.1
    return (
        float(np.exp(ends[0])) if logs.min() < low - reach else None,
        float(np.exp(ends[1])) if logs.max() > high + reach else None,
    )
