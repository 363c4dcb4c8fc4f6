"""The images that a report shows, each with what is true and what was answered."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.metrics.answers import Answers
from pipeline.data.batches import Examples, load_images
from pipeline.data.prepare import PreparedData


@dataclass(frozen=True)
class Pixels:
    """What a report shows of an image.

    Attributes:
        view: the image itself, or what is drawn over it.
        row: of the table.
        values: uint8 [height, width, 3].
    """

    view: str
    row: int
    values: np.ndarray


def load_rows(data: PreparedData, rows: np.ndarray) -> np.ndarray:
    """Load rows of the table, uint8 [images, size, size, 3]."""
    if len(rows) == 0:
        return np.zeros((0, data.image_size, data.image_size, 3), np.uint8)
    return load_images(Examples(data.source, rows, data.image_size))


def describe_images(
    data: PreparedData, rows: np.ndarray, answers: Answers, views: Mapping[str, np.ndarray] | None = None
) -> list[dict[str, Any]]:
    """Describe images, each with its `Pixels` in every view.

    Args:
        data: where they come from.
        rows: int64 [images], of the table.
        answers: for these images.
        views: what else is shown of each: name -> uint8 [images, height, width, 3].
    """
    shown = {"image": load_rows(data, rows), **(views or {})}
    return [
        {
            "split": data.splits.split_of(row),
            "row": row,
            "path": data.source.path_of(row),
            "label": data.source.class_names[answers.labels[place]],
            "predicted": data.source.class_names[answers.predicted[place]],
            "confidence": float(answers.confidence[place]),
            "images": {view: Pixels(view, row, images[place]) for view, images in shown.items()},
        }
        for place, row in enumerate(rows.tolist())
    ]


def name_images(described: Any) -> tuple[Any, dict[str, np.ndarray]]:
    """Part what was described from its pixels.

    Args:
        described: JSON, but for `Pixels` anywhere in it.

    Returns:
        JSON with a name in place of each, and name -> uint8 [height, width, 3].
    """
    images: dict[str, np.ndarray] = {}

    def named(part: Any) -> Any:
        if isinstance(part, Pixels):
            # Numbered, because the same view of an image may be of another class elsewhere.
            name = f"{len(images)}: {part.view} of {part.row}"
            images[name] = part.values
            return name
        if isinstance(part, dict):
            return {key: named(value) for key, value in part.items()}
        return [named(value) for value in part] if isinstance(part, list) else part

    return named(described), images
