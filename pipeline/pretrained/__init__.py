"""Weights that somebody trained already: read, and assigned to a network by layer name."""

import os

import numpy as np

from pipeline.config.published import IMAGENET, PUBLISHED, HubWeights, KerasWeights
from pipeline.errors import UserError
from pipeline.places import check_imagenet, check_weights, is_preset
from pipeline.pretrained.applications import read_application
from pipeline.pretrained.efficientnet_lite0 import read_imagenet_weights
from pipeline.pretrained.hub import read_hub_weights
from pipeline.pretrained.keras_file import read_keras_file, read_run
from pipeline.pretrained.kerashub import read_preset
from pipeline.pretrained.state_dict import read_state_dict
from pipeline.pretrained.weights import Pretrained, assign_pretrained
from pipeline.ready_models import find_place

__all__ = ["Pretrained", "assign_pretrained", "efficientnet_lite0", "keras_file", "read_pretrained"]


def read_pretrained(source: str, model: str = "") -> Pretrained:
    """Read the weights that `--weights` names.

    Args:
        source: a finished run's directory; the name of a ready model; a `.keras` file of this
            pipeline; a residual network's state dict in a file of `torch.save` or `.safetensors`; a
            KerasHub preset, by its name or its directory; `imagenet`, those that are published of
            `model`.
        model: the network, as `--model` names it; what is not `imagenet` tells its own.

    Raises:
        UserError: it does not exist, is damaged, is of another kind, or needs a package that is
            not installed.
    """
    pretrained = _read_imagenet(model) if source == IMAGENET else _read(source)
    for name, arrays in pretrained.layers.items():
        if not all(np.isfinite(array).all() for array in arrays):
            raise UserError(f"--weights must be finite numbers; {name} of {pretrained.origin} is not")
    if not (np.isfinite([*pretrained.mean, *pretrained.std]).all() and min(pretrained.std) > 0):
        raise UserError(
            "--weights must be normalised by finite means and deviations above 0; "
            f"{pretrained.origin} has {pretrained.mean} and {pretrained.std}"
        )
    return pretrained


def _read_imagenet(model: str) -> Pretrained:
    check_imagenet(model)
    match PUBLISHED[model]:
        case HubWeights():
            return read_hub_weights(model)
        case KerasWeights():
            return read_application(model)
    return read_imagenet_weights()


def _read(source: str) -> Pretrained:
    check_weights(source)
    path = find_place(source)
    if os.path.isdir(path) and not is_preset(path):
        return read_run(path)
    if not os.path.isfile(path):
        return read_preset(source)
    return read_keras_file(path) if path.suffix == ".keras" else read_state_dict(path)
