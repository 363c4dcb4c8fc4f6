"""The judge: what the Keras network answers for the whole test split, and who answers alike."""

import os
from collections.abc import Callable, Mapping

import keras
import numpy as np

from export.tflite.interpreter import LiteRTModel
from export.verify.comparison import Comparison, compare
from pipeline.console.progress import Progress
from pipeline.data.batches import Examples, build_evaluation_batches

THREADS = os.cpu_count() or 1


class Judge:
    """Compares TFLite files with the Keras network on the same images.

    Args:
        network: the Keras network, pixels to scores.
        test: the images.

    Attributes:
        images: how many there are.
    """

    def __init__(self, network: keras.Model, test: Examples) -> None:
        self._batches = build_evaluation_batches(test, global_batch_size=128)
        self.images = len(test)
        self._labels = test.source.labels[test.rows]
        self._expected = self._run({"keras": network.predict_on_batch}, "testing Keras")["keras"]

    @property
    def float_accuracy(self) -> float:
        """Accuracy of the Keras network, in [0, 1]."""
        return self.compare(self._expected).accuracy

    def scores(self, files: Mapping[str, bytes]) -> dict[str, np.ndarray]:
        """Let every file answer for every image: name -> float32 [images, classes]."""
        if not files:
            return {}
        models = {name: LiteRTModel(content, threads=THREADS) for name, content in files.items()}
        label = f"testing {', '.join(files)}"
        return self._run({name: model.predict for name, model in models.items()}, label)

    def compare(self, scores: np.ndarray) -> Comparison:
        """Compare scores for every image with the Keras network's."""
        return compare(self._labels, self._expected, scores)

    def _run(
        self, networks: Mapping[str, Callable[[np.ndarray], np.ndarray]], label: str
    ) -> dict[str, np.ndarray]:
        scores: dict[str, list[np.ndarray]] = {name: [] for name in networks}
        with Progress(self.images, label, "images") as progress:
            for images, _, _ in self._batches.as_numpy_iterator():
                for name, predict in networks.items():
                    scores[name].append(predict(images))
                progress.update(len(images))
        return {name: np.concatenate(parts) for name, parts in scores.items()}
