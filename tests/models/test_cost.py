"""Parameters and multiply-adds against published counts and the paper's table."""

import keras
import pytest

from pipeline.models import build_model
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.sections import ModelConfig


def resnet18(size, classes, stem):
    return build_model(
        ModelConfig(stem=stem), input_shape=(size, size, 3), classes=classes,
        pixel_mean=(0.0, 0.0, 0.0), pixel_std=(1.0, 1.0, 1.0), seed=0,
    )  # fmt: skip


def test_resnet18_for_imagenet_costs_what_is_published():
    model = resnet18(224, 1000, "imagenet")
    # torchvision's model page gives 11,689,512 parameters and 1.81 GFLOPS for ResNet-18.
    assert count_parameters(model) == 11_689_512
    assert sum(multiply_adds(model).values()) == 1_814_073_344


def cifar_table(width, sizes, classes):
    """Table 1's ResNet-18 behind a 3x3 stem: (parameters, multiply-adds), by hand."""
    convolutions = [(3, 3, width, sizes[0])]  # kernel size, channels in, channels out, size out
    for stage, size in enumerate(sizes):
        channels = width * 2**stage
        convolutions += [(3, channels, channels, size)] * 3
        if stage == 0:
            convolutions += [(3, channels, channels, size)]
        else:
            convolutions += [(3, channels // 2, channels, size), (1, channels // 2, channels, size)]
    dense = width * 8 * classes
    weights = [kernel**2 * c_in * c_out for kernel, c_in, c_out, _ in convolutions]
    norms = sum(2 * c_out for _, _, c_out, _ in convolutions)
    positions = [size**2 for *_, size in convolutions]
    adds = sum(w * p for w, p in zip(weights, positions, strict=True)) + dense
    return sum(weights) + norms + dense + classes, adds


def test_resnet18_for_cifar_costs_what_the_table_says():
    model = resnet18(32, 10, "cifar")
    parameters, adds = cifar_table(64, (32, 16, 8, 4), 10)
    assert count_parameters(model) == parameters == 11_173_962
    assert sum(multiply_adds(model).values()) == adds
    assert multiply_adds(model)["stage2_block1_projection"] == 16 * 16 * 64 * 128


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Conv2D(6, 3, strides=2, padding="same"), 4 * 5 * 3 * 3 * 4 * 6),
        (keras.layers.Conv2D(6, 3, padding="valid", groups=2), 5 * 8 * 3 * 3 * (4 // 2) * 6),
        (keras.layers.DepthwiseConv2D(5, padding="same"), 7 * 10 * 5 * 5 * 4),
        (
            keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2),
            7 * 10 * 3 * 3 * 4 * 2,
        ),
    ],
    ids=["strided", "grouped", "depthwise", "depth_multiplier"],
)
def test_one_layer_costs_its_formula(layer, expected):
    model = keras.Sequential([keras.Input((7, 10, 4)), layer])
    assert multiply_adds(model) == {layer.name: expected}


def test_dense_costs_in_times_out_and_norms_nothing():
    dense = keras.layers.Dense(7, name="dense")
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((5,)), norm, dense])
    assert multiply_adds(model) == {"dense": 5 * 7}
    # Moving statistics are not trained: 2 * 5 of the norm, 5 * 7 + 7 of the dense layer.
    assert count_parameters(model) == 2 * 5 + 5 * 7 + 7
    dense.trainable = False
    assert count_parameters(model) == 2 * 5
