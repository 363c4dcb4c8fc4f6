"""Pretrained weights in the network's own terms: layer names, array order, normalisation."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

NORM_EPSILON = 1e-5
"""What every norm of this pipeline adds to its variance."""


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights to start from.

    Attributes:
        origin: where they come from, for printing.
        layers: layer name -> float32 arrays in the order of the Keras layer: kernel, bias; gamma,
            beta, moving mean, moving variance (of norms with an epsilon of 1e-5).
        shortcut: how blocks change shape: `projection`, `pooling`, `zero_padding` or `none`.
            Networks that differ in nothing else have the same arrays and other logits.
        mean: of each channel, in units of [0, 255]: what the weights want subtracted.
        std: of each channel, in units of [0, 255]: what they want divided by.
    """

    origin: str
    layers: dict[str, list[np.ndarray]]
    shortcut: str
    mean: tuple[float, ...]
    std: tuple[float, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the layers' names, shapes and bytes and the normalisation, as hex."""
        digest = hashlib.sha256(repr((self.shortcut, self.mean, self.std)).encode())
        for name, arrays in sorted(self.layers.items()):
            for array in arrays:
                digest.update(f"{name} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def shortcut_of(layer_names: Iterable[str]) -> str:
    """Tell from the names of all of a network's layers how its blocks change shape."""
    names = tuple(layer_names)
    for ending, kind in (
        ("_shortcut_pool", "pooling"),
        ("_shortcut_subsample", "zero_padding"),
        ("_projection", "projection"),
    ):
        if any(name.endswith(ending) for name in names):
            return kind
    return "none"
