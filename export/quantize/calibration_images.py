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
        trained_on: how many of them are not of the calibration split, but were trained on.
    """

    images: np.ndarray
    fingerprint: str
    left_out: int
    trained_on: int = 0


def load_calibration(run: FinishedRun, more: int = 0) -> CalibrationImages:
    """Load the calibration split, in an order in which any half is a fair sample.

    Where that split has fewer than `MIN_CALIBRATION` images, images that were trained on make up for it.

    Args:
        run: the finished run.
        more: images of train to add, evenly spread over its rows.

    Raises:
        ExportFailed: the split holds rows of test.
        UserError: fewer than two images, one for each half.
    """
    source, splits = run.data.source, run.data.splits
    test = _digests(source, splits.test)

    def without_test(rows: np.ndarray) -> np.ndarray:
        return rows[~np.isin(_digests(source, rows), test)]

    own = without_test(splits.calibration)
    added = min(max(more, MIN_CALIBRATION - len(own), 0), len(splits.train))
    spread = np.linspace(0, len(splits.train) - 1, added)
    rows = np.concatenate([splits.calibration, splits.train[spread.astype(int)]])
    if shared := len(np.intersect1d(rows, splits.test)):
        raise ExportFailed(
            f"calibration must never look at test; {shared} of its {len(rows)} images are of test"
        )
    fresh = without_test(rows)
    if len(fresh) < 2:
        raise UserError(
            f"an export needs at least 2 images of train that are not in test; received {len(fresh)}"
        )
    trained_on = len(fresh) - len(own)
    fresh = np.random.default_rng(run.config.run.seed).permutation(fresh)
    images = load_images(Examples(source, fresh, run.data.image_size))
    sum_of_rows = fingerprint(source, np.sort(fresh))
    return CalibrationImages(images, sum_of_rows, len(rows) - len(fresh), trained_on)


def _digests(source: Source, rows: np.ndarray) -> np.ndarray:
    """Digests as single items that can be looked up; void [rows]."""
    digests = np.ascontiguousarray(source.digests[rows])
    return digests.view(f"V{digests.shape[1]}").ravel()
