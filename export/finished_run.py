"""A finished run: its settings, its network and the very pictures it was trained on."""

import zipfile
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from export.errors import ExportFailed
from pipeline.config import Config
from pipeline.data.batches import Examples, load_images
from pipeline.data.pictures import Source
from pipeline.data.prepare import PreparedData, prepare_data
from pipeline.data.splits import describe_splits, fingerprint
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory

MIN_CALIBRATION = 32
"""Pictures that calibration needs at least, so that each half of it still means something."""


@dataclass(frozen=True)
class FinishedRun:
    """What an export starts from.

    Attributes:
        directory: where the run lies.
        config: its settings.
        network: the trained network, stock Keras layers in float32, pixels to logits.
        data: its pictures and splits.
        metrics: what it measured at its end.
        splits: sizes and fingerprints of its splits.
    """

    directory: RunDirectory
    config: Config
    network: keras.Model
    data: PreparedData
    metrics: dict
    splits: dict

    @property
    def class_names(self) -> tuple[str, ...]:
        """Label -> name."""
        return self.data.source.class_names

    @property
    def layers(self) -> list[str]:
        """Names of the network's layers, and of operations that stand in none."""
        return [operation.name for operation in self.network.operations]


def load_finished_run(directory: RunDirectory) -> FinishedRun:
    """Load everything a finished run left, and the data it began with.

    Raises:
        UserError: the run is missing, unfinished or of another version, or its pictures changed.
    """
    config = directory.load_finished()
    metrics = directory.read_json(directory.metrics, ("test", "parameters", "multiply_adds"))
    recorded = directory.read_json(directory.splits, ("splits",))
    data = prepare_data(config)
    if describe_splits(data.source, data.splits) != recorded:
        raise UserError(
            f"an export needs the pictures that the run was trained on; {data.source.name} no "
            f"longer has the fingerprints in {directory.splits}"
        )
    network = _load_network(directory.model)
    return FinishedRun(directory, config, network, data, metrics, recorded["splits"])


def _load_network(path: Path) -> keras.Model:
    try:
        # Keras does not look at the checksums, and damaged weights are weights still.
        with zipfile.ZipFile(path) as archive:
            if damaged := archive.testzip():
                raise zipfile.BadZipFile(f"{damaged} in it is damaged")
        return keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, KeyError, zipfile.BadZipFile) as error:
        reason = str(error).partition("\n")[0]
        raise UserError(f"{path} must be a whole Keras model; {reason}") from error


@dataclass(frozen=True)
class CalibrationPictures:
    """Real, un-augmented pictures of train that quantisation may look at.

    Attributes:
        images: uint8 [pictures, size, size, 3].
        fingerprint: of the rows they came from.
        left_out: pictures of the split that are in test too and were not used.
    """

    images: np.ndarray
    fingerprint: str
    left_out: int


def load_calibration(run: FinishedRun, more: int = 0) -> CalibrationPictures:
    """Load the calibration split, in an order in which any half is a fair sample.

    Args:
        run: the finished run.
        more: pictures of train to add, evenly spread over its rows.

    Raises:
        ExportFailed: the split holds rows of test.
        UserError: too few pictures.
    """
    source, splits = run.data.source, run.data.splits
    rows = splits.calibration
    if more:
        spread = np.linspace(0, len(splits.train) - 1, min(more, len(splits.train)))
        rows = np.concatenate([rows, splits.train[spread.astype(int)]])
    if shared := len(np.intersect1d(rows, splits.test)):
        raise ExportFailed(
            f"calibration must never look at test; {shared} of its {len(rows)} pictures are of test"
        )
    fresh = rows[~np.isin(_digests(source, rows), _digests(source, splits.test))]
    if len(fresh) < MIN_CALIBRATION:
        raise UserError(
            f"calibration needs at least {MIN_CALIBRATION} pictures that are not in test; received "
            f"{len(fresh)} (--calibration-size {run.config.data.calibration_size} when training, "
            "and at most a tenth of train)"
        )
    fresh = np.random.default_rng(run.config.run.seed).permutation(fresh)
    images = load_images(Examples(source, fresh, run.data.image_size))
    return CalibrationPictures(images, fingerprint(source, np.sort(fresh)), len(rows) - len(fresh))


def _digests(source: Source, rows: np.ndarray) -> np.ndarray:
    """Digests as single items that can be looked up; void [rows]."""
    digests = np.ascontiguousarray(source.digests[rows])
    return digests.view(f"V{digests.shape[1]}").ravel()
