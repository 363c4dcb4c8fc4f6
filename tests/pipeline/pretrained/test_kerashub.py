"""KerasHub presets: the same logits here as there, or a refusal. Nothing is downloaded."""

import socket
import sys
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.pretrained import assign_pretrained, read_pretrained
from tests.pipeline.pretrained.pretrained_samples import DIGITS, normalised_as, one_line, ours, random_pixels

hub = pytest.importorskip("keras_hub", reason="KerasHub is an optional package")

SCALE, OFFSET = [0.017, 0.018, 0.019], [-2.1, -2.0, -1.8]
BASIC = {
    "input_conv_filters": [64],
    "input_conv_kernel_sizes": [7],
    "stackwise_num_filters": [64, 128, 256],
    "stackwise_num_blocks": [1, 1, 1],
    "stackwise_num_strides": [1, 2, 2],
    "block_type": "basic_block",
}
BOTTLENECK = {
    **BASIC,
    "stackwise_num_filters": [64, 128],
    "stackwise_num_blocks": [2, 1],
    "stackwise_num_strides": [1, 2],
    "block_type": "bottleneck_block",
}
DEEP = {
    **BOTTLENECK,
    "input_conv_filters": [32, 32, 64],
    "input_conv_kernel_sizes": [3, 3, 3],
    "block_type": "bottleneck_block_vd",
}


def classifier(settings, kind=hub.models.ResNetImageClassifier, **others: Any):
    """KerasHub's network, with norms that no initial value hides behind."""
    keras.utils.set_random_seed(0)
    backbone = hub.models.ResNetBackbone(**settings)
    rng = np.random.default_rng(0)
    for layer in backbone.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            shape = layer.gamma.shape
            layer.set_weights(
                [
                    rng.uniform(0.5, 1.5, shape),
                    rng.normal(0, 0.2, shape),
                    rng.normal(0, 0.2, shape),
                    rng.uniform(0.5, 1.5, shape),
                ]
            )
    converter = hub.layers.ResNetImageConverter(scale=SCALE, offset=OFFSET)
    preprocessor = hub.models.ResNetImageClassifierPreprocessor(converter)
    return kind(backbone, 10, preprocessor=preprocessor, **others)


@pytest.fixture
def preset(tmp_path):
    """Save as a preset, and return its directory."""

    def save(network):
        network.save_to_preset(str(tmp_path / "preset"))
        return str(tmp_path / "preset")

    return save


@pytest.mark.parametrize(
    ("settings", "model", "stem", "size"),
    [
        (BASIC, "resnet8", "imagenet", 50),
        (BOTTLENECK, "small", "imagenet", 37),
        (DEEP, "small_d", "deep", 37),
    ],
    ids=["basic", "bottleneck", "deep"],
)
def test_logits_are_kerashubs(settings, model, stem, size, preset, small_networks):
    theirs = classifier(settings)
    pretrained = read_pretrained(preset(theirs))
    network = normalised_as(pretrained, size=size, model=model, stem=stem, width=64)
    assert assign_pretrained(pretrained, network, DIGITS) == []
    pixels = random_pixels(size)
    expected = np.array(theirs(pixels * np.array(SCALE, np.float32) + np.array(OFFSET, np.float32)))
    scale = np.abs(expected).max()
    # float32 sums of the same numbers; the scale and offset are rounded another way.
    np.testing.assert_allclose(network(pixels) / scale, expected / scale, rtol=1e-4, atol=1e-4)


def test_a_backbone_alone_leaves_the_head_fresh(preset):
    theirs = classifier(BASIC)
    path = preset(theirs.backbone)
    with pytest.raises(UserError, match="must say how its pixels are normalised") as error:
        read_pretrained(path)
    one_line(error)
    theirs.preprocessor.image_converter.save_to_preset(path)
    pretrained = read_pretrained(path)
    network = normalised_as(pretrained, model="resnet8", stem="imagenet", width=64)
    assert assign_pretrained(pretrained, network, DIGITS) == ["head"]


def test_a_head_without_weights_is_left_fresh(preset, tmp_path):
    path = preset(classifier(BASIC))
    (tmp_path / "preset" / "task.weights.h5").unlink()
    assert "head" not in read_pretrained(path).layers


def test_a_head_that_kerashub_cannot_load_is_refused(preset):
    path = preset(classifier(BASIC, hub.models.ImageClassifier))
    with pytest.raises(UserError, match=r"must be a whole KerasHub preset.*num_classes"):
        read_pretrained(path)


def test_the_normalisation_is_the_image_converters(preset):
    pretrained = read_pretrained(preset(classifier(BASIC)))
    # (x - mean) / std = scale x + offset, so that mean = -offset / scale and std = 1 / scale.
    assert pretrained.mean == pytest.approx((2.1 / 0.017, 2.0 / 0.018, 1.8 / 0.019))
    assert pretrained.std == pytest.approx((1 / 0.017, 1 / 0.018, 1 / 0.019))


@pytest.mark.parametrize(
    ("changes", "others", "message"),
    [
        ({"use_pre_activation": True}, {}, "it is a ResNetV2"),
        ({"stackwise_num_strides": [1, 2, 1]}, {}, r"strides \[1, 2, 1\]"),
        ({"input_conv_kernel_sizes": [3]}, {}, r"kernels of \[3\]"),
        ({}, {"pooling": "max"}, "pooling 'max'"),
    ],
)
def test_a_network_of_another_form_is_refused(changes, others, message, preset):
    with pytest.raises(UserError, match=message) as error:
        read_pretrained(preset(classifier({**BASIC, **changes}, **others)))
    one_line(error)


def test_a_projection_where_we_have_none_is_refused(preset):
    """The basic blocks of KerasHub's vd networks project even where the shape fits."""
    stem = {"input_conv_filters": [32, 32, 64], "input_conv_kernel_sizes": [3, 3, 3]}
    pretrained = read_pretrained(preset(classifier({**BASIC, **stem, "block_type": "basic_block_vd"})))
    network = ours(model="resnet8", stem="deep", shortcut="pooling", width=64)
    with pytest.raises(UserError, match="stage1_block1_projection has no place") as error:
        assign_pretrained(pretrained, network, DIGITS)
    one_line(error)


def test_another_backbone_is_refused(preset):
    backbone = hub.models.VGGBackbone([1], [4])
    with pytest.raises(UserError, match="it is a VGGBackbone"):
        read_pretrained(preset(backbone))
    with pytest.raises(UserError, match="densenet_121_imagenet is of densenet"):
        read_pretrained("densenet_121_imagenet")


def test_an_unknown_name_is_answered_with_the_nearest():
    for near, name in (
        ("resnet_50_imagnet", "resnet_50_imagenet"),
        ("imagenett", "imagenet"),
        ("digits_resnet9", "digits_resnet8"),
    ):
        with pytest.raises(UserError, match=f"did you mean '{name}'") as error:
            read_pretrained(near)
        one_line(error)


def test_a_damaged_preset_is_refused(preset, tmp_path):
    path = preset(classifier(BASIC))
    weights = tmp_path / "preset" / "model.weights.h5"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="must be a whole KerasHub preset") as error:
        read_pretrained(path)
    one_line(error)
    (tmp_path / "preset" / "config.json").write_text("{")
    with pytest.raises(UserError, match="must be a whole KerasHub preset") as error:
        read_pretrained(path)
    one_line(error)


def test_a_missing_kerashub_is_named(preset, monkeypatch):
    path = preset(classifier(BASIC))
    monkeypatch.setitem(sys.modules, "keras_hub", None)
    for source in (path, "resnet_50_imagenet"):
        with pytest.raises(UserError, match="needs the package keras-hub: pip install keras-hub"):
            read_pretrained(source)


def test_without_a_network_the_ways_out_are_told(tmp_path, monkeypatch):
    def no_network(*_: Any, **__: Any):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", no_network)
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path))
    with pytest.raises(UserError, match="must be downloaded, which failed") as error:
        read_pretrained("resnet_18_imagenet")
    message = one_line(error)
    assert "HTTPS" not in message
    assert message.endswith(
        "without a network give a file (.safetensors, .pth), --weights none, or --weights imagenet with "
        "--model efficientnet_lite0"
    )
