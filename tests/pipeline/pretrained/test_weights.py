"""Assigning pretrained weights: all that fit or none, and what to choose instead."""

from typing import Any

import keras
import numpy as np
import pytest

from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError
from pipeline.models import build_model
from pipeline.models.fused_norm import FusedBatchNormalization
from pipeline.pretrained import assign_pretrained, read_pretrained
from tests.pipeline.pretrained.pretrained_samples import DIGITS, one_line, ours, random_pixels, weights_of


@pytest.fixture
def pretrained(tmp_path):
    """Save one of our networks, and read it."""

    def read(**settings: Any):
        path = tmp_path / "model.keras"
        ours(**{"seed": 1, **settings}).save(path)
        return read_pretrained(str(path))

    return read


def refusal(pretrained, network):
    """The refusal's one line, with nothing assigned."""
    before = weights_of(network)
    with pytest.raises(UserError) as error:
        assign_pretrained(pretrained, network, DIGITS)
    for (name, old), (_, new) in zip(before, weights_of(network), strict=True):
        np.testing.assert_array_equal(old, new, err_msg=name)
    return one_line(error)


def test_the_training_network_of_other_layer_classes_takes_them(pretrained):
    source = ours(model="resnet8", seed=1)
    network = build_model(
        ModelConfig(model="resnet8", width=8, stem="cifar"),
        input_shape=(32, 32, 3),
        classes=10,
        pixel_mean=(1.0, 2.0, 3.0),
        pixel_std=(4.0, 5.0, 6.0),
        seed=2,
        batch_normalization=FusedBatchNormalization,
    )
    assert assign_pretrained(pretrained(model="resnet8"), network, DIGITS) == []
    for mine, theirs in zip(network.get_weights(), source.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_a_head_of_other_classes_is_left_fresh(pretrained):
    network = ours(model="resnet8", classes=7)
    fresh = [np.array(w) for w in network.get_layer("head").get_weights()]
    weights = pretrained(model="resnet8")
    assert assign_pretrained(weights, network, DIGITS) == ["head"]
    for before, after in zip(fresh, network.get_layer("head").get_weights(), strict=True):
        np.testing.assert_array_equal(before, after)
    np.testing.assert_array_equal(network.get_layer("stem_conv").kernel, weights.layers["stem_conv"][0])


def test_weights_without_a_head_leave_it_fresh(pretrained):
    weights = pretrained(model="resnet8")
    del weights.layers["head"]
    assert assign_pretrained(weights, ours(model="resnet8"), DIGITS) == ["head"]


def test_another_width_is_refused_with_the_one_that_fits(pretrained):
    message = refusal(pretrained(width=6), ours(width=8))
    assert "stem_conv is (3, 3, 3, 6), here (3, 3, 3, 8)" in message
    assert "(a network for them: --model resnet18 --width 6 --stem cifar)" in message
    # 20 convolutions and 20 norms of a ResNet-18 and its head, of which 3 are shown.
    assert "and 38 more" in message


@pytest.mark.parametrize(
    ("settings", "flags"),
    [
        ({"stem": "imagenet"}, "--model resnet18 --width 8 --stem imagenet"),
        ({"model": "resnet18d", "stem": "deep"}, "--model resnet18d --width 8 --stem deep"),
        ({"model": "resnet20"}, "--model resnet20 --width 8 --stem cifar"),
        ({"model": "preresnet18"}, "--model preresnet18 --width 8 --stem cifar"),
        ({"model": "plain18"}, "--model plain18 --width 8 --stem cifar"),
        ({"shortcut": "zero_padding"}, "--model resnet18 --width 8 --stem cifar --shortcut zero_padding"),
    ],
)
def test_the_network_that_fits_is_named(settings, flags, pretrained):
    message = refusal(pretrained(**settings), ours())
    assert f"(a network for them: {flags})" in message


def test_the_bottleneck_network_that_fits_is_named(pretrained, small_networks):
    """`small` has as many blocks, so that it is tried as well."""
    weights = pretrained(model="small_x", width=16)
    assert "--model small_x --width 16 --stem cifar)" in refusal(weights, ours(model="resnet8"))


def test_without_a_network_that_fits_none_is_named(pretrained):
    weights = pretrained(model="resnet8")
    weights.layers["stage1_block1_projection"] = [np.zeros((1, 1, 8, 8), np.float32)]
    message = refusal(weights, ours(model="resnet8"))
    assert message.endswith("stage1_block1_projection has no place")


def test_a_missing_layer_and_a_missing_array_are_refused(pretrained):
    weights = pretrained(model="resnet8")
    del weights.layers["stage2_block1_norm1"]
    weights.layers["stem_norm"].pop()
    message = refusal(weights, ours(model="resnet8"))
    assert "stage2_block1_norm1 is missing" in message
    assert "stem_norm is (8,) + (8,) + (8,), here (8,) + (8,) + (8,) + (8,)" in message


def test_a_head_of_other_features_is_refused(pretrained):
    weights = pretrained(model="resnet8")
    weights.layers["head"] = [np.zeros((9, 10), np.float32), np.zeros(10, np.float32)]
    assert "head is (9, 10) + (10,), here (32, 10) + (10,)" in refusal(weights, ours(model="resnet8"))


@pytest.mark.parametrize("name", ["mlp", "convnet"])
def test_the_baselines_take_their_own(name, pretrained):
    network = ours(model=name, stem="auto", size=16)
    assert assign_pretrained(pretrained(model=name, stem="auto", size=16), network, DIGITS) == []
    np.testing.assert_array_equal(
        network(random_pixels(16)), ours(model=name, stem="auto", size=16, seed=1)(random_pixels(16))
    )
    assert "hidden" in refusal(pretrained(model=name, stem="auto", size=20), network)


def test_a_source_is_a_keras_model_or_not(tmp_path):
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(tmp_path / "other.keras")
    with pytest.raises(UserError, match="must be a network of this pipeline") as error:
        read_pretrained(str(tmp_path / "other.keras"))
    one_line(error)
