"""What the Keras network and its files answer for the images of a split, one by one."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import keras
import numpy as np

from export.onnx.file import OnnxFile
from export.verify.comparison import Comparison, paired_comparison
from pipeline.console.progress import Progress
from pipeline.data.batches import Examples, build_evaluation_batches
from pipeline.tflite.file import TFLiteFile

BATCH = 128

Predict = Callable[[np.ndarray], np.ndarray]
"""From uint8 pixels [images, height, width, 3] to float32 scores [images, classes]."""


def predict_all(
    networks: Mapping[str, Predict], batches: Iterable[np.ndarray], progress: Progress
) -> dict[str, np.ndarray]:
    """Let every network answer for the same images, each batch being made only once.

    Args:
        networks: name -> who answers.
        batches: uint8 [batch, height, width, 3] each.
        progress: counts each image once for every network.

    Returns:
        Name -> scores of the images of all batches, float32 [images, classes].
    """
    scores: dict[str, list[np.ndarray]] = {name: [] for name in networks}
    for images in batches:
        for name, predict in networks.items():
            scores[name].append(predict(images))
            progress.update(len(images), name)
    return {name: np.concatenate(parts) for name, parts in scores.items()}


class Split:
    """The images of a split, which one network after another answers for.

    They are decoded once, unless they are too many to be kept; see `build_evaluation_batches`.

    Args:
        examples: the images.

    Attributes:
        labels: int64 [images].
        answered: how often each network, by its name, answered for them.
    """

    def __init__(self, examples: Examples) -> None:
        self.answered: Counter[str] = Counter()
        self.labels = examples.source.labels[examples.rows]
        self._batches = build_evaluation_batches(examples, global_batch_size=BATCH)

    def predict(self, networks: Mapping[str, Predict]) -> dict[str, np.ndarray]:
        """Let every network answer for all images, in their order; see `predict_all`."""
        self.answered.update(networks.keys())
        images = (images for images, _, _ in self._batches.as_numpy_iterator())
        label = f"testing {', '.join(networks)}"
        with Progress(len(networks) * len(self.labels), label, "images") as progress:
            return predict_all(networks, images, progress)


@dataclass(frozen=True)
class KerasAnswers:
    """What the Keras network answers for a split, which files are compared with.

    Attributes:
        split: the images.
        scores: float32 [images, classes].
    """

    split: Split
    scores: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right answers, in [0, 1]."""
        return self._compare(self.scores).accuracy

    def compare_files(self, files: Mapping[str, TFLiteFile | OnnxFile]) -> dict[str, Comparison]:
        """Let every file answer for every image, and compare it with the Keras network."""
        if not files:
            return {}
        scores = self.split.predict({name: file.predict for name, file in files.items()})
        return {name: self._compare(of_file) for name, of_file in scores.items()}

    def _compare(self, scores: np.ndarray) -> Comparison:
        return paired_comparison(self.split.labels, self.scores, scores)


def answer_with_keras(network: keras.Model, split: Split) -> KerasAnswers:
    """Let the Keras network, pixels to scores, answer for a split."""
    return KerasAnswers(split, split.predict({"keras": network.predict_on_batch})["keras"])
