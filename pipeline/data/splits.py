"""Stratified, disjoint train / validation / calibration / test, each with a fingerprint."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.config.option import flag
from pipeline.config.settings import DataConfig
from pipeline.data.table import Source
from pipeline.errors import UserError

MAX_CALIBRATION_SHARE = 0.1
"""Calibration never takes more than this share of train: images are worth more in training."""

MIN_CALIBRATION = 32
"""Images that quantisation needs at least, so that each half of them still means something."""


@dataclass(frozen=True)
class Splits:
    """Rows of the source's table; no row is in two splits.

    Attributes:
        train: int64 rows the weights are fitted on.
        validation: int64 rows that choose the best weights and stop early.
        calibration: int64 rows kept, un-augmented, for quantisation.
        test: int64 rows looked at once, at the end.
    """

    train: np.ndarray
    validation: np.ndarray
    calibration: np.ndarray
    test: np.ndarray

    def split_of(self, row: int) -> str:
        """Name the split that has a row of one."""
        return next(name for name, rows in vars(self).items() if row in rows)


def split_source(source: Source, config: DataConfig, seed: int) -> Splits:
    """Take what the source provides and carve the rest from its train rows.

    Raises:
        UserError: a class is too small to have an image in every split.
    """
    generator = np.random.default_rng(seed)
    train = source.provided["train"]
    carved = {}
    for name, share in (("test", config.test_share), ("validation", config.validation_share)):
        if name in source.provided:
            carved[name] = source.provided[name]
        else:
            count = round(share * len(train))
            carved[name], train = _carve(source.labels, train, count, generator, at_least=1)
            _check_every_class_remains(source, train)
    count = min(config.calibration_size, int(MAX_CALIBRATION_SHARE * len(train)))
    carved["calibration"], train = _carve(source.labels, train, count, generator, at_least=0)
    _check_every_class_remains(source, train)
    return Splits(train=train, **carved)


def _carve(
    labels: np.ndarray, rows: np.ndarray, count: int, generator: np.random.Generator, at_least: int
) -> tuple[np.ndarray, np.ndarray]:
    """Draw `count` of the rows; return the drawn rows and the others, both in table order.

    Each class gives its share of `count`, by largest remainders, and `at_least` so many.
    scikit-learn's `train_test_split(stratify=...)` refuses fewer images than classes and does
    not promise one of each class; small folders need both.
    """
    present, sizes = np.unique(labels[rows], return_counts=True)
    quotas = count * sizes / len(rows)
    counts = np.floor(quotas).astype(int)
    largest_remainders = np.argsort(counts - quotas, kind="stable")
    counts[largest_remainders[: count - counts.sum()]] += 1
    drawn = [
        generator.permutation(rows[labels[rows] == label])[: max(at_least, taken)]
        for label, taken in zip(present, counts, strict=True)
    ]
    chosen = np.sort(np.concatenate(drawn))
    return chosen, np.setdiff1d(rows, chosen, assume_unique=True)


def _check_every_class_remains(source: Source, train: np.ndarray) -> None:
    """Hold what is left of train to an image of every class."""
    counts = np.bincount(source.labels[train], minlength=len(source.class_names))
    if counts.min():
        return
    smallest = int(counts.argmin())
    # Train keeps one, and each split that the source does not bring takes one at least.
    needed = 1 + sum(split not in source.provided for split in ("validation", "test"))
    had = int(np.sum(source.labels[source.provided["train"]] == smallest))
    what = f"class {source.class_names[smallest]!r} of {source.name}"
    if had < needed:
        raise UserError(
            f"every class needs at least {needed} images in train, one for each split that is made of it; "
            f"{what} has {had} (add images, or take the class out)"
        )
    flags = ", ".join(map(flag, ("validation_share", "test_share", "calibration_size")))
    raise UserError(
        "every class needs an image to train on after the other splits took theirs; "
        f"{what} has none left of {had} (lower what they take: {flags})"
    )


def leave_out(source: Source, splits: Splits, rows: Mapping[str, np.ndarray]) -> Splits:
    """Take rows out of splits that are drawn; every other row stays where it is.

    Args:
        source: the table.
        splits: as they are drawn.
        rows: split -> int64 rows.

    Raises:
        UserError: a class would have no image to train on, or validation or test none at all.
    """
    left = Splits(**{name: np.setdiff1d(of, rows[name]) for name, of in vars(splits).items()})
    counts = np.bincount(source.labels[left.train], minlength=len(source.class_names))
    empty = [f"no image of {source.class_names[label]!r} in train" for label in np.flatnonzero(counts == 0)]
    empty += [f"none in {name}" for name in ("validation", "test") if not len(getattr(left, name))]
    if empty:
        raise UserError(
            "--exclude must leave an image of each class in train, and one in validation and in test; it "
            f"would leave {empty[0]}"
        )
    return left


def fingerprint(source: Source, rows: np.ndarray) -> str:
    """SHA-256 over the rows' digests and labels: equal for equal images, labels and order."""
    digest = hashlib.sha256(np.ascontiguousarray(source.digests[rows]).tobytes())
    digest.update(source.labels[rows].astype("<i8").tobytes())
    return digest.hexdigest()


def describe_splits(source: Source, splits: Splits) -> dict[str, Any]:
    """Record of the splits for `splits.json`: size, images a class and fingerprint of each."""
    described = {}
    for name, rows in vars(splits).items():
        counts = np.bincount(source.labels[rows], minlength=len(source.class_names))
        described[name] = {
            "images": len(rows),
            "per_class": counts.tolist(),
            "fingerprint": fingerprint(source, rows),
        }
    return {"source": source.name, "class_names": list(source.class_names), "splits": described}
