"""A network's parts against the papers' tables, and receptive fields against measured ones."""

import math
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.architectures import ARCHITECTURES
from pipeline.config.settings import ModelConfig
from pipeline.inspection.anatomy import dissect, receptive_fields
from pipeline.models import build_model
from pipeline.models.cost import count_parameters, multiply_adds
from tests.pipeline.untrained import conv_of_zeros


def build(pixels, classes=10, **settings: Any):
    return build_model(
        ModelConfig(**settings),
        input_shape=(*pixels, 3),
        classes=classes,
        pixel_mean=(0.0, 0.0, 0.0),
        pixel_std=(1.0, 1.0, 1.0),
        seed=0,
        convolution_layer=conv_of_zeros,
    )


def column(parts, name):
    return {part.name: getattr(part, name) for part in parts}


def test_resnet18_has_the_stages_of_the_papers_table():
    parts = dissect(build((224, 224), 1000))
    # He et al. 2015, table 1: output sizes 56, 28, 14 and 7, two blocks each, 64 to 512 channels.
    assert column(parts, "output_shape") == {
        "input": (224, 224, 3),
        "stem": (56, 56, 64),
        "stage1": (56, 56, 64),
        "stage2": (28, 28, 128),
        "stage3": (14, 14, 256),
        "stage4": (7, 7, 512),
        "pool": (512,),
        "head": (1000,),
    }
    assert [len(part.blocks) for part in parts] == [0, 0, 2, 2, 2, 2, 0, 0]
    # 9 weights a pair of channels in three and a half 3x3 convolutions, 1 in the projection, 2 a
    # channel in five norms.
    later = [9 * c * c * 7 // 2 + c * c // 2 + 5 * 2 * c for c in (128, 256, 512)]
    assert list(column(parts, "parameters").values()) == [
        0,
        49 * 3 * 64 + 2 * 64,
        4 * (9 * 64 * 64 + 2 * 64),
        *later,
        0,
        512 * 1000 + 1000,
    ]
    assert column(parts, "multiply_adds")["stem"] == 112 * 112 * 49 * 3 * 64
    assert column(parts, "multiply_adds")["stage1"] == 56 * 56 * 9 * 64 * 64 * 4


def test_efficientnet_lite0_has_the_stages_of_the_papers_table():
    parts = dissect(build((224, 224), 1000, model="efficientnet_lite0"))
    # Tan & Le 2019, table 1: resolution of a stage's input there, of its output here.
    assert column(parts, "output_shape") == {
        "input": (224, 224, 3),
        "stem": (112, 112, 32),
        "stage1": (112, 112, 16),
        "stage2": (56, 56, 24),
        "stage3": (28, 28, 40),
        "stage4": (14, 14, 80),
        "stage5": (14, 14, 112),
        "stage6": (7, 7, 192),
        "stage7": (7, 7, 320),
        "top": (7, 7, 1280),
        "pool": (1280,),
        "head": (1000,),
    }
    assert [len(part.blocks) for part in parts[2:9]] == [1, 2, 2, 3, 3, 4, 1]
    shortcuts = [[block.shortcut for block in part.blocks] for part in parts[2:9]]
    assert shortcuts == [[None, *["identity"] * (n - 1)] for n in (1, 2, 2, 3, 3, 4, 1)]
    # A kernel of k adds k - 1 times its jump, which the stem and stages 2, 3, 4 and 6 double.
    assert list(column(parts, "receptive_field").values()) == [
        1,
        3,
        7,
        7 + 2 * 2 + 2 * 4,
        19 + 4 * 4 + 4 * 8,
        67 + 2 * 8 + 2 * 2 * 16,
        147 + 3 * 4 * 16,
        339 + 4 * 16 + 3 * 4 * 32,
        787 + 2 * 32,
        851,
        math.inf,
        math.inf,
    ]


@pytest.mark.parametrize(
    "name",
    ["resnet20", "resnet18d", "resnext50", "preresnet18", "plain18", "mlp", "convnet", "efficientnet_lite0"],
)
def test_the_parts_are_the_whole(name):
    width = ARCHITECTURES[name].width_step * 2
    model = build((32, 32), model=name, width=width, dropout=0.1)
    parts = dissect(model)
    assert [layer for part in parts for layer in part.layers] == model.layers
    assert sum(part.parameters for part in parts) == count_parameters(model)
    assert sum(part.multiply_adds for part in parts) == sum(multiply_adds(model).values())


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mlp", "input, flatten, hidden1, hidden2, head"),
        ("convnet", "input, stage1, stage2, flatten, hidden, head"),
        ("resnet20", "input, stem, stage1, stage2, stage3, pool, head"),
        ("wrn_10_1", "input, stem, stage1, stage2, stage3, final norm, pool, head"),
    ],
)
def test_names_of_parts(name, expected):
    parts = dissect(build((32, 32), model=name, width=2, dropout=0.1))
    assert [part.name for part in parts] == expected.split(", ")


def measure_fields(model, names):
    """Count the columns of pixels that the gradient of a middle position reaches.

    All weights are positive, and pixels rise from left to right, then fall: so no position is cut
    off by a ReLU, and every max-pool lets its rightmost, then its leftmost position pass.
    """
    rng = np.random.default_rng(0)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            shape = layer.kernel.shape
            layer.kernel.assign(rng.uniform(0.5, 1.5, shape) / math.prod(shape[:3]))
    _, height, width, _ = model.input.shape
    probe = keras.Model(model.input, [model.get_layer(name).output for name in names])

    @tf.function
    def gradients(x):
        middles = [y[0, y.shape[1] // 2, y.shape[2] // 2] for y in probe(x, training=False)]
        return [tf.gradients(middle, x)[0] for middle in middles]

    rising = np.broadcast_to(np.arange(1.0, width + 1)[:, np.newaxis], (1, height, width, 3))
    reached = np.zeros((len(names), width), bool)
    for pixels in (rising, rising[:, :, ::-1]):
        reached |= np.any(gradients(tf.constant(pixels, tf.float32)), axis=(1, 2, 4))
    assert not reached[:, [0, -1]].any(), "the image must be wider than the fields"
    return {
        name: int(np.ptp(np.flatnonzero(columns))) + 1 for name, columns in zip(names, reached, strict=True)
    }


@pytest.mark.parametrize(
    ("width", "settings"),
    [
        (512, {"model": "resnet18", "stem": "imagenet"}),
        (512, {"model": "resnet18d", "stem": "deep"}),
        (512, {"model": "plain18", "stem": "imagenet"}),
        (512, {"model": "resnet50", "stem": "imagenet"}),
        (512, {"model": "preresnet18", "stem": "imagenet"}),
        (160, {"model": "resnet20"}),
        (160, {"model": "wrn_16_1"}),
        (40, {"model": "convnet"}),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else None,
)
def test_receptive_fields_are_what_the_gradient_reaches(width, settings):
    model = build((32, width), **{"width": 2, **settings})
    ends = {part.name: part.layers[-1].name for part in dissect(model)}
    inside = [name for part, name in ends.items() if part.startswith(("stem", "stage"))]
    names = [inside[0], inside[-1]]
    computed = receptive_fields(model)
    assert {name: computed[name] for name in names} == measure_fields(model, names)


def test_receptive_fields_are_the_published_ones():
    fields = column(dissect(build((64, 64), width=2, stem="imagenet")), "receptive_field")
    # By hand: 7 + 2 * 2 of the stem; then four 3x3 convolutions a stage, each of which adds twice
    # its jump of 4, 8, 16 and 32 pixels, and a stage's first the half of it.
    assert list(fields.values()) == [1, 11, 43, 99, 211, 435, math.inf, math.inf]
    # Araujo et al. 2019 give 483 and 1027 for networks whose every 3x3 convolution of a stage has
    # the same jump; here the first of stages 2 to 4 has 4, 8 and 16 in place of 8, 16 and 32.
    for name, published in (("resnet50", 483), ("resnet101", 1027)):
        model = build((64, 64), model=name, width=2, stem="imagenet")
        fields = column(dissect(model), "receptive_field")
        assert fields["stage4"] == published - 2 * (4 + 8 + 16)


def test_an_average_pool_widens_the_field():
    fields = receptive_fields(build((64, 64), model="resnet18d", width=2, stem="deep"))
    # Three 3x3 convolutions, the first of stride 2, and the pool: 3 + 2 * (2 + 2 + 2) = 15; four
    # more of stage 1 at a jump of 4: 47. A window of two positions adds one jump.
    assert fields["stage1_block2_relu2"] == 47
    assert fields["stage2_block1_shortcut_pool"] == 47 + 4


def test_dense_layers_see_the_whole_image():
    fields = column(dissect(build((8, 8), model="mlp", width=2)), "receptive_field")
    assert list(fields.values()) == [1, 1, math.inf, math.inf, math.inf]


def blocks_of(**settings: Any):
    parts = dissect(build((32, 32), **{"width": 2, **settings}))
    return [block for part in parts for block in part.blocks]


@pytest.mark.parametrize(
    ("settings", "first", "others"),
    [
        # Blocks of each stage; the first of all but the first stage halves the size.
        ({"model": "resnet18"}, ("identity", *["projection"] * 3), (1, 1, 1, 1)),
        ({"model": "resnet18d"}, ("identity", *["average-pool + projection"] * 3), (1, 1, 1, 1)),
        ({"model": "resnet20"}, ("identity", *["zero padding"] * 2), (2, 2, 2)),
        # A bottleneck has four times the stem's channels: the first stage projects as well.
        ({"model": "resnet50"}, ["projection"] * 4, (2, 3, 5, 2)),
        # The stem is narrower than the first stage, whose size is its own.
        ({"model": "wrn_16_2", "width": 32, "shortcut": "zero_padding"}, ["zero padding"] * 3, (1, 1, 1)),
        ({"model": "wrn_16_2", "width": 32}, ["projection"] * 3, (1, 1, 1)),
    ],
    ids=lambda value: value["model"] if isinstance(value, dict) else None,
)
def test_shortcuts(settings, first, others):
    expected = []
    for kind, count in zip(first, others, strict=True):
        expected += [kind, *["identity"] * count]
    assert [block.shortcut for block in blocks_of(**settings)] == expected


def test_a_plain_network_has_no_shortcuts():
    assert [block.shortcut for block in blocks_of(model="plain18")] == [None] * 8


@pytest.mark.parametrize("model", ["resnet18d", "resnet20", "resnet18"])
def test_a_blocks_path_leaves_out_its_shortcut(model):
    block = next(block for block in blocks_of(model=model) if block.shortcut != "identity")
    assert [layer.name.removeprefix("stage2_block1_") for layer in block.path] == [
        "conv1_padding",
        "conv1",
        "norm1",
        "relu1",
        "conv2",
        "norm2",
        "add",
        "relu2",
    ]
