"""What networks answer for one image, with where the Keras network looks and how long each takes."""

import base64
import io
import itertools
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from evaluation.explain.explanation import build_explainers, draw_overlays
from export.formats import FORMATS
from pipeline.data.class_names import as_label
from pipeline.errors import UserError
from pipeline.prediction.answers import build_wording
from pipeline.prediction.classifier import Classifier, build_classifier
from pipeline.prediction.model_file import ModelFile
from serving.server import Answer, Content

RUNS, ENOUGH = 5, 0.05
"""How often a network is timed for an image, within so many seconds: whoever waits must not notice."""

EXPLAINED = 6
"""Classes of an image that are explained, at most."""


@dataclass(frozen=True)
class Network:
    """One that answers.

    Attributes:
        name: as a report calls it: `keras`, or the format of an exported file.
        path: its file.
        classifier: the network itself.
    """

    name: str
    path: Path
    classifier: Classifier


def load_networks(models: Sequence[ModelFile]) -> list[Network]:
    """Load the networks that answer side by side.

    Raises:
        UserError: one is damaged, or they do not tell the same classes.
    """
    networks = [Network(_name(model.path), model.path, build_classifier(model)) for model in models]
    first = networks[0]
    for other in networks[1:]:
        if _labels(other.classifier) != _labels(first.classifier):
            raise UserError(
                f"an export must be of the run that it lies in; {other.path} has other classes than "
                f"{first.path} (which can be served by itself)"
            )
    return networks


def _name(path: Path) -> str:
    formats = {kind.file: kind.name for kind in FORMATS.values()}
    return "keras" if path.suffix == ".keras" else formats.get(path.name, path.stem)


def _labels(classifier: Classifier) -> list[str]:
    return list(map(as_label, classifier.class_names))


def build_answer(networks: Sequence[Network], top: int | None, unsure: float) -> Answer:
    """Build what answers for the content of an image file, in JSON.

        {"seen": URI, "networks": [{
            "name": "keras", "answer": "cat", "milliseconds": 1.2,
            "classes": [{"name": "cat", "probability": 0.9602, "evidence": URI}, ...]}, ...]}

    `seen` is what the first network sees of the image, the square that it was resized to; `evidence`
    Grad-CAM of the class over it, of the first `EXPLAINED`, null where the network is not Keras' or
    has no feature maps;
    `milliseconds` of the network for this one image, decoding aside, the median of a few runs.
    Decoding, answers and probabilities are those of `predict.py`.

    Args:
        networks: who answers; of the same classes.
        top: classes that are named; None for the usual number.
        unsure: least probability of the best class that is an answer.

    Raises:
        UserError: there are not as many classes as asked.
    """
    first = networks[0].classifier
    wording = build_wording(first.class_names, top, unsure)
    explainers = build_explainers(first.network, []) if first.network else {}

    def answer_of(network: Network, pixels: np.ndarray) -> dict[str, Any]:
        probabilities, seconds = _timed(network.classifier.predict, pixels[None])
        (ranked,), (labels,) = wording.rank(probabilities), wording.best(probabilities)
        explained = labels[:EXPLAINED]
        copies = np.repeat(pixels[None], len(explained), axis=0)
        drawn = draw_overlays(explainers, copies, {"evidence": (network.name, explained)})
        evidence = [_as_uri(image) for image in drawn.get("evidence", [])]
        return {
            "name": network.name,
            "answer": wording.answer(ranked),
            "milliseconds": 1000 * seconds,
            "classes": [
                {"name": name, "probability": float(probability), "evidence": uri}
                for (name, probability), uri in itertools.zip_longest(ranked, evidence)
            ],
        }

    def answer(content: bytes) -> Content:
        seen = [network.classifier.read(content) for network in networks]
        described = {
            "seen": _as_uri(seen[0]),
            "networks": [answer_of(*pair) for pair in zip(networks, seen, strict=True)],
        }
        return Content("application/json", json.dumps(described).encode())

    # What is traced at the first image would make it the slowest.
    for network in networks:
        size = network.classifier.image_size
        answer_of(network, np.zeros((size, size, 3), np.uint8))
    return answer


def _timed(predict: Callable[[np.ndarray], np.ndarray], pixels: np.ndarray) -> tuple[np.ndarray, float]:
    """Return probabilities, and the median seconds of `RUNS` runs or as many as begin in `ENOUGH`."""
    seconds: list[float] = []
    while len(seconds) < RUNS and sum(seconds) < ENOUGH:
        start = time.perf_counter()
        probabilities = predict(pixels)
        seconds.append(time.perf_counter() - start)
    return probabilities, statistics.median(seconds)


def _as_uri(pixels: np.ndarray) -> str:
    """Encode uint8 [height, width, 3] as a PNG inside a URI."""
    content = io.BytesIO()
    Image.fromarray(pixels).save(content, "png")
    return f"data:image/png;base64,{base64.b64encode(content.getvalue()).decode()}"
