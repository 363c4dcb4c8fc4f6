"""The file of weights, read: arrays by layer, names of the classes, and the pixels that they expect."""

import hashlib
from pathlib import Path

import numpy as np
from safetensors import safe_open

from pipeline.errors import UserError
from pipeline.models.efficientnet_lite import NORM_EPSILON
from pipeline.pretrained.weights import Pretrained

FILE = Path(__file__).with_name("imagenet.safetensors")
"""float16 arrays called `<layer>/<variable>`, with the ImageNet names of the logits."""

SHA256 = "c9bdfdcc1842e561d993181c0d649c47d2ca905adc34ccab9140fe9828b17b18"
PIXEL_MEAN, PIXEL_STD = (127.0,) * 3, (128.0,) * 3
"""What the weights learned from; efficientnet_lite_builder.py of github.com/tensorflow/tpu."""

VARIABLES = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")
"""Of convolutions, dense layers and norms, in Keras' order."""


def read_imagenet_weights(file: Path = FILE) -> Pretrained:
    """Read the network as it was trained on ImageNet's 1,000 classes (ILSVRC 2012).

    Raises:
        UserError: the file is missing, or not the one that came with the project.
    """
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        raise UserError(f"--weights imagenet must be readable; {file}: {error.strerror}") from None
    if found != SHA256:
        raise UserError(
            f"--weights imagenet must be the file that came with the project, SHA-256 {SHA256}; "
            f"{file} has {found}"
        )
    layers: dict[str, list[np.ndarray]] = {}
    with safe_open(file, framework="numpy") as tensors:
        for name in sorted(tensors.keys(), key=lambda name: VARIABLES.index(name.partition("/")[2])):
            layers.setdefault(name.partition("/")[0], []).append(tensors.get_tensor(name).astype(np.float32))
    return Pretrained(
        origin=f"EfficientNet-Lite0 trained on ImageNet, Apache-2.0, SHA-256 {SHA256[:16]}...",
        layers=layers,
        shortcut="none",
        mean=PIXEL_MEAN,
        std=PIXEL_STD,
        class_names=imagenet_class_names(),
        norm_epsilon=NORM_EPSILON,
    )


def imagenet_class_names() -> tuple[str, ...]:
    """List the WordNet ids of ImageNet's 1,000 classes in the order of their labels."""
    with safe_open(FILE, framework="numpy") as tensors:
        return tuple(tensors.metadata()["classes"].split())
