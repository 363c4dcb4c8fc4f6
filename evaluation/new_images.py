"""Images from elsewhere, which a finished run is tested on in place of its own test."""

import dataclasses
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.data.class_names import shown
from pipeline.data.decoding.decode import decode_image
from pipeline.data.digits import digest_images
from pipeline.data.folders.folder import load_labelled_folder
from pipeline.data.folders.layout import real_path
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits, fingerprint
from pipeline.data.table import ArrayImages, EncodedImages, Source
from pipeline.finished_run import FinishedRun


@dataclass(frozen=True)
class NewImages:
    """A folder whose class folders are called as the run's classes.

    Attributes:
        folder: its absolute path, as text.
        data: the images, as a run's; all are of test.
        learned: int64 rows of those that the run's train, validation or calibration holds as well.
    """

    folder: str
    data: PreparedData
    learned: np.ndarray

    def identity(self) -> dict[str, str]:
        """Tell the folder, and a digest of its images and labels."""
        return {"folder": self.folder, "fingerprint": fingerprint(self.data.source, self.data.splits.test)}

    def describe(self) -> dict[str, Any]:
        """Build what report.json tells of them."""
        source = self.data.source
        return {
            "data": source.name,
            "images": len(source.labels),
            "learned": [source.path_of(row) for row in self.learned],
            "left_out": [list(problem) for problem in source.problems],
        }


def load_new_images(run: FinishedRun, folder: Path) -> NewImages:
    """Load the images of a labelled folder.

    Raises:
        UserError: no such folder, a class folder that is none of the run's classes, or no image.
    """
    source = load_labelled_folder(folder, run.class_names, run.data.source.reading)
    none = np.empty(0, np.int64)
    splits = Splits(train=none, validation=none, calibration=none, test=source.provided["test"])
    data = dataclasses.replace(run.data, source=source, splits=splits, excluded=None)
    return NewImages(shown(real_path(folder)), data, find_learned(run.data, source))


def find_learned(data: PreparedData, new: Source) -> np.ndarray:
    """Return the int64 rows of files that a run's train, validation or calibration holds as well.

    Equal are files of the same bytes; where the run's images are held as pixels, files of the same.

    Args:
        data: of the run.
        new: a table of files.
    """
    splits = data.splits
    rows = np.concatenate([splits.train, splits.validation, splits.calibration])
    learned = {digest.tobytes() for digest in data.source.digests[rows]}
    return np.array(
        [row for row, digest in enumerate(_digests_as_of(data.source, new)) if digest in learned], int
    )


def _digests_as_of(source: Source, new: Source) -> Iterable[bytes]:
    """Digest files in the way that a source digests its images."""
    if source.paths:
        return (digest.tobytes() for digest in new.digests)
    assert isinstance(new.images, EncodedImages)
    contents = (new.images.read(tf.constant(row, tf.int64)) for row in range(len(new.labels)))
    if not isinstance(source.images, ArrayImages):
        return (tf.fingerprint([content]).numpy().tobytes() for content in contents)
    return (digest_images(decode_image(content).numpy()[np.newaxis]).tobytes() for content in contents)
