"""A finished run whose images tell their row, and networks that answer by a table."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np

from evaluation.metrics.answers import Answers
from evaluation.networks.networks import Network
from pipeline.config.config import Config
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.data.table import ArrayImages, Source
from pipeline.finished_run import FinishedRun
from pipeline.run_directory import RunDirectory

SIZE = 8


def images_of(rows: int) -> np.ndarray:
    """Random images, uint8 [rows, 8, 8, 3], whose first pixel's red is their row."""
    images = np.random.default_rng(0).integers(0, 256, (rows, SIZE, SIZE, 3), np.uint8)
    images[:, 0, 0, 0] = np.arange(rows)
    return images


def build_data(
    labels: Sequence[int],
    splits: dict[str, Sequence[int]],
    class_names: Sequence[str],
    paths: Sequence[str] = (),
) -> PreparedData:
    """A table of `images_of` and the rows of its splits; train has those that are in none."""
    rows = np.arange(len(labels))
    names = [field.name for field in dataclasses.fields(Splits)]
    given = {name: np.array(splits.get(name, []), np.int64) for name in names}
    if "train" not in splits:
        given["train"] = np.setdiff1d(rows, np.concatenate(list(given.values())))
    images = images_of(len(labels))
    source = Source(
        "made up",
        tuple(class_names),
        np.array(labels, np.int64),
        images[:, 0, 0, :1],
        ArrayImages(images),
        {"train": rows},
        paths=tuple(paths),
    )
    return PreparedData(source, Splits(**given), SIZE)


def build_run(
    path: Path, data: PreparedData, network: keras.Model | None = None, /, **settings: Any
) -> FinishedRun:
    """A run as `load_finished_run` would return it."""
    config = Config().with_values({"data": "digits", "image_size": SIZE, **settings})
    splits = {name: {"fingerprint": name} for name in vars(data.splits)}
    return FinishedRun(RunDirectory(path), config, network, data, {}, splits)


def table_network(logits: np.ndarray, name: str = "keras") -> Network:
    """A network that answers for an image of row r with logits[r]."""
    return Network(name, f"{name}.file", lambda images: logits[images[:, 0, 0, 0]])


def answers_of(labels: Sequence[int], chances: Sequence[Sequence[float]]) -> Answers:
    """Answers with the given probabilities [images, classes]; 0 is read as 1e-30."""
    logits = np.log(np.maximum(np.array(chances, np.float32), np.float32(1e-30)))
    return Answers(np.array(labels, np.int64), logits)
