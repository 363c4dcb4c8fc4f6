"""The images that quantisation may look at."""

from dataclasses import dataclass

import numpy as np

from export.errors import ExportFailed
from pipeline.data.batches import Examples, load_images
from pipeline.data.splits import MIN_CALIBRATION, fingerprint
from pipeline.data.table import Source
from pipeline.errors import UserError
from pipeline.finished_run import FinishedRun


@dataclass(frozen=True)
class CalibrationImages:
    """Real, un-augmented images of train that quantisation may look at.

    Attributes:
        images: uint8 [images, size, size, 3].
        fingerprint: of the rows they came from.
        left_out: images of the split that are in test too and were not used.
    """

    images: np.ndarray
    fingerprint: str
    left_out: int


def load_calibration(run: FinishedRun, more: int = 0) -> CalibrationImages:
    """Load the calibration split, in an order in which any half is a fair sample.

    Args:
        run: the finished run.
        more: images of train to add, evenly spread over its rows.

    Raises:
        ExportFailed: the split holds rows of test.
        UserError: too few images.
    """
    source, splits = run.data.source, run.data.splits
    rows = splits.calibration
    if more:
        spread = np.linspace(0, len(splits.train) - 1, min(more, len(splits.train)))
        rows = np.concatenate([rows, splits.train[spread.astype(int)]])
    if shared := len(np.intersect1d(rows, splits.test)):
        raise ExportFailed(
            f"calibration must never look at test; {shared} of its {len(rows)} images are of test"
        )
    fresh = rows[~np.isin(_digests(source, rows), _digests(source, splits.test))]
    if len(fresh) < MIN_CALIBRATION:
        raise UserError(
            f"calibration needs at least {MIN_CALIBRATION} images that are not in test; received "
            f"{len(fresh)} (--calibration-size {run.config.data.calibration_size} when training, "
            "and at most a tenth of train)"
        )
    fresh = np.random.default_rng(run.config.run.seed).permutation(fresh)
    images = load_images(Examples(source, fresh, run.data.image_size))
    return CalibrationImages(images, fingerprint(source, np.sort(fresh)), len(rows) - len(fresh))


def _digests(source: Source, rows: np.ndarray) -> np.ndarray:
    """Digests as single items that can be looked up; void [rows]."""
    digests = np.ascontiguousarray(source.digests[rows])
    return digests.view(f"V{digests.shape[1]}").ravel()
