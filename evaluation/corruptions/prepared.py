"""CIFAR-10-C as its authors made it: the set `cifar10_corrupted` of TensorFlow Datasets."""

from collections.abc import Iterable

import numpy as np

from evaluation.corruptions.corrupt import BATCH, CORRUPTIONS, SEVERITIES, Corrupted
from pipeline.config.tfds_folder import tfds_folder

SET = "cifar10_corrupted"

TFDS_NAMES = {"glass_blur": "frosted_glass_blur", "elastic_transform": "elastic"}
"""Corruptions that TFDS calls otherwise than their authors."""


def find_prepared() -> list[str]:
    """Return the corruptions that lie prepared on this machine at every severity."""
    folder = tfds_folder() / SET
    if not folder.is_dir():
        return []
    import tensorflow_datasets as tfds

    def is_prepared(name: str, severity: int) -> bool:
        builder = tfds.builder(_config(name, severity), data_dir=tfds_folder())
        return builder.is_prepared()

    return [
        name
        for name in CORRUPTIONS
        if (folder / _config(name, 1).partition("/")[2]).is_dir()
        and all(is_prepared(name, severity) for severity in SEVERITIES)
    ]


def _config(name: str, severity: int) -> str:
    return f"{SET}/{TFDS_NAMES.get(name, name)}_{severity}"


def read_prepared(count: int, seed: int) -> Corrupted:
    """Read corrupted images of CIFAR-10's test split.

    Args:
        count: images of each corruption and severity, at most; the same of all.
        seed: of the draw.
    """
    import tensorflow_datasets as tfds

    def load(name: str, severity: int) -> tuple[Iterable[np.ndarray], np.ndarray]:
        every = tfds.load(
            _config(name, severity),
            split="test",
            as_supervised=True,
            batch_size=-1,
            data_dir=tfds_folder(),
            download=False,
        )
        images, labels = tfds.as_numpy(every)
        drawn = np.sort(np.random.default_rng(seed).permutation(len(images))[:count])
        batches = (images[drawn[at : at + BATCH]] for at in range(0, len(drawn), BATCH))
        return batches, labels[drawn].astype(np.int64)

    return load
