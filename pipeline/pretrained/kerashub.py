"""ResNets of KerasHub, by a preset's name or directory."""

import os
import re
from pathlib import Path
from types import ModuleType
from typing import Any

import keras
import numpy as np

from pipeline.config.published import IMAGENET
from pipeline.errors import UserError, unknown
from pipeline.files.regular import check_regular
from pipeline.models.names import HEAD, PROJECTION, PROJECTION_NORM, block_layer, stem_layer
from pipeline.pretrained.keras_file import layer_arrays
from pipeline.pretrained.weights import Pretrained
from pipeline.ready_models import list_ready

STEMS = {(7,): {"1": ""}, (3, 3, 3): {"1": "1", "2": "2", "3": "3"}}
"""Kernel sizes of a stem like ours -> its layers' numbers in KerasHub and ours."""
IN_STEM = re.compile(r"conv(\d)_(conv|bn)")
IN_BLOCK = re.compile(r"stack(\d+)_block(\d+)_(\d)_(conv|bn)")
PART = {"conv": "conv", "bn": "norm"}


def read_preset(source: str) -> Pretrained:
    """Read a KerasHub preset of a `ResNetBackbone`, downloading it where it is named.

    Args:
        source: a built-in preset's name, an address like `kaggle://...`, or a directory.

    Raises:
        UserError: KerasHub is not installed, there is no such preset, or it is not a residual
            network of the form that this pipeline builds.
    """
    keras_hub = _import_keras_hub(source)
    _check_name(source, keras_hub)
    if os.path.isdir(source):
        _check_files(Path(source))
    try:
        backbone, classifier = _load(source, keras_hub)
    except Exception as error:
        # KerasHub, the hubs behind it and the network raise what they like.
        if isinstance(error, OSError) and not os.path.isdir(source):
            raise UserError(
                f"--weights {source} must be downloaded, which failed ({type(error).__name__}); without a "
                f"network give a file (.safetensors, .pth), --weights none, or --weights {IMAGENET} with "
                "--model efficientnet_lite0"
            ) from error
        reason = str(error).partition("\n")[0]
        raise UserError(f"--weights must be a whole KerasHub preset; {source}: {reason}") from error
    if fault := _difference(backbone, classifier, keras_hub):
        raise UserError(f"a KerasHub preset of --weights must be a ResNet like ours; {fault}")
    stem = STEMS[tuple(backbone.input_conv_kernel_sizes)]
    layers = {_layer_name(each.name, stem): each for each in backbone.layers if each.weights}
    if classifier:
        layers[HEAD] = classifier.output_dense
    mean, std = _normalisation(source, keras_hub)
    return Pretrained(
        origin=f"the KerasHub preset {source}",
        layers={name: layer_arrays(layer) for name, layer in layers.items()},
        shortcut="pooling" if backbone.block_type.endswith("_vd") else "projection",
        mean=mean,
        std=std,
    )


def _import_keras_hub(source: str) -> ModuleType:
    try:
        import keras_hub
    except ModuleNotFoundError:
        kind = "directory" if os.path.isdir(source) else "name"
        raise UserError(
            f"--weights {source!r}, the {kind} of a KerasHub preset, needs the package keras-hub: "
            "pip install keras-hub"
        ) from None
    return keras_hub


def _check_files(folder: Path) -> None:
    for path in folder.rglob("*"):
        if not path.is_dir():
            try:
                check_regular(path)
            except OSError as error:
                raise UserError(
                    f"--weights must be a whole KerasHub preset; {path}: {error.strerror}"
                ) from None


def _check_name(source: str, keras_hub: ModuleType) -> None:
    """Refuse a name before anything is downloaded."""
    residual, every = keras_hub.models.ResNetBackbone.presets, keras_hub.models.Backbone.presets
    if source in residual or "://" in source or os.path.isdir(source):
        return
    if source not in every:
        known = (IMAGENET, *list_ready(), *residual)
        raise unknown("run, file, ready model or KerasHub preset", source, known)
    kind = every[source]["metadata"]["path"]
    raise UserError(f"a KerasHub preset of --weights must be a ResNet; {source} is of {kind}")


def _load(source: str, keras_hub: ModuleType) -> tuple[keras.Model, keras.Model | None]:
    """Load the network, and with its head where the preset has one."""
    models, local = keras_hub.models, os.path.isdir(source)
    # Without that file KerasHub would give a classifier's head random weights.
    if local and not os.path.exists(os.path.join(source, "task.weights.h5")):
        return models.Backbone.from_preset(source), None
    try:
        classifier = models.ImageClassifier.from_preset(source)
    except TypeError as error:
        # Of a preset without a head it wants to be told the number of classes.
        if local or "num_classes" not in str(error):
            raise
        return models.Backbone.from_preset(source), None
    return classifier.backbone, classifier


def _difference(backbone: Any, classifier: Any, keras_hub: ModuleType) -> str | None:
    """Say what of the network, beyond names and shapes of its weights, is not ours."""
    if not isinstance(backbone, keras_hub.models.ResNetBackbone):
        return f"it is a {type(backbone).__name__}"
    if backbone.use_pre_activation:
        return "it is a ResNetV2, whose first max-pool pads otherwise"
    strides = list(backbone.stackwise_num_strides)
    if strides != [1] + [2] * (len(strides) - 1):
        return f"its stages have strides {strides}"
    if tuple(backbone.input_conv_kernel_sizes) not in STEMS:
        return f"its stem has kernels of {backbone.input_conv_kernel_sizes}"
    if classifier and classifier.pooling != "avg":
        return f"its head comes after pooling {classifier.pooling!r}"
    return None


def _layer_name(name: str, stem: dict[str, str]) -> str:
    if found := IN_STEM.fullmatch(name):
        return stem_layer(f"{PART[found[2]]}{stem[found[1]]}")
    if found := IN_BLOCK.fullmatch(name):
        role = f"{PART[found[4]]}{found[3]}"
        if found[3] == "0":
            role = PROJECTION if found[4] == "conv" else PROJECTION_NORM
        return block_layer(int(found[1]) + 1, int(found[2]) + 1, role)
    return name


def _normalisation(source: str, keras_hub: ModuleType) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Turn the converter's `scale * pixels + offset` into a mean and a deviation."""
    try:
        converter = keras_hub.layers.ImageConverter.from_preset(source)
    except Exception as error:
        reason = str(error).partition("\n")[0]
        raise UserError(
            f"a KerasHub preset of --weights must say how its pixels are normalised; {source}: {reason}"
        ) from error
    scale = np.broadcast_to(1.0 if converter.scale is None else converter.scale, 3)
    offset = np.broadcast_to(0.0 if converter.offset is None else converter.offset, 3)
    if not (scale > 0).all():
        raise UserError(f"a KerasHub preset of --weights must scale by > 0; received {scale}")
    return tuple((-offset / scale).tolist()), tuple((1 / scale).tolist())
