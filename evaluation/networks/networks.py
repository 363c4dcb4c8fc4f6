"""The networks that are measured: the Keras network and its exported files, pixels to logits."""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import keras
import numpy as np

from evaluation.metrics.answers import Answers
from evaluation.networks.deployed import DeployedFile
from export.verify.accuracy import predict_all
from pipeline.console.progress import Progress


@dataclass(frozen=True)
class Network:
    """Something that answers.

    Attributes:
        name: `keras`, or the format of an exported file.
        file: the file it comes from.
        predict: from uint8 pixels [images, height, width, 3] to float32 logits
            [images, classes].
        folded_temperature: that its logits were divided by when it was exported.
    """

    name: str
    file: str
    predict: Callable[[np.ndarray], np.ndarray]
    folded_temperature: float = 1.0


def answer(
    networks: Sequence[Network], batches: Iterable[np.ndarray], labels: np.ndarray, progress: Progress
) -> list[Answers]:
    """Let every network answer for the same images, each batch being made only once.

    Args:
        networks: who answers.
        batches: uint8 [batch, height, width, 3] each.
        labels: int64, of the images of all batches.
        progress: counts each image once for every network.
    """
    logits = predict_all({network.name: network.predict for network in networks}, batches, progress)
    return [Answers(labels, of_network) for of_network in logits.values()]


def keras_network(model: keras.Model, file: str) -> Network:
    """Let the trained model answer."""
    return Network("keras", file, model.predict_on_batch)


def deployed_network(file: DeployedFile) -> Network:
    """Let an exported file answer.

    Of one that returns probabilities, the logarithms are its logits. Quantised to steps of 1/256
    they reach 0, which is read as half a step.
    """
    if file.output == "logits":
        return Network(file.name, file.file, file.tflite.predict, file.temperature)
    scales = file.tflite.graph.output.scales
    least = scales[0] / 2 if len(scales) else np.finfo(np.float32).tiny

    def predict(images: np.ndarray) -> np.ndarray:
        return np.log(np.maximum(file.tflite.predict(images), np.float32(least)))

    return Network(file.name, file.file, predict, file.temperature)


def with_mirror_image(network: Network) -> Network:
    """Average the probabilities of each image and of its mirror image (left and right).

    As Krizhevsky et al. 2012, section 4.1, do with crops and their reflections.
    """

    def predict(images: np.ndarray) -> np.ndarray:
        labels = np.zeros(len(images), np.int64)
        both = [
            Answers(labels, network.predict(seen)).probabilities
            for seen in (images, np.ascontiguousarray(images[:, :, ::-1]))
        ]
        return np.log(np.maximum(np.mean(both, axis=0), np.finfo(np.float64).tiny))

    return dataclasses.replace(network, predict=predict)
