"""The images that a report shows, each with what is true and what was answered."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.metrics.answers import Answers
from pipeline.data.batches import Examples, load_images
from pipeline.data.prepare import PreparedData


class Gallery:
    """Collects images by name.

    Args:
        data: where they come from.

    Attributes:
        images: name -> uint8 [height, width, 3].
    """

    def __init__(self, data: PreparedData) -> None:
        self._data = data
        self.images: dict[str, np.ndarray] = {}

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label -> name."""
        return self._data.source.class_names

    def load(self, rows: np.ndarray) -> np.ndarray:
        """Load rows of the table, uint8 [images, size, size, 3]."""
        size = self._data.image_size
        if len(rows) == 0:
            return np.zeros((0, size, size, 3), np.uint8)
        return load_images(Examples(self._data.source, rows, size))

    def describe(
        self, rows: np.ndarray, answers: Answers, views: Mapping[str, np.ndarray] | None = None
    ) -> list[dict[str, Any]]:
        """Describe images, and keep them to be shown.

        Args:
            rows: int64 [images], of the table.
            answers: for these images.
            views: what else is shown of each: name -> uint8 [images, height, width, 3].
        """
        source = self._data.source
        shown = {"image": self.load(rows), **(views or {})}
        described = []
        for place, row in enumerate(rows.tolist()):
            # Numbered, because the same view of an image may be of another class elsewhere.
            first = len(self.images)
            names = {view: f"{first + at}: {view} of {row}" for at, view in enumerate(shown)}
            self.images |= {names[view]: images[place] for view, images in shown.items()}
            described.append(
                {
                    "split": self._split_of(row),
                    "row": row,
                    "path": source.path_of(row),
                    "label": source.class_names[answers.labels[place]],
                    "predicted": source.class_names[answers.predicted[place]],
                    "confidence": float(answers.confidence[place]),
                    "images": names,
                }
            )
        return described

    def _split_of(self, row: int) -> str:
        return next(name for name, rows in vars(self._data.splits).items() if row in rows)
