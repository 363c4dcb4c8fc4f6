"""From raw images to a trained, exactly resumable image classifier."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pipeline.prediction.classifier import Classifier

__all__ = [
    "config",
    "console",
    "data",
    "environment",
    "errors",
    "files",
    "finished_run",
    "hosts",
    "inspection",
    "load_classifier",
    "models",
    "page",
    "pareto",
    "places",
    "prediction",
    "pretrained",
    "ready_models",
    "run_directory",
    "shards",
    "tflite",
    "training",
]


def load_classifier(path: str | os.PathLike[str]) -> "Classifier":
    """Load a trained network that answers for images of any size.

        classify = load_classifier("runs/x")
        answers = classify(["cat.jpg", "dog.jpg"])
        answers.classes          # ["cat", "dog"]
        answers.probabilities    # float32 [2, classes], each row adds up to 1

    What it takes, and that it decodes and resizes as in training, is with `Classifier`.

    Args:
        path: a run directory, a bundle, a .tflite file of one, a .keras file or the name of a ready
            model; see `find_model`.

    Raises:
        UserError: it is none of these, or unfinished or damaged.
    """
    # TensorFlow takes seconds to load, and whoever imports a part of this package may not need it.
    from pipeline.console.quiet_start import load_tensorflow_quietly
    from pipeline.prediction.model_file import find_model

    model = find_model(os.fspath(path))
    load_tensorflow_quietly()
    from pipeline.prediction.classifier import build_classifier

    return build_classifier(model)
