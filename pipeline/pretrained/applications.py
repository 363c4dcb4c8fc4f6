"""ImageNet weights of keras.applications, for the networks that are built as they are there."""

import hashlib
import re
from collections.abc import Callable
from itertools import accumulate
from pathlib import Path

import keras
import numpy as np

from pipeline.config.architectures import MOBILENETV2
from pipeline.config.published import IMAGENET, PUBLISHED, KerasWeights
from pipeline.errors import UserError
from pipeline.models.names import FINAL_NORM, HEAD, block_layer, stage_name, stem_layer, top_layer
from pipeline.places import keras_folder
from pipeline.pretrained.efficientnet_lite0 import imagenet_class_names
from pipeline.pretrained.keras_file import layer_arrays
from pipeline.pretrained.state_dict import IMAGENET_MEAN, IMAGENET_STD
from pipeline.pretrained.weights import NORM_EPSILON, Pretrained

CAFFE_MEAN = (123.68, 116.779, 103.939)
"""What VGG's weights want subtracted, and divided by nothing; its channels are BGR."""

MOBILE_ROLES = {
    "expand": "conv1",
    "expand_BN": "norm1",
    "depthwise": "conv2",
    "depthwise_BN": "norm2",
    "project": "conv3",
    "project_BN": "norm3",
}
MOBILE_OUTSIDE_BLOCKS = {
    "Conv1": stem_layer("conv"),
    "bn_Conv1": stem_layer("norm"),
    "Conv_1": top_layer("conv"),
    "Conv_1_bn": top_layer("norm"),
    "predictions": HEAD,
}
DENSE_ROLES = {"0_bn": "norm1", "1_conv": "conv1", "1_bn": "norm2", "2_conv": "conv2"}
DENSE_OUTSIDE_BLOCKS = {
    "conv1_conv": stem_layer("conv"),
    "conv1_bn": stem_layer("norm"),
    "bn": FINAL_NORM,
    "predictions": HEAD,
}


def read_application(model: str) -> Pretrained:
    """Read a network of `keras.applications` as ImageNet taught it; Keras downloads and keeps the file.

    Args:
        model: `mobilenetv2`, `vgg16` or `densenet121`.

    Raises:
        UserError: the file cannot be downloaded, or is damaged.
    """
    weights = PUBLISHED[model]
    assert isinstance(weights, KerasWeights)
    try:
        kept = {"cache_dir": keras_folder(), "cache_subdir": "models"}
        path = Path(keras.utils.get_file(weights.name, weights.url, file_hash=weights.md5 or None, **kept))
    except Exception as error:
        # Keras raises plain exceptions, and the network what it likes.
        raise UserError(
            f"--weights {IMAGENET} of {model} must be downloaded; {weights.url}: {_first_line(error)}"
        ) from error
    try:
        network = build_application(model)
        network.load_weights(path)
    except Exception as error:
        # A damaged file may make h5py and Keras raise anything.
        raise UserError(
            f"--weights {IMAGENET} must be whole; {path}: {_first_line(error)} (once it is deleted, it is "
            "downloaded again)"
        ) from error
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    return translate_application(
        model,
        network,
        f"{network.name} of keras.applications trained on ImageNet, {weights.licence}, "
        f"SHA-256 {digest[:16]}...",
    )


def build_application(model: str) -> keras.Model:
    """Build the network as `keras.applications` has it, with its head where ours has the same."""
    if model == "vgg16":
        return keras.applications.VGG16(weights=None, include_top=False)
    build = {"mobilenetv2": keras.applications.MobileNetV2, "densenet121": keras.applications.DenseNet121}
    return build[model](weights=None, classifier_activation=None)


def translate_application(model: str, network: keras.Model, origin: str) -> Pretrained:
    """Turn the weights of a network of `build_application` into ours; a VGG's channels into RGB."""
    name_of = NAMES[model]
    epsilons = {x.epsilon for x in network.layers if isinstance(x, keras.layers.BatchNormalization)}
    epsilon = epsilons.pop() if epsilons else NORM_EPSILON
    layers = {name_of(layer.name): layer_arrays(layer, epsilon) for layer in network.layers if layer.weights}
    mean, std = NORMALISATION[model]
    if model == "vgg16":
        first = layers[_vgg_name("block1_conv1")]
        first[0] = np.ascontiguousarray(first[0][:, :, ::-1])
    return Pretrained(
        origin=origin,
        layers=layers,
        shortcut="none",
        mean=mean,
        std=std,
        class_names=imagenet_class_names(),
        norm_epsilon=epsilon,
    )


def _mobile_name(name: str) -> str:
    if found := re.fullmatch(r"(?:expanded_conv|block_(\d+))_(.+)", name):
        number = int(found[1] or 0)
        first = [0, *accumulate(stage.blocks for stage in MOBILENETV2.stages)]
        stage = next(stage for stage in range(1, len(first)) if number < first[stage])
        return block_layer(stage, number - first[stage - 1] + 1, MOBILE_ROLES[found[2]])
    return MOBILE_OUTSIDE_BLOCKS[name]


def _vgg_name(name: str) -> str:
    block, _, layer = name.removeprefix("block").partition("_")
    return f"{stage_name(int(block))}_{layer}"


def _dense_name(name: str) -> str:
    if found := re.fullmatch(r"conv(\d)_block(\d+)_(.+)", name):
        return block_layer(int(found[1]) - 1, int(found[2]), DENSE_ROLES[found[3]])
    if found := re.fullmatch(r"pool(\d)_(conv|bn)", name):
        # Theirs ends a stage, ours begins the next, which has their number.
        return f"{stage_name(int(found[1]))}_transition_{'conv' if found[2] == 'conv' else 'norm'}"
    return DENSE_OUTSIDE_BLOCKS[name]


NAMES: dict[str, Callable[[str], str]] = {
    "mobilenetv2": _mobile_name,
    "vgg16": _vgg_name,
    "densenet121": _dense_name,
}
"""Network -> what a layer is called there -> what it is called here."""

Values = tuple[float, ...]
NORMALISATION: dict[str, tuple[Values, Values]] = {
    "mobilenetv2": ((127.5,) * 3, (127.5,) * 3),
    "vgg16": (CAFFE_MEAN, (1.0,) * 3),
    "densenet121": (tuple(255 * v for v in IMAGENET_MEAN), tuple(255 * v for v in IMAGENET_STD)),
}
"""Network -> mean and deviation of each channel that its `preprocess_input` takes, in units of [0, 255]."""


def _first_line(error: Exception) -> str:
    return str(error).partition("\n")[0] or type(error).__name__
