"""Every kind of network computes what an independent implementation with its weights computes."""

import re
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from pipeline.config.settings import ModelConfig
from pipeline.models import build_model

torch = pytest.importorskip("torch", reason="PyTorch is the independent reference")
from tests.pipeline.models.torch_family import build_torch_network  # noqa: E402

PIXEL_MEAN, PIXEL_STD = (125.0, 120.0, 110.0), (60.0, 62.0, 66.0)
SHARED_NAMES = {
    "conv1": "stem_conv",
    "bn1": "stem_norm",
    "conv1.0": "stem_conv1",
    "conv1.1": "stem_norm1",
    "conv1.3": "stem_conv2",
    "conv1.4": "stem_norm2",
    "conv1.6": "stem_conv3",
    "norm": "final_norm",
    "fc": "head",
}
"""What torchvision and timm call a layer -> what it is called here."""


@pytest.fixture(autouse=True)
def _one_thread():
    """PyTorch's threads wait for each other longer than such small networks compute."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def random_pixels(batch, size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (batch, size, size, 3), np.uint8)


def torch_pixels(pixels):
    normalised = (pixels.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD
    return torch.tensor(normalised, dtype=torch.float32).permute(0, 3, 1, 2)


def build_pair(name, size, **settings: Any):
    """The same network twice: `(Keras, PyTorch)` with each its own initial weights."""
    shape = (size, size, 3)
    model = build_model(
        ModelConfig(**{"model": name, **settings}),
        input_shape=shape,
        classes=10,
        pixel_mean=PIXEL_MEAN,
        pixel_std=PIXEL_STD,
        seed=0,
    )
    return model, build_torch_network(name, shape, 10, **settings)


@torch.no_grad()
def randomise(network, size):
    """Give every weight and statistic of `network` a value that no other could stand for.

    Norms get the statistics of other pixels, so that features stay of order 1 in the deepest
    network and no offset is lost beside them.
    """
    generator = torch.Generator().manual_seed(0)
    norms = [m for m in network.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    for weight in network.parameters():
        if weight.ndim > 1:
            torch.nn.init.kaiming_normal_(weight, generator=generator)
        else:
            weight.normal_(0, 0.2, generator=generator)
    for norm in norms:
        norm.weight.uniform_(0.5, 1.5, generator=generator)
        norm.momentum = 1.0
    for block in network.modules():
        if hasattr(block, "bn2"):
            # As in trained networks, or 101 layers magnify each rounding a thousand times.
            getattr(block, "bn3", block.bn2).weight.mul_(0.3)
    network.train()(torch_pixels(random_pixels(8, size, seed=1)))
    for norm in norms:
        norm.momentum = 0.1


def keras_name(name, weight, deep_stem):
    """`stage2_block1_conv1` for `layer2.0.conv1`."""
    if found := re.fullmatch(r"layer(\d)\.(\d+)\.(.+)", name):
        stage, block, part = found.groups()
        if part.startswith("downsample"):
            part = "projection" if weight.ndim == 4 else "projection_norm"
        return f"stage{stage}_block{int(block) + 1}_{part.replace('bn', 'norm')}"
    if found := re.fullmatch(r"transition(\d)\.(.+)", name):
        return f"stage{found[1]}_transition_{found[2]}"
    if deep_stem and name == "bn1":
        return "stem_norm3"
    return SHARED_NAMES.get(name, name)


def copy_weights(network, model):
    """Copy by name, once into each layer of `model` that has weights."""
    missing = {layer.name for layer in model.layers if layer.weights}
    deep_stem = hasattr(network, "conv1") and isinstance(network.conv1, torch.nn.Sequential)
    for torch_name, part in network.named_modules():
        values = [part.weight] if hasattr(part, "weight") else []
        if isinstance(part, torch.nn.BatchNorm2d):
            values += [part.bias, part.running_mean, part.running_var]
        elif values and part.bias is not None:
            values += [part.bias]
        if values:
            name = keras_name(torch_name, part.weight, deep_stem)
            arrays = [value.detach().numpy() for value in values]
            if arrays[0].ndim > 1:
                depthwise = arrays[0].shape[1] == 1
                kernel = (2, 3, 0, 1) if depthwise else (2, 3, 1, 0)
                arrays[0] = arrays[0].transpose(kernel if arrays[0].ndim == 4 else (1, 0))
            model.get_layer(name).set_weights(arrays)
            missing.remove(name)
    assert not missing


def assert_logits_agree(actual, expected):
    # Both sum in float32 in orders of their own: 1e-4 of the largest logit, which is of order 1.
    largest = np.abs(expected).max()
    assert 0.5 < largest < 50
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize(
    ("name", "size", "settings"),
    [
        ("resnet18", 64, {"stem": "imagenet"}),
        ("resnet18", 97, {"stem": "imagenet"}),
        ("resnet18", 33, {"stem": "cifar", "width": 16}),
        ("resnet34", 64, {"stem": "imagenet"}),
        ("resnet50", 97, {"stem": "imagenet"}),
        ("resnet101", 64, {"stem": "imagenet", "width": 8}),
        ("resnext50", 64, {"stem": "imagenet"}),
        ("resnet18d", 64, {"stem": "deep"}),
        ("resnet50d", 97, {"stem": "deep", "width": 16}),
        ("resnet8", 32, {}),
        ("resnet20", 32, {}),
        ("resnet20", 33, {}),
        ("resnet20", 32, {"shortcut": "projection"}),
        ("wrn_16_4", 32, {}),
        ("wrn_10_1", 33, {}),
        ("preresnet18", 32, {}),
        ("preresnet18", 64, {"stem": "imagenet", "width": 16}),
        ("plain18", 32, {}),
        ("mlp", 32, {}),
        ("convnet", 32, {}),
        ("convnet", 31, {}),
        ("vgg16", 65, {"width": 8}),
        ("densenet121", 33, {"width": 16}),
    ],
    ids=str,
)
def test_inference_equals_pytorch(name, size, settings):
    model, network = build_pair(name, size, **settings)
    pixels = random_pixels(4, size)
    randomise(network, size)
    copy_weights(network, model)
    with torch.no_grad():
        expected = network.eval()(torch_pixels(pixels)).numpy()
    assert_logits_agree(model(pixels, training=False), expected)


@pytest.mark.parametrize("name", ["resnet50", "wrn_16_4"])
def test_training_equals_pytorch(name):
    model, network = build_pair(name, 32, width=8, stem="cifar")
    pixels = random_pixels(8, 32)
    randomise(network, 32)
    copy_weights(network, model)
    with torch.no_grad():
        expected = network.train()(torch_pixels(pixels)).numpy()
    assert_logits_agree(model(pixels, training=True), expected)
    # The moving mean weighs the old value by 0.9 in both; one float32 mean of order 1.
    moving = model.get_layer("stage1_block1_norm1").moving_mean
    expected = network.get_submodule("layer1.0.bn1").running_mean
    np.testing.assert_allclose(moving, expected, rtol=1e-5, atol=1e-5)


def mlperf_tiny_resnet8(size):
    """MLPerf Tiny's image classification reference up to its softmax (Banbury et al. 2021).

    Its convolutions have biases, and its projections have no norm. `size` is odd at every stage,
    where TensorFlow's "same" padding is symmetric: on even sizes it shifts the strided
    convolutions by a pixel.
    """

    def conv(x, filters, kernel_size, strides, name):
        layer = layers.Conv2D(filters, kernel_size, strides, padding="same", name=name)
        return layer(x)

    def norm(x, name):
        return layers.BatchNormalization(name=name)(x)

    inputs = keras.Input((size, size, 3))
    x = layers.ReLU()(norm(conv(inputs, 16, 3, 1, "stem_conv"), "stem_norm"))
    for stage, filters, strides in ((1, 16, 1), (2, 32, 2), (3, 64, 2)):
        prefix = f"stage{stage}_block1_"
        y = conv(x, filters, 3, strides, prefix + "conv1")
        y = layers.ReLU()(norm(y, prefix + "norm1"))
        y = norm(conv(y, filters, 3, 1, prefix + "conv2"), prefix + "norm2")
        x = conv(x, filters, 1, strides, prefix + "projection") if stage > 1 else x
        x = layers.ReLU()(layers.Add()([x, y]))
    x = layers.Flatten()(layers.AveragePooling2D(x.shape[1])(x))
    return keras.Model(inputs, layers.Dense(10, name="head")(x))


def norm_with_bias(norm, bias, epsilon):
    """Weights of a norm of `epsilon` that does what `bias` and then `norm` do."""
    if norm is None:
        ones = np.ones_like(bias)
        return [np.sqrt(ones + epsilon), 0 * ones, -bias, ones]
    scale, offset, mean, variance = norm.get_weights()
    return [scale, offset, mean - bias, variance + norm.epsilon - epsilon]


def test_resnet8_is_that_of_mlperf_tiny():
    size, rng = 33, np.random.default_rng(0)
    reference = mlperf_tiny_resnet8(size)
    for layer in reference.layers:
        for weight in layer.weights:
            if weight.name in ("gamma", "moving_variance"):
                weight.assign(rng.uniform(0.5, 1.5, weight.shape))
            elif weight.name != "kernel":
                weight.assign(rng.normal(0, 0.2, weight.shape))
    model, _ = build_pair("resnet8", size)
    model.get_layer("head").set_weights(reference.get_layer("head").get_weights())
    names = [layer.name for layer in reference.layers if isinstance(layer, layers.Conv2D)]
    for name in names:
        kernel, bias = reference.get_layer(name).get_weights()
        projects = name.endswith("projection")
        norm_name = f"{name}_norm" if projects else name.replace("conv", "norm")
        norm, ours = (None if projects else reference.get_layer(norm_name), model.get_layer(norm_name))
        ours.set_weights(norm_with_bias(norm, bias, ours.epsilon))
        model.get_layer(name).set_weights([kernel])
    assert len(names) == sum(isinstance(layer, layers.Conv2D) for layer in model.layers)
    pixels = random_pixels(4, size)
    normalised = ((pixels.astype(np.float32) - PIXEL_MEAN) / PIXEL_STD).astype(np.float32)
    assert_logits_agree(model(pixels, training=False), reference(normalised, training=False))
