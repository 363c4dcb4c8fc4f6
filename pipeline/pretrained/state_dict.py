"""State dicts of PyTorch's residual networks, in the names of torchvision and its relatives.

Their names are `conv1`, `bn1`, `layer1.0.conv1`, `layer1.0.bn1`, `fc` (torchvision, timm) or
`linear` (kuangliu/pytorch-cifar, akamaster/pytorch_resnet_cifar10), and for the shortcuts
`downsample` or `shortcut`. Strides, padding and epsilon are not in a state dict: they are taken to
be those of the networks above, whose norms have PyTorch's epsilon of 1e-5.
"""

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.models.names import HEAD, PROJECTION, PROJECTION_NORM, block_layer, stem_layer
from pipeline.pretrained.tensor_file import is_counter, read_tensors
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
PLAIN_TIMM_ARGUMENTS: dict[str, tuple[Any, ...]] = {
    "in_chans": (3,),
    "global_pool": ("avg",),
    "output_stride": (32,),
    **dict.fromkeys(("drop_rate", "drop_path_rate", "drop_block_rate", "zero_init_last"), ()),
    **dict.fromkeys(("num_classes", "img_size", "pretrained"), ()),
    **dict.fromkeys(("layers", "cardinality", "base_width", "stem_width", "stem_type", "avg_down"), ()),
}
"""Arguments of timm's networks that leave them plain, and the values that do; (): all values.

Those without values act in training alone, or show in the weights.
"""
PREFIXED = re.compile(r"(.*?\.)??(conv1|bn1|layer\d+|fc|linear)\.")
"""A name of such a network, and what DataParallel, `torch.compile` and other wrappers put before it:
`module.`, `_orig_mod.`, `model.`, `encoder_q.`, several of them."""

Layers = dict[str, list[np.ndarray]]


def read_state_dict(path: Path) -> Pretrained:
    """Read a residual network from a file of `torch.save` or safetensors.

    Its normalisation is that of timm's `config.json` beside the file, else ImageNet's.

    Raises:
        UserError: the file is damaged, or is not such a network.
    """
    mean, std = _normalisation(path.with_name("config.json"))
    tensors, remark = read_tensors(path)
    try:
        layers, shortcut = translate(tensors)
    except ValueError as error:
        raise UserError(
            "a state dict of --weights must be of a residual network with torchvision's names; "
            f"{path}: {error}"
        ) from None
    return Pretrained(f"the state dict {path}{remark}", layers, shortcut, mean, std)


def translate(tensors: dict[str, np.ndarray]) -> tuple[Layers, str]:
    """Turn a state dict into arrays by layer name, and tell the kind of its shortcuts.

    Convolutions turn from [out, in, height, width] to [height, width, in, out], the head from
    [out, in] to [in, out]. Without any weights in its shortcuts a network is taken to pad with
    zeros (option A).

    Raises:
        ValueError: there is a name or an array that such a network does not have.
    """
    tensors = _without_prefixes({k: tensor for k, tensor in tensors.items() if not is_counter(k)})
    modules: dict[str, dict[str, np.ndarray]] = defaultdict(dict)
    for key, tensor in tensors.items():
        module, _, parameter = key.rpartition(".")
        modules[module][parameter] = tensor
    names = {module: _layer_name(module, modules) for module in modules}
    if strange := [key for key in tensors if names[key.rpartition(".")[0]] is None]:
        more = f" and {len(strange) - 1} more" if strange[1:] else ""
        raise ValueError(f"it has {strange[0]}{more}{_advice(strange[0])}")
    if len(set(names.values())) < len(names):
        raise ValueError("two of its modules are the same layer")
    layers = {}
    for module, name in names.items():
        assert name is not None  # or it would have been strange
        layers[name] = _keras_arrays(module, modules[module])
    return layers, _shortcut(modules)


def _without_prefixes(tensors: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Take off what stands before every name; before some alone it tells two networks apart."""
    prefixes = {_prefix(key) for key in tensors}
    prefix = prefixes.pop() if len(prefixes) == 1 else None
    return {key.removeprefix(prefix or ""): tensor for key, tensor in tensors.items()}


def _prefix(key: str) -> str | None:
    """Return what stands before the network's own name; None where there is no such name."""
    found = PREFIXED.match(key)
    return found and (found[1] or "")


def _advice(key: str) -> str:
    """Say what to do about a name that begins with more than the network's own."""
    if not (prefix := _prefix(key)):
        return ""
    return (
        f", and other names do not begin with {prefix!r} (save the network's own alone: "
        "torch.save(network.state_dict(), FILE))"
    )


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
        if (lowest := parameters["running_var"].min()) < 0:
            raise ValueError(f"{module} has a variance of {lowest:g}")
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
    """Return mean and deviation, in units of [0, 255], that timm's `config.json` tells, else ImageNet's.

    timm has them in `pretrained_cfg`, its older versions had them beside `architecture`.

    Raises:
        UserError: the file is damaged, or tells of a network with layers that ours does not have.
    """
    if not os.path.lexists(config):
        return _pixels(IMAGENET_MEAN), _pixels(IMAGENET_STD)
    beside = read_json(config, of="the folder of --weights")
    trained = beside.get("pretrained_cfg") or {}
    if not isinstance(trained, dict):
        raise _no_concern(config, f"pretrained_cfg {trained!r}")
    told = {**beside, **trained}
    if not (trained or {"architecture", "mean", "std"} & beside.keys()):
        return _pixels(IMAGENET_MEAN), _pixels(IMAGENET_STD)
    for place in (beside, trained):
        _check_is_plain(place, config)
    mean, std = (_channels(told, name, config) for name in ("mean", "std"))
    if not (max(mean) <= 1 and min(mean) >= 0 and min(std) > 0):
        raise _no_concern(config, f"mean {mean}, std {std}, not in units of [0, 1]")
    return _pixels(mean), _pixels(std)


def _channels(told: dict[str, Any], name: str, config: Path) -> list[float]:
    values = told.get(name)
    numbers = isinstance(values, list) and all(type(v) in (int, float) and abs(v) < inf for v in values)
    if not (isinstance(values, list) and numbers and len(values) == 3):
        raise _no_concern(config, f"{name} must be three numbers, not {values!r}")
    return [float(value) for value in values]


def _pixels(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(255 * value for value in values)


def _no_concern(config: Path, reason: str) -> UserError:
    return UserError(f"a config.json beside --weights must be timm's or of no concern; {config}: {reason}")


def _check_is_plain(told: dict[str, Any], config: Path) -> None:
    architecture = str(told.get("architecture", "resnet18"))
    arguments = told.get("model_args") or {}
    if not isinstance(arguments, dict):
        raise _no_concern(config, f"model_args {arguments!r}")
    if "global_pool" in told:
        arguments = {"global_pool": told["global_pool"], **arguments}
    others = [
        f"{name} {value!r}"
        for name, value in arguments.items()
        if value is not None
        and not (name in PLAIN_TIMM_ARGUMENTS and value in (PLAIN_TIMM_ARGUMENTS[name] or (value,)))
    ]
    # Behind a dot stands which of its weights they are.
    if not PLAIN_TIMM.fullmatch(architecture.partition(".")[0]):
        others.insert(0, architecture)
    if others:
        raise UserError(
            "--weights of timm must be a plain ResNet, ResNet-D or ResNeXt, as others have layers "
            f"that leave no trace in the weights; {config} says {', '.join(others)}"
        )
