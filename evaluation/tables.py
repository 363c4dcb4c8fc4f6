"""The tables beside a report: what networks answer for each image, and which labels are suspected."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from evaluation.data_errors import HeldOut
from evaluation.metrics.answers import Answers
from pipeline.data.prepare import PreparedData
from pipeline.files.csv_file import read_csv


def describe_predictions(data: PreparedData, answers: Mapping[str, Answers]) -> list[list[Any]]:
    """Return a header and a row for each image of test: what it shows, what each network answers."""
    names = data.source.class_names
    table: list[list[Any]] = [["row", "path", "label"]]
    for name in answers:
        table[0] += [f"{name}_predicted", f"{name}_confidence"]
    for place, row in enumerate(data.splits.test.tolist()):
        cells = _image_cells(data, row)
        for answered in answers.values():
            cells += [names[answered.predicted[place]], f"{answered.confidence[place]:.4f}"]
        table.append(cells)
    return table


def list_label_errors(data: PreparedData, held_out: HeldOut) -> list[list[Any]]:
    """Return a header and a row for each suspected label, the most suspicious first."""
    names, suspects = data.source.class_names, held_out.suspects
    table: list[list[Any]] = [["row", "path", "label", "suggested", "margin", "split"]]
    for place, suggested, margin in zip(suspects.indices, suspects.suggested, suspects.margins, strict=True):
        row = held_out.rows[place]
        table.append([*_image_cells(data, row), names[suggested], f"{margin:.4f}", data.splits.split_of(row)])
    return table


def _image_cells(data: PreparedData, row: int) -> list[Any]:
    return [row, data.source.path_of(row), data.source.class_names[data.source.labels[row]]]


def read_predictions(path: Path, class_names: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Return labels and what Keras predicted, int64 [images] each."""
    number = {name: label for label, name in enumerate(class_names)}
    pairs = [(number[row["label"]], number[row["keras_predicted"]]) for row in read_csv(path)]
    labels, predicted = np.array(pairs, np.int64).T
    return labels, predicted
