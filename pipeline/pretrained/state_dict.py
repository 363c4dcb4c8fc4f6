"""State dicts of PyTorch's residual networks, in the names of torchvision and its relatives.

Their names are `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.bn1`, `fc` (torchvision, timm) or
`linear` (kuangliu/pytorch-cifar, akamaster/pytorch_resnet_cifar10), and for the shortcuts
`downsample` or `shortcut`. Strides, padding and epsilon are not in a state dict: they are taken to
be those of the networks above, whose norms have PyTorch's epsilon of 1e-5.
"""

import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from pipeline.errors import UserError
from pipeline.models.names import HEAD, PROJECTION, PROJECTION_NORM, block_layer, stem_layer
from pipeline.pretrained.tensor_file import read_tensors
from pipeline.pretrained.weights import Pretrained

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of each channel, in units of [0, 1]: what torchvision's weights were trained with."""

NORM = {"weight", "bias", "running_mean", "running_var"}
HEADS = ("fc", "linear")
STEM = {"conv1": stem_layer("conv"), "bn1": stem_layer("norm")}
DEEP_STEM = {
    "conv1.0": stem_layer("conv1"),
    "conv1.1": stem_layer("norm1"),
    "conv1.3": stem_layer("conv2"),
    "conv1.4": stem_layer("norm2"),
    "conv1.6": stem_layer("conv3"),
    "bn1": stem_layer("norm3"),
}
"""timm's three convolutions, with ReLUs between."""
IN_BLOCK = re.compile(r"layer(\d+)\.(\d+)\.(conv|bn)(\d)")
IN_SHORTCUT = re.compile(r"layer(\d+)\.(\d+)\.(?:downsample|shortcut)\.(\d)")
SHORTCUTS: dict[tuple[int, ...], str] = {(0, 1): "projection", (1, 2): "pooling"}
"""Places of a shortcut's convolution and norm; in timm's ResNet-D a pooling is before them."""
PLAIN_TIMM = re.compile(r"(tv_|gluon_|ssl_|swsl_)?(wide_)?resnex?t\d+[cd]?(_.*)?")
"""Architectures of timm whose layers between the weights are torchvision's or ResNet-D's."""

Layers = dict[str, list[np.ndarray]]


def read_state_dict(path: Path) -> Pretrained:
    """Read a residual network from a file of `torch.save` or safetensors.

    Its normalisation is that of timm's `config.json` beside the file, else ImageNet's.

    Raises:
        UserError: the file is damaged, or is not such a network.
    """
    mean, std = _normalisation(path.with_name("config.json"))
    try:
        layers, shortcut = translate(read_tensors(path))
    except ValueError as error:
        raise UserError(
            "a state dict of --weights must be of a residual network with torchvision's names; "
            f"{path}: {error}"
        ) from None
    return Pretrained(f"the state dict {path}", layers, shortcut, mean, std)


def translate(tensors: dict[str, np.ndarray]) -> tuple[Layers, str]:
    """Turn a state dict into arrays by layer name, and tell the kind of its shortcuts.

    Convolutions turn from [out, in, height, width] to [height, width, in, out], the head from
    [out, in] to [in, out]. Without any weights in its shortcuts a network is taken to pad with
    zeros (option A).

    Raises:
        ValueError: there is a name or an array that such a network does not have.
    """
    modules: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for key, tensor in tensors.items():
        parameter = key.rpartition(".")[2]
        if parameter != "num_batches_tracked":
            modules[_module(key)][parameter] = tensor
    names = {module: _layer_name(module, modules) for module in modules}
    if strange := [key for key in tensors if names.get(_module(key), key) is None]:
        more = f" and {len(strange) - 1} more" if strange[1:] else ""
        raise ValueError(f"it has {strange[0]}{more}")
    if len(set(names.values())) < len(names):
        raise ValueError("two of its modules are the same layer")
    layers = {}
    for module, name in names.items():
        assert name is not None  # or it would have been strange
        layers[name] = _keras_arrays(module, modules[module])
    return layers, _shortcut(modules)


def _module(key: str) -> str:
    """Name whose parameter it is; DataParallel, on several GPUs, puts its own name before."""
    return key.removeprefix("module.").rpartition(".")[0]


def _layer_name(module: str, modules: dict[str, dict[str, np.ndarray]]) -> str | None:
    if module in HEADS:
        return HEAD
    if found := IN_BLOCK.fullmatch(module):
        part = {"conv": "conv", "bn": "norm"}[found[3]]
        return block_layer(int(found[1]), int(found[2]) + 1, f"{part}{found[4]}")
    if found := IN_SHORTCUT.fullmatch(module):
        weight = modules[module].get("weight")
        role = PROJECTION_NORM if weight is not None and weight.ndim == 1 else PROJECTION
        return block_layer(int(found[1]), int(found[2]) + 1, role)
    return (DEEP_STEM if "conv1.0" in modules else STEM).get(module)


def _keras_arrays(module: str, parameters: dict[str, np.ndarray]) -> list[np.ndarray]:
    weight, given = parameters.get("weight"), set(parameters)
    dimensions = 0 if weight is None else weight.ndim
    if dimensions == 1 and given == NORM:
        return [parameters[name] for name in ("weight", "bias", "running_mean", "running_var")]
    if weight is not None and dimensions in (2, 4) and given <= {"weight", "bias"}:
        kernel = weight.transpose(2, 3, 1, 0) if dimensions == 4 else weight.T
        return [np.ascontiguousarray(kernel), *([parameters["bias"]] if "bias" in given else [])]
    shapes = ", ".join(f"{name} {array.shape}" for name, array in parameters.items())
    raise ValueError(f"{module} is no convolution, norm or linear layer: {shapes}")


def _shortcut(modules: dict[str, dict[str, np.ndarray]]) -> str:
    places: dict[tuple[str, str], list[int]] = defaultdict(list)
    for module in modules:
        if found := IN_SHORTCUT.fullmatch(module):
            places[found[1], found[2]].append(int(found[3]))
    if not places:
        return "zero_padding"
    kinds = {SHORTCUTS.get(tuple(sorted(of_block))) for of_block in places.values()}
    kind = kinds.pop()
    if kinds or kind is None:
        # Without a norm it is a pre-activation block, which has its order nowhere in its names.
        raise ValueError("its shortcuts are not all a convolution and a norm")
    return kind


def _normalisation(config: Path) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean: Sequence[float] = IMAGENET_MEAN
    std: Sequence[float] = IMAGENET_STD
    try:
        beside = json.loads(config.read_text()) if config.is_file() else {}
        trained = beside.get("pretrained_cfg")
        if trained:
            mean, std = ([float(v) for v in trained[name]] for name in ("mean", "std"))
            if not (len(mean) == len(std) == 3 and min(std) > 0):
                raise ValueError(f"mean {mean}, std {std}")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UserError(
            f"a config.json beside --weights must be timm's or of no concern; {config}: {error}"
        ) from error
    architecture = str(beside.get("architecture", "resnet18"))
    if trained and not PLAIN_TIMM.fullmatch(architecture):
        raise UserError(
            "--weights of timm must be a plain ResNet, ResNet-D or ResNeXt, as others have layers "
            f"that leave no trace in the weights; {config} says {architecture}"
        )
    return tuple(255 * value for value in mean), tuple(255 * value for value in std)
