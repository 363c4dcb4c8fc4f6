"""Stems, blocks and shortcuts in cases worked by hand, and what every kind of network promises."""

import dataclasses
import json
import zipfile
from typing import Any

import keras
import numpy as np
import pytest

from pipeline.config.architectures import ARCHITECTURES, ResidualArchitecture, find_architecture
from pipeline.config.settings import ModelConfig
from pipeline.models import build_model
from pipeline.models.shortcuts import pooling, zero_padding

KINDS = (
    "resnet18",
    "resnet50",
    "resnet20",
    "resnet18d",
    "resnext50",
    "wrn_16_2",
    "preresnet18",
    "plain18",
    "mlp",
    "convnet",
)
"""A network of each kind; the others differ in their numbers of blocks only."""


@pytest.fixture
def build(monkeypatch):
    """Build networks narrow and shallow: a stage of two blocks, and one that halves the size."""
    for name in KINDS:
        found = find_architecture(name)
        if isinstance(found, ResidualArchitecture):
            monkeypatch.setitem(ARCHITECTURES, name, dataclasses.replace(found, blocks=(2, 1)))
    return small_network


def small_network(name, size=32, seed=0, **settings: Any):
    return build_model(
        ModelConfig(**{"model": name, "width": 16, **settings}),
        input_shape=(size, size, 3),
        classes=10,
        pixel_mean=(120.0,) * 3,
        pixel_std=(60.0,) * 3,
        seed=seed,
    )


def random_pixels(batch, size):
    return np.random.default_rng(0).integers(0, 256, (batch, size, size, 3), np.uint8)


def kernels(model):
    return {layer.name: layer.get_weights()[0] for layer in model.layers if layer.weights}


def names_of(model, kind=keras.layers.Layer):
    return {layer.name for layer in model.layers if isinstance(layer, kind)}


@pytest.mark.parametrize(("filters", "before", "behind"), [(4, 1, 1), (5, 1, 2), (2, 0, 0)])
def test_zero_padding_takes_every_other_pixel_and_adds_zeros_around(filters, before, behind):
    x = np.arange(1, 19, dtype=np.float32).reshape(1, 3, 3, 2)
    y = zero_padding(x, filters, 2, conv=None, norm=None, name="block")
    expected = np.zeros((1, 2, 2, filters))
    expected[0, ..., before] = [[1, 5], [13, 17]]
    expected[0, ..., before + 1] = [[2, 6], [14, 18]]
    assert before + 2 + behind == filters
    np.testing.assert_array_equal(y, expected)


def test_pooling_averages_before_it_projects_and_at_the_border_what_is_there():
    projected = []

    def conv(x, filters, kernel_size, strides, name):
        projected.append((filters, kernel_size, strides, name))
        return x

    x = np.arange(1, 10, dtype=np.float32).reshape(1, 3, 3, 1)
    y = pooling(x, 2, 2, conv=conv, norm=None, name="block")
    # Of [1 2 3; 4 5 6; 7 8 9]: four pixels, two of a column, two of a row, and the corner.
    np.testing.assert_array_equal(y[0, ..., 0], [[3.0, 4.5], [7.5, 9.0]])
    assert projected == [(2, 1, 1, "block_projection")]


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "resnet20", "preresnet18", "wrn_16_2"])
def test_without_shortcuts_nothing_is_added_or_projected(name, build):
    assert names_of(build(name), keras.layers.Add)
    plain = build(name, shortcut="none")
    assert not names_of(plain, keras.layers.Add)
    assert not [name for name in names_of(plain) if "projection" in name or "shortcut" in name]


@pytest.mark.parametrize("name", ["resnet50", "resnet18d", "resnext50", "resnet20"])
def test_zero_init_makes_every_block_its_shortcut(name, build):
    model = build(name, zero_init=True)
    sums = [layer for layer in model.layers if isinstance(layer, keras.layers.Add)]
    assert len(sums) == 3
    probe = keras.Model(model.input, [(layer.input[0], layer.output) for layer in sums])
    for shortcut, output in probe(random_pixels(2, 32), training=True):
        np.testing.assert_array_equal(shortcut, output)
        assert np.any(output)


def test_wide_networks_drop_between_the_convolutions_of_each_block(build):
    model = build("wrn_16_2", dropout=0.3)
    blocks = ["stage1_block1", "stage1_block2", "stage2_block1"]
    dropped = names_of(model, keras.layers.Dropout)
    assert dropped == {f"{block}_dropout" for block in blocks}
    for block in blocks:
        dropout = model.get_layer(f"{block}_dropout")
        assert dropout.rate == 0.3
        assert dropout.input is model.get_layer(f"{block}_relu2").output
        assert dropout.output is model.get_layer(f"{block}_conv2").input
    assert len({model.get_layer(name).seed for name in dropped}) == len(blocks)


@pytest.mark.parametrize("name", [name for name in KINDS if not name.startswith("wrn")])
def test_other_networks_drop_before_the_head(name, build):
    model = build(name, dropout=0.3)
    assert names_of(model, keras.layers.Dropout) == {"dropout"}
    assert model.get_layer("dropout").output is model.get_layer("head").input


@pytest.mark.parametrize(("layer", "channels"), [("stage1_block1", 2), ("stage2_block1", 4)])
def test_a_group_of_resnext_sees_only_its_own_channels(layer, channels, build):
    convolution = build("resnext50", width=32).get_layer(f"{layer}_conv2")
    x = np.random.default_rng(0).normal(size=(1, 4, 4, 32 * channels)).astype(np.float32)
    before = np.array(convolution(x))
    group = slice(3 * channels, 4 * channels)
    x[..., group] += 1.0
    changed = np.any(before != convolution(x), axis=(0, 1, 2))
    assert list(np.flatnonzero(changed)) == list(range(group.start, group.stop))


def test_the_deep_stem_is_half_as_wide_up_to_its_last_convolution(build):
    model = build("resnet18d", 96, width=64)
    shapes = [model.get_layer(f"stem_conv{index}").kernel.shape for index in (1, 2, 3)]
    assert shapes == [(3, 3, 3, 32), (3, 3, 32, 32), (3, 3, 32, 64)]
    sizes = [model.get_layer(f"stem_conv{index}").output.shape[1] for index in (1, 2, 3)]
    assert sizes == [48, 48, 48]
    assert model.get_layer("stem_pool").output.shape == (None, 24, 24, 64)


@pytest.mark.parametrize("stem", ["cifar", "imagenet", "deep"])
@pytest.mark.parametrize("name", ["preresnet18", "wrn_16_2"])
def test_a_stem_before_preactivation_ends_in_its_convolution(name, stem, build):
    model = build(name, stem=stem)
    last = "stem_conv3" if stem == "deep" else "stem_conv"
    assert last.replace("conv", "norm") not in names_of(model)
    padded = stem != "cifar"
    following = "stem_pool_padding" if padded else "stage1_block1_norm1"
    assert model.get_layer(following).input is model.get_layer(last).output
    assert model.get_layer("pool").input is model.get_layer("final_relu").output


BASIC = {"conv1", "norm1", "conv2", "norm2"}
BOTTLENECK = BASIC | {"conv3", "norm3"}
PROJECTION = {"projection", "projection_norm"}


@pytest.mark.parametrize(
    ("name", "outside", "first", "second", "changed"),
    [
        ("resnet50", {"stem_conv", "stem_norm"}, BOTTLENECK | PROJECTION, BOTTLENECK, PROJECTION),
        ("resnet18", {"stem_conv", "stem_norm"}, BASIC, BASIC, PROJECTION),
        ("resnet18d", {"stem_conv", "stem_norm"}, BASIC, BASIC, PROJECTION),
        ("resnet20", {"stem_conv", "stem_norm"}, BASIC, BASIC, set()),
        ("plain18", {"stem_conv", "stem_norm"}, BASIC, BASIC, set()),
        ("preresnet18", {"stem_conv", "final_norm"}, BASIC, BASIC, {"projection"}),
        ("wrn_16_2", {"stem_conv", "final_norm"}, BASIC | {"projection"}, BASIC, {"projection"}),
    ],
)
def test_names_of_layers_with_weights(name, outside, first, second, changed, build):
    settings = {"width": 32} if name.startswith("wrn") else {}
    expected = outside | {"head"}
    blocks = {"stage1_block1": first, "stage1_block2": second, "stage2_block1": second | changed}
    expected |= {f"{block}_{part}" for block, parts in blocks.items() for part in parts}
    assert set(kernels(build(name, **settings))) == expected


@pytest.mark.parametrize("name", KINDS)
def test_initial_weights_are_each_layer_s_own_and_follow_the_seed(name, build):
    first, same, other = (kernels(build(name, seed=seed)) for seed in (3, 3, 4))
    drawn = {layer for layer, kernel in first.items() if kernel.ndim > 1}
    assert len({first[layer].tobytes() for layer in drawn}) == len(drawn) > 2
    for layer in drawn:
        np.testing.assert_array_equal(first[layer], same[layer])
        assert not np.any(first[layer] == other[layer]), layer


@pytest.mark.parametrize("name", KINDS)
def test_logits_are_float32_where_layers_compute_in_bfloat16(name, build):
    keras.config.set_dtype_policy("mixed_bfloat16")
    model = build(name, dropout=0.5)
    assert any(layer.compute_dtype == "bfloat16" for layer in model.layers)
    logits = model(random_pixels(1, 32))
    assert model.get_layer("head").compute_dtype == "float32"
    assert keras.backend.standardize_dtype(logits.dtype) == "float32"


def modules_in(config):
    """Every module that a saved configuration takes a class or function from."""
    if isinstance(config, list):
        return set().union(*map(modules_in, config))
    if not isinstance(config, dict):
        return set()
    return {config.get("module") or "keras"} | modules_in(list(config.values()))


@pytest.mark.parametrize("name", KINDS)
def test_a_saved_network_is_plain_keras_and_gives_the_same_logits(name, build, tmp_path):
    model = build(name, dropout=0.5, stem="imagenet" if name == "resnet18" else "auto")
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as archive:
        modules = modules_in(json.loads(archive.read("config.json")))
    assert {module.split(".")[0] for module in modules} == {"keras"}
    pixels = random_pixels(2, 32)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(pixels), model(pixels))
