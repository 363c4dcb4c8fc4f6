"""Pretrained weights in the network's own terms, and into a network: all that fit or none."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from pipeline.config.architectures import (
    ARCHITECTURES,
    DenseArchitecture,
    MobileArchitecture,
    ResidualArchitecture,
    VGGArchitecture,
)
from pipeline.config.option import flag
from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError
from pipeline.models import build_model
from pipeline.models.blocks import EXPANSION
from pipeline.models.names import HEAD, block_layer, blocks_per_stage, shortcut_of, stage_name, stem_layer

NORM_EPSILON = 1e-5
"""What norms add to their variance, where nothing else is said."""

SHOWN = 3
"""How many differences a message shows."""

LARGE_ENOUGH = (64, 64, 3)
"""An image that every stem and stage can halve; no weight of theirs depends on its size."""

Shapes = list[tuple[int, ...]]


@dataclass(frozen=True, eq=False)
class Pretrained:
    """Weights to start from.

    Attributes:
        origin: where they come from, for printing.
        layers: layer name -> float32 arrays in the order of the Keras layer: kernel, bias; gamma,
            beta, moving mean, moving variance.
        shortcut: how blocks change shape: `projection`, `pooling`, `zero_padding` or `none`.
            Networks that differ in nothing else have the same arrays and other logits.
        mean: of each channel, in units of [0, 255]: what the weights want subtracted.
        std: of each channel, in units of [0, 255]: what they want divided by.
        class_names: logit of the head -> name; None where the source does not tell.
        norm_epsilon: what their norms add to the variance.
    """

    origin: str
    layers: dict[str, list[np.ndarray]]
    shortcut: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    class_names: tuple[str, ...] | None = None
    norm_epsilon: float = NORM_EPSILON

    @property
    def fingerprint(self) -> str:
        """SHA-256 over the layers' names, shapes and bytes and the normalisation, as hex."""
        digest = hashlib.sha256(repr((self.shortcut, self.mean, self.std)).encode())
        for name, arrays in sorted(self.layers.items()):
            for array in arrays:
                digest.update(f"{name} {array.shape}".encode())
                digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def assign_pretrained(pretrained: Pretrained, network: keras.Model, class_names: Sequence[str]) -> list[str]:
    """Give the layers of `network` the pretrained weights of the same name.

    The head stays as it is where the weights have none, or one for another number of classes, or
    for classes of other names or in another order: it would answer for them. Where the source
    does not tell the names, a head for as many classes is taken.

    Args:
        pretrained: the weights.
        network: one of `pipeline.models`.
        class_names: logit of the network -> name.

    Returns:
        The names of the layers left as they were: `["head"]` or none.

    Raises:
        UserError: any other layer is missing, extra or of another shape, or the shortcuts differ;
            the network is then as it was.
    """
    if differences := _mismatches(pretrained, network):
        more = len(differences) - SHOWN
        listed = "; ".join(differences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        fitting = _fitting_flags(pretrained)
        hint = f" (a network for them: {fitting})" if fitting else ""
        raise UserError(f"--weights must fit the network; of {pretrained.origin} {listed}{hint}")
    others = pretrained.class_names is not None and pretrained.class_names != tuple(class_names)
    fresh = [HEAD] if others or _head_is_new(pretrained, network) else []
    for name, arrays in pretrained.layers.items():
        if name not in fresh:
            layer = network.get_layer(name)
            if isinstance(layer, keras.layers.BatchNormalization):
                arrays = change_epsilon(arrays, pretrained.norm_epsilon, layer.epsilon)
            layer.set_weights(arrays)
    return fresh


def change_epsilon(arrays: list[np.ndarray], old: float, new: float) -> list[np.ndarray]:
    """Return the arrays with which a norm of epsilon `new` does what it did with `old`.

    It divides by sqrt(variance + epsilon), so that the difference moves into the variance, the
    last of the arrays.
    """
    return arrays if old == new else [*arrays[:-1], arrays[-1] + np.float32(old - new)]


def _mismatches(pretrained: Pretrained, network: keras.Model) -> list[str]:
    """Describe each layer but a new head that only one of the two has, or of another shape.

    Networks of the same weights but other shortcuts differ as well.
    """
    theirs, ours = _theirs(pretrained), _ours(network)
    if _head_is_new(pretrained, network):
        theirs.pop(HEAD, None)
        del ours[HEAD]
    differences = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in theirs:
            differences.append(f"{name} is missing")
        elif name not in ours:
            differences.append(f"{name} has no place")
        elif theirs[name] != ours[name]:
            differences.append(f"{name} is {_text(theirs[name])}, here {_text(ours[name])}")
    shortcut = shortcut_of(layer.name for layer in network.layers)
    if pretrained.shortcut != shortcut:
        differences.insert(0, f"the shortcut is {pretrained.shortcut}, here {shortcut}")
    return differences


def _head_is_new(pretrained: Pretrained, network: keras.Model) -> bool:
    """Whether the network's head cannot be taken over, and is to be trained from the start."""
    theirs, ours = _theirs(pretrained).get(HEAD), _ours(network).get(HEAD)
    if ours is None:
        return False
    return theirs is None or (theirs[0][:-1] == ours[0][:-1] and theirs[0] != ours[0])


def _theirs(pretrained: Pretrained) -> dict[str, Shapes]:
    return {name: [each.shape for each in arrays] for name, arrays in pretrained.layers.items()}


def _ours(network: keras.Model) -> dict[str, Shapes]:
    return {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in network.layers
        if layer.weights
    }


def _text(shapes: Shapes) -> str:
    return " + ".join(str(shape) for shape in shapes)


def _fitting_flags(pretrained: Pretrained) -> str | None:
    """Name the flags of a network of blocks that takes the weights, as far as there is one.

    Each candidate is built and tried, so that what is named does fit.
    """
    for settings in _candidates(pretrained):
        try:
            network = build_model(
                ModelConfig(**settings),
                input_shape=LARGE_ENOUGH,
                classes=1,
                pixel_mean=pretrained.mean,
                pixel_std=pretrained.std,
                seed=0,
            )
        except UserError:
            continue
        if not _mismatches(pretrained, network):
            return " ".join(f"{flag(name)} {value}" for name, value in settings.items())
    return None


def _candidates(pretrained: Pretrained) -> Iterator[dict[str, Any]]:
    """Yield settings of networks like it, those that have its shortcuts by themselves first."""
    layers = pretrained.layers
    yield from _not_residual(layers)
    blocks = blocks_per_stage(layers)
    bottleneck = block_layer(1, 1, "conv3") in layers
    last = layers.get(block_layer(1, 1, "conv3" if bottleneck else "conv1"))
    stem = layers.get(stem_layer("conv"))
    if last is None or not (stem or stem_layer("conv1") in layers):
        return
    found = [
        (architecture.shortcut != pretrained.shortcut, name)
        for name, architecture in ARCHITECTURES.items()
        if isinstance(architecture, ResidualArchitecture)
        and architecture.blocks == blocks
        and (architecture.block == "bottleneck") == bottleneck
    ]
    for differs, name in sorted(found, key=lambda each: each[0]):
        settings = {
            "model": name,
            "width": last[0].shape[-1] // (EXPANSION if bottleneck else 1),
            "stem": "deep" if stem is None else "imagenet" if stem[0].shape[0] == 7 else "cifar",
        }
        if differs:
            settings["shortcut"] = pretrained.shortcut
        yield settings


def _not_residual(layers: Mapping[str, list[np.ndarray]]) -> Iterator[dict[str, Any]]:
    """Yield settings of networks of as many other blocks, as wide as what the width is of."""
    blocks = blocks_per_stage(layers)
    for name, network in ARCHITECTURES.items():
        match network:
            case MobileArchitecture():
                fits, first = tuple(s.blocks for s in network.stages) == blocks, block_layer(1, 1, "conv3")
            case DenseArchitecture():
                fits, first = network.blocks == blocks, stem_layer("conv")
            case VGGArchitecture():
                fits, first = not blocks, f"{stage_name(1)}_conv1"
            case _:
                continue
        if fits and first in layers:
            yield {"model": name, "width": layers[first][0].shape[-1]}
