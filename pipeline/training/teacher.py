"""A teacher: a finished run whose answers another network learns from, held to the same task."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np

from pipeline.config.config import Config
from pipeline.data.prepare import PixelStatistics, PreparedData, draw_splits
from pipeline.data.splits import Splits, describe_splits
from pipeline.data.table import Source
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.finished_run import load_run_data
from pipeline.places import check_teacher
from pipeline.pretrained import Pretrained, assign_pretrained
from pipeline.pretrained.keras_file import read_run
from pipeline.ready_models import find_place
from pipeline.run_directory import METRICS, RunDirectory
from pipeline.training.networks import build_training_network

SHOWN = 3
"""How many classes that differ a message shows."""


@dataclass(frozen=True, eq=False)
class Teacher:
    """A trained network that answers for the student's images.

    Attributes:
        name: as `--teacher` names it.
        config: the settings of its run.
        pretrained: its weights.
        accuracy: on the validation of its run.
        multiply_adds: of one image.
        compared: whether its images could be compared with the student's validation and test.
    """

    name: str
    config: Config
    pretrained: Pretrained
    accuracy: float
    multiply_adds: int
    compared: bool

    def build(self, config: Config) -> keras.Model:
        """Build its network, frozen, of the layers that answer fastest.

        Call it in the scope of the strategy.

        Args:
            config: of the student, resolved. What else the teacher's own run was trained with may not fit
                the student's devices.
        """
        names = self.pretrained.class_names
        assert names is not None
        config = replace(config, model=self.config.model)
        config = config.with_values({"precision": config.transfer.teacher_precision})
        statistics = PixelStatistics(self.pretrained.mean, self.pretrained.std)
        # Norms that only answer need not be synchronised, so that those of one replica serve any number.
        network = build_training_network(config, len(names), statistics, replicas=1)
        assign_pretrained(self.pretrained, network, names)
        network.trainable = False
        return network

    def share_of_step(self, students: int) -> float:
        """Estimate its share of a training step's multiply-adds, in (0, 1).

        It is asked once; the student goes forward, and backward for maps and for weights.

        Args:
            students: multiply-adds that an image costs the student.
        """
        return self.multiply_adds / (self.multiply_adds + 3 * students)

    def describe(self) -> dict[str, Any]:
        """Build what a run that learned from it records: name, fingerprint and accuracy."""
        return {
            "name": self.name,
            "fingerprint": self.pretrained.fingerprint,
            "validation_accuracy": self.accuracy,
        }


def read_teacher(config: Config, data: PreparedData) -> Teacher:
    """Read the teacher that `config` names and hold it to the student's task.

    Args:
        config: of the student.
        data: the student's.

    Raises:
        UserError: it is no finished run or a damaged one, answers for other classes or in another
            order, takes images of another size, or has learned from what the student is measured on.
    """
    name = config.transfer.teacher
    check_teacher(name)
    directory = RunDirectory(find_place(name))
    own = directory.load_finished()
    metrics = read_json(directory.metrics, METRICS, of="a finished run")
    recorded = read_json(directory.splits, {"class_names": list, "splits": dict}, of="a finished run")
    _check_classes(name, recorded["class_names"], data.source.class_names)
    if own.data.image_size != data.image_size:
        raise UserError(
            f"--teacher must take images of the student's size; {name} takes {own.data.image_size} pixels, "
            f"here they are {data.image_size} (--image-size {own.data.image_size})"
        )
    compared = True
    if recorded["splits"] != describe_splits(data.source, data.splits)["splits"]:
        learned = _find_images(directory, own, recorded, config, data)
        compared = learned is not None
        if learned:
            _check_unseen(name, own, *learned, data)
    return Teacher(
        name=name,
        config=own,
        pretrained=read_run(directory.path),
        accuracy=metrics["validation"]["accuracy"],
        multiply_adds=metrics["multiply_adds"],
        compared=compared,
    )


def _check_classes(name: str, theirs: Sequence[str], ours: Sequence[str]) -> None:
    """Raise `UserError` unless each logit of the teacher stands for the student's class."""
    if len(theirs) != len(ours):
        raise UserError(
            f"--teacher must answer for the student's classes; {name} has {len(theirs)}, here are {len(ours)}"
        )
    others = [
        f"{place} is {their!r}, here {our!r}"
        for place, (their, our) in enumerate(zip(theirs, ours, strict=True))
        if their != our
    ]
    if others:
        more = f"; and {len(others) - SHOWN} more" if len(others) > SHOWN else ""
        raise UserError(
            f"--teacher must answer for the student's classes in their order; of {name} class "
            f"{'; class '.join(others[:SHOWN])}{more}"
        )


def _find_images(
    directory: RunDirectory, own: Config, recorded: dict[str, Any], config: Config, data: PreparedData
) -> tuple[Source, Splits] | None:
    """Find the images of the teacher's run: in the student's table, or in a folder of its own.

    Digests of other kinds of data cannot be compared, and a data set is not downloaded for that alone.

    Returns:
        Its table and splits; None where they are not at hand as its run recorded them.
    """
    try:
        if own.data.data == config.data.data:
            splits, _ = draw_splits(own, data.source)
            if describe_splits(data.source, splits) == recorded:
                return data.source, splits
        if own.data.data.startswith("folder:") and config.data.data.startswith("folder:"):
            theirs = load_run_data(directory)
            return theirs.source, theirs.splits
    except UserError:
        # Images that have gone or changed since can be no reason to refuse what was learned from them.
        pass
    return None


def _check_unseen(name: str, own: Config, source: Source, splits: Splits, data: PreparedData) -> None:
    """Hold the teacher to not having learned from what its student is measured on.

    Its answers would tell the student of them. Test must be free of all that its run has looked at,
    validation of what its weights were fitted to. What the student is trained on itself does not count:
    some data sets hold an image twice.

    Raises:
        UserError: it has.
    """
    fitted = _digests(source, splits.train)
    seen = fitted | _digests(source, splits.validation) | _digests(source, splits.calibration)
    trained_on = _digests(data.source, data.splits.train)
    for split, learned in (("validation", fitted), ("test", seen)):
        images = _digests(data.source, getattr(data.splits, split))
        if leaked := (images & learned) - trained_on:
            raise UserError(
                f"--teacher must not have learned from what the student is measured on; {name} has from "
                f"{len(leaked):,} of the {len(images):,} images of {split} (its splits: --split-seed "
                f"{own.split_seed} --validation-share {own.data.validation_share:g})"
            )


def _digests(source: Source, rows: np.ndarray) -> set[bytes]:
    return {digest.tobytes() for digest in source.digests[rows]}
