"""How accuracy falls when images are corrupted."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.corruptions.corrupt import CORRUPTIONS
from evaluation.metrics.intervals import RESAMPLES, as_json, bootstrap, percentile, share
from export.verify.comparison import Z95


def describe_robustness(
    clean: np.ndarray, right: Mapping[str, Sequence[np.ndarray]], seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Build the figures of one network.

    The mean is over all corruptions and severities, each with the same weight (Hendrycks and
    Dietterich 2019, section 4.2, before it is divided by AlexNet's); its interval is by
    resampling the images.

    Args:
        clean: whether images are answered rightly as they are, bool [clean images].
        right: corruption -> for each severity whether each corrupted image is, bool [images].
        seed: of the resampling.
        resamples: of the images.
    """
    table = np.array([right[name] for name in right])
    by_image = table.mean(axis=(0, 1))
    resampled = bootstrap(lambda rows: by_image[rows].mean(), len(by_image), seed, resamples)
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
