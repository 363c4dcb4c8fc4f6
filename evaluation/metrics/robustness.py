"""How accuracy falls when images are corrupted."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from evaluation.metrics.answers import Answers
from evaluation.metrics.intervals import as_json, bootstrap, percentile, share
from evaluation.networks.networks import Network, answer
from export.verify.comparison import Z95
from pipeline.console.progress import Progress

BATCH = 128


Corrupted = Callable[[str, int], tuple[Iterable[np.ndarray], np.ndarray]]
"""Corruption and severity -> batches, uint8 [batch, height, width, 3] each, and all labels."""


def corrupt_images(images: np.ndarray, labels: np.ndarray, seed: int) -> Corrupted:
    """Corrupt images, batch by batch, as CIFAR-10-C's definitions say.

    Args:
        images: uint8 [images, height, width, 3].
        labels: int64 [images].
        seed: what is random in a corruption is a function of it.
    """

    def load(name: str, severity: int) -> tuple[Iterable[np.ndarray], np.ndarray]:
        batches = (
            corrupt(images[first : first + BATCH], name, severity, seed, first=first)
            for first in range(0, len(images), BATCH)
        )
        return batches, labels

    return load


def measure_robustness(
    networks: Sequence[Network],
    names: Sequence[str],
    corrupted: Corrupted,
    clean: Sequence[Answers],
    seed: int,
    progress: Progress,
) -> list[dict[str, Any]]:
    """Measure every network on every corruption at every severity.

    Args:
        networks: what is measured.
        names: of the corruptions.
        corrupted: gives the images, the same ones for each corruption and severity.
        clean: what each network answers for images as they are.
        seed: of the intervals.
        progress: counts each corrupted image once for every network.
    """
    right: list[dict[str, list[np.ndarray]]] = [{} for _ in networks]
    for name in names:
        for severity in SEVERITIES:
            answers = answer(networks, *corrupted(name, severity), progress)
            for cells, answered in zip(right, answers, strict=True):
                cells.setdefault(name, []).append(answered.right)
    return [
        describe_robustness(answered.right, cells, seed) for answered, cells in zip(clean, right, strict=True)
    ]


def describe_robustness(
    clean: np.ndarray, right: Mapping[str, Sequence[np.ndarray]], seed: int
) -> dict[str, Any]:
    """Build the figures of one network.

    The mean is over all corruptions and severities, each with the same weight (Hendrycks and
    Dietterich 2019, section 4.2, before it is divided by AlexNet's); its interval is by
    resampling the images.

    Args:
        clean: whether images are answered rightly as they are, bool [clean images].
        right: corruption -> for each severity whether each corrupted image is, bool [images].
        seed: of the resampling.
    """
    table = np.array([right[name] for name in right])
    by_image = table.mean(axis=(0, 1))
    resampled = bootstrap(lambda rows: by_image[rows].mean(), len(by_image), seed)
    return {
        "images": table.shape[-1],
        **as_json({"clean": share(clean.sum(), len(clean)), "mean": percentile(by_image.mean(), resampled)}),
        # Half the width of the widest interval there is, that of a share of one half.
        "cell_margin": Z95 * 0.5 / math.sqrt(table.shape[-1]),
        "by_severity": table.mean(axis=(0, 2)).tolist(),
        "corruptions": {
            name: {
                "category": CORRUPTIONS[name].category,
                "accuracy": cells.mean(axis=1).tolist(),
                "mean": float(cells.mean()),
            }
            for name, cells in zip(right, table, strict=True)
        },
    }
