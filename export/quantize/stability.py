"""How stable calibration is: the int8 files of either half of the images beside each other."""

from dataclasses import dataclass

import numpy as np

from export.quantize.strategies import Strategy
from export.verify.accuracy import Split
from export.verify.comparison import paired_comparison
from pipeline.tflite.file import TFLiteFile


@dataclass(frozen=True)
class Halves:
    """How far calibrating on either half of the images leads apart.

    Attributes:
        images: in each half.
        median_scale_change: of the activations' scales, relative.
        largest_scale_change: relative.
        largest_layer: the Keras layer it is at.
        agreement: share of validation's images on which both answer alike.
        accuracies: of either on validation.
    """

    images: tuple[int, int]
    median_scale_change: float
    largest_scale_change: float
    largest_layer: str
    agreement: float
    accuracies: tuple[float, float]


def compare_halves(float32: TFLiteFile, strategy: Strategy, validation: Split) -> Halves:
    """Quantise by either half of the calibration images and see how far the results differ.

    Args:
        float32: the network in float32.
        strategy: how to quantise; its images are in random order.
        validation: the images on which both answer.
    """
    halves = np.array_split(strategy.calibration.images, 2)
    files = [strategy.quantize(float32, half) for half in halves]
    changes = scale_changes(*files)
    largest = max(changes, key=lambda layer: changes[layer])
    scores = validation.predict({f"half {k}": file.predict for k, file in enumerate(files, start=1)})
    comparison = paired_comparison(validation.labels, *scores.values())
    return Halves(
        images=(len(halves[0]), len(halves[1])),
        median_scale_change=float(np.median(list(changes.values()))),
        largest_scale_change=changes[largest],
        largest_layer=largest,
        agreement=comparison.agreement,
        accuracies=(comparison.float_accuracy, comparison.accuracy),
    )


def scale_changes(one: TFLiteFile, other: TFLiteFile) -> dict[str, float]:
    """How far the scale of each layer's output differs between two int8 files of one network.

    Returns:
        Keras layer -> |s1 - s2| / mean(s1, s2), in [0, 2]; the greatest of its operations'.
    """
    changes: dict[str, float] = {}
    for first, second in zip(one.graph.operations, other.graph.operations, strict=True):
        if len(first.output.scales):
            scales = first.output.scales[0], second.output.scales[0]
            change = float(abs(scales[0] - scales[1]) / np.mean(scales))
            changes[first.layer] = max(change, changes.get(first.layer, 0.0))
    return changes
