"""Grad-CAM against paper and pencil, PyTorch and class activation mapping."""

from collections.abc import Iterator

import keras
import numpy as np
import pytest
from keras import layers
from PIL import Image

from evaluation.explain import gradcam
from evaluation.explain.gradcam import GradCAM, last_feature_maps, overlay
from pipeline.config.settings import ModelConfig
from pipeline.models import build_model

ROUNDING = 1e-5
"""Of sums of up to a thousand products in float32, on a scale of 1; seen: under 2e-6."""


def test_two_by_two_by_hand():
    pixels = keras.Input((2, 2, 3))
    maps = layers.Conv2D(2, 1, use_bias=False)(pixels)
    logits = layers.Dense(3, use_bias=False)(layers.GlobalAveragePooling2D()(maps))
    network = keras.Model(pixels, logits)
    red_and_green = np.array([[1, 0], [0, 1], [0, 0]], np.float32)
    # Class 0 is red less green, class 1 green less red, class 2 the absence of either.
    head = np.array([[1, -1, -1], [-1, 1, -1]], np.float32)
    network.set_weights([red_and_green[None, None], head])
    image = np.zeros((2, 2, 3), np.uint8)
    image[..., 0], image[..., 1] = [[8, 0], [4, 2]], [[0, 6], [2, 8]]
    found = GradCAM(network).maps(np.stack([image] * 3), np.arange(3))
    # Red less green is [[8, -6], [2, -6]]; the weights are its signs by 1 / 4.
    expected = [[[1, 0], [0.25, 0]], [[0, 1], [0, 1]], [[0, 0], [0, 0]]]
    # Powers of two, so that nothing rounds.
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert found.dtype == np.float32


def test_pytorch_agrees_where_gradients_differ_from_place_to_place():
    torch = pytest.importorskip("torch", reason="PyTorch is the reference")
    pixels = keras.Input((9, 11, 3))
    x = layers.Conv2D(6, 3, 2, activation="tanh")(layers.Rescaling(1 / 255)(pixels))
    x = layers.Dense(7, activation="tanh")(layers.Flatten()(x))
    network = keras.Model(pixels, layers.Dense(4)(x))
    random = np.random.default_rng(0)
    weights = [random.normal(0, 0.5, w.shape).astype(np.float32) for w in network.weights]
    network.set_weights(weights)
    images = random.integers(0, 256, (12, 9, 11, 3), dtype=np.uint8)
    classes = np.arange(12, dtype=np.int32) % 4

    kernel, bias, hidden, hidden_bias, head, head_bias = map(torch.from_numpy, weights)
    inputs = torch.from_numpy(images / np.float32(255)).permute(0, 3, 1, 2)
    maps = torch.tanh(torch.conv2d(inputs, kernel.permute(3, 2, 0, 1), bias, stride=2))
    maps.requires_grad_()
    flat = maps.permute(0, 2, 3, 1).flatten(1)
    logits = torch.tanh(flat @ hidden + hidden_bias) @ head + head_bias
    logits[torch.arange(12), torch.from_numpy(classes).long()].sum().backward()
    alpha = maps.grad.mean(dim=(2, 3), keepdim=True)
    sums = torch.relu((alpha * maps.detach()).sum(dim=1, keepdim=True))
    resized = torch.nn.functional.interpolate(sums, (9, 11), mode="bilinear")[:, 0]
    peaks = resized.amax(dim=(1, 2), keepdim=True)
    expected = (resized / torch.where(peaks > 0, peaks, 1)).numpy()

    np.testing.assert_allclose(GradCAM(network).maps(images, classes), expected, atol=ROUNDING)


def _resnet18(size: int) -> keras.Model:
    return _network("resnet18", size)


def _network(name: str, size: int) -> keras.Model:
    return build_model(
        ModelConfig(model=name, width=8),
        input_shape=(size, size, 3),
        classes=10,
        pixel_mean=[120] * 3,
        pixel_std=[60] * 3,
        seed=0,
    )


def _cam(network: keras.Model, images: np.ndarray, classes: np.ndarray) -> Iterator[np.ndarray]:
    """Zhou et al. 2016, eq. 2, rectified and scaled as Grad-CAM, resized by Pillow."""
    features = keras.Model(network.input, network.get_layer("pool").input)
    head = network.get_layer("head").get_weights()[0]
    for maps, chosen in zip(features.predict(images, verbose=0), classes, strict=True):
        positive = np.maximum(maps @ head[:, chosen], 0)
        resized = Image.fromarray(positive).resize(images.shape[2:0:-1], Image.Resampling.BILINEAR)
        yield np.asarray(resized) / (np.max(resized) or 1)


def test_cam_agrees_on_a_resnet_batch_by_batch(monkeypatch):
    monkeypatch.setattr(gradcam, "BATCH", 3)
    network = _resnet18(32)
    images = np.random.default_rng(0).integers(0, 256, (8, 32, 32, 3), dtype=np.uint8)
    classes = np.arange(8)
    expected = np.stack(list(_cam(network, images.astype(np.float32), classes)))
    np.testing.assert_allclose(GradCAM(network).maps(images, classes), expected, atol=ROUNDING)


@pytest.mark.parametrize(
    ("size", "layer"),
    # Of 8 x 8 pixels stage 3 leaves 2 x 2 positions. The padding of its first convolution has
    # more, but the shortcut leads around it.
    [(32, "stage4_block2_relu2"), (8, "stage2_block2_relu2")],
)
def test_last_feature_maps_of_a_resnet(size, layer):
    network = _resnet18(size)
    assert last_feature_maps(network) is network.get_layer(layer).output


@pytest.mark.parametrize(
    ("size", "layer"),
    # A 32nd of 128 pixels are 4 x 4 positions. Of 64 it is 2 x 2: stage 6 halves them behind its
    # first convolution, which no shortcut leads around.
    [(128, "top_relu"), (64, "stage6_block1_relu1")],
)
def test_last_feature_maps_of_inverted_residual_blocks(size, layer):
    network = _network("efficientnet_lite0", size)
    assert last_feature_maps(network) is network.get_layer(layer).output


def test_a_perceptron_has_no_feature_maps():
    pixels = keras.Input((8, 8, 3))
    x = layers.Normalization(mean=[120] * 3, variance=[60] * 3)(pixels)
    x = layers.Dense(8, activation="relu")(layers.Flatten()(x))
    perceptron = keras.Model(pixels, layers.Dense(4)(x), name="perceptron")
    assert last_feature_maps(perceptron) is None
    with pytest.raises(ValueError, match="'perceptron' has none"):
        GradCAM(perceptron)


def test_overlay_is_half_grey_image_half_colour():
    images = np.zeros((1, 1, 3, 3), np.uint8)
    images[0, 0, 1] = 200
    images[0, 0, 2] = [250, 0, 0]
    blended = overlay(images, np.array([[[0.0, 1.0, 1.0]]], np.float32))
    # Matplotlib's inferno runs from (0.001462, 0.000466, 0.013866) to (0.988362, 0.998364,
    # 0.644924), and red counts 0.299 in grey (ITU-R BT.601).
    dark, light = [0.2, 0.1, 1.8], np.array([126.0, 127.3, 82.2])
    expected = [dark, 100 + light, 0.299 * 250 / 2 + light]
    # Grey and the blend are each rounded to a level: half of a half, and a half; the table's
    # numbers are given to 0.05.
    np.testing.assert_allclose(blended[0, 0], expected, atol=0.85)
    assert blended.dtype == np.uint8
