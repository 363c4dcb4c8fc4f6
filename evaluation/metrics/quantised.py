"""An exported file beside the Keras network, image by image: what it lost, and where."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluation.metrics.answers import Answers
from export.verify.comparison import Comparison, paired_comparison


def newly_broken(keras: Answers, deployed: Answers) -> np.ndarray:
    """Return places of images that only Keras gets right, those it was surest of first."""
    broken = np.flatnonzero(keras.right & ~deployed.right)
    return broken[np.argsort(-keras.confidence[broken], kind="stable")]


def describe_quantised(keras: Answers, deployed: Answers, class_names: Sequence[str]) -> dict[str, Any]:
    """Build the figures of an exported file beside the Keras network, on the same images."""
    comparison = paired_comparison(keras.labels, keras.logits, deployed.logits)
    classes = _classes(keras, deployed, class_names)
    return {**describe_difference(comparison), "classes": classes}


def describe_difference(comparison: Comparison) -> dict[str, Any]:
    """Build the figures of two networks on the same images."""
    return {
        "drop_points": comparison.drop,
        "drop_interval_95_points": list(comparison.interval),
        "agreement": comparison.agreement,
        "lost": comparison.lost,
        "won": comparison.won,
    }


def _classes(keras: Answers, deployed: Answers, class_names: Sequence[str]) -> list[dict[str, Any]]:
    """Recall of each class that has images, those that lost most first."""
    rows = []
    for label in np.unique(keras.labels):
        places = np.flatnonzero(keras.labels == label)
        before, after = keras.take(places), deployed.take(places)
        comparison = paired_comparison(before.labels, before.logits, after.logits)
        low, high = comparison.interval
        rows.append(
            {
                "class": class_names[label],
                "keras": comparison.float_accuracy,
                "quantised": comparison.accuracy,
                "change_points": -comparison.drop,
                "change_interval_95_points": [-high, -low],
            }
        )
    return sorted(rows, key=lambda row: row["change_points"])
