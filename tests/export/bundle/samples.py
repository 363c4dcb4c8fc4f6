"""What the tests of the report share: ten images' answers, and errors of layers."""

import json
import math

import numpy as np

from export.quantize.layer_error import LayerError
from export.verify.comparison import paired_comparison
from pipeline.tflite.latency import Latency

NAMES = ("cat", "dog", "owl", "yak")

# Of ten images, three a class and none of a yak, Keras knows nine and the converted eight: two
# cats lost, an owl won.
LABELS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 2])
KERAS = np.array([0, 0, 0, 0, 1, 1, 1, 2, 2, 3])
CONVERTED = np.array([0, 0, 1, 1, 1, 1, 1, 2, 2, 2])


def comparison(converted: np.ndarray = CONVERTED):
    return paired_comparison(LABELS, np.eye(4)[KERAS], np.eye(4)[converted])


def latency(p50_ms: float, threads: int = 1) -> Latency:
    return Latency(threads, 9.5, p50_ms, 3.0, 4.0, 5.0, 800.0, None, 50, 2, 3)


FIRST = "10 images, full range"
SECOND = "40 images, least squared error, conv1 and pool in float32"
"""Names of the two strategies."""

ERRORS = [
    LayerError("conv1", "CONV_2D", "conv1;relu1", -0.75),
    LayerError("add", "ADD", "add", 12.25),
    *(LayerError(f"conv{k}", "CONV_2D", f"conv{k}", 20.0 + k) for k in range(2, 11)),
    LayerError("head", "RESHAPE", "head", math.inf),
]


def without_nan(text: str):
    def refuse(name: str) -> None:
        raise ValueError(name)

    return json.loads(text, parse_constant=refuse)
