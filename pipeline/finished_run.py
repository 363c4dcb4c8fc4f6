"""A finished run: its settings, its network and the very images it was trained on."""

from dataclasses import dataclass
from typing import Any

import keras

from pipeline.config.config import Config
from pipeline.data.prepare import PreparedData, prepare_data
from pipeline.data.splits import describe_splits
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.pretrained.keras_file import load_keras_file
from pipeline.run_directory import METRICS, RunDirectory


@dataclass(frozen=True)
class FinishedRun:
    """What an export and an evaluation start from.

    Attributes:
        directory: where the run lies.
        config: its settings.
        network: the trained network, stock Keras layers in float32, pixels to logits.
        data: its images and splits.
        metrics: what it measured at its end.
        splits: sizes and fingerprints of its splits.
    """

    directory: RunDirectory
    config: Config
    network: keras.Model
    data: PreparedData
    metrics: dict[str, Any]
    splits: dict[str, Any]

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label -> name."""
        return self.data.source.class_names

    def is_reproduced_by(self, accuracy: float) -> bool:
        """Whether `accuracy`, of the network on test, is what the run measured at its end.

        Another device's rounding may turn an image or two.
        """
        difference = abs(accuracy - self.metrics["test"]["accuracy"])
        return difference <= max(0.002, 2.5 / len(self.data.splits.test))


def load_finished_run(directory: RunDirectory) -> FinishedRun:
    """Load everything a finished run left, and the data it began with.

    Raises:
        UserError: the run is missing, unfinished or damaged, or its images changed.
    """
    config = directory.load_finished()
    metrics = read_json(directory.metrics, METRICS, of="a finished run")
    splits = _read_splits(directory)["splits"]
    data = load_run_data(directory)
    network = load_keras_file(directory.model)
    return FinishedRun(directory, config, network, data, metrics, splits)


def load_run_data(directory: RunDirectory) -> PreparedData:
    """Load the images of a finished run, without its network.

    Raises:
        UserError: the run is missing, unfinished or damaged, or its images changed.
    """
    data = prepare_data(directory.load_finished())
    if describe_splits(data.source, data.splits) != _read_splits(directory):
        raise UserError(
            f"a finished run needs the images that it was trained on; {data.source.name} no "
            f"longer has the fingerprints in {directory.splits}"
        )
    return data


def _read_splits(directory: RunDirectory) -> dict[str, Any]:
    return read_json(directory.splits, {"splits": dict}, of="a finished run")
