"""Weights of keras.applications: ours computes what Keras' own network computes with them."""

from typing import Any

import keras
import numpy as np
import pytest

from pipeline.errors import UserError
from pipeline.pretrained import Pretrained, assign_pretrained, read_pretrained
from pipeline.pretrained.applications import translate_application
from tests.pipeline.pretrained.pretrained_samples import normalised_as, one_line, random_pixels

SIZE = 64
APPLICATIONS = {
    "mobilenetv2": keras.applications.mobilenet_v2,
    "vgg16": keras.applications.vgg16,
    "densenet121": keras.applications.densenet,
}
"""Network -> Keras' module of it, with what it does to pixels."""


def theirs(model: str) -> keras.Model:
    """Keras' own network, of small images and up to our features where our head is another."""
    settings: dict[str, Any] = {"weights": None, "input_shape": (SIZE, SIZE, 3)}
    if model == "vgg16":
        return keras.applications.VGG16(include_top=False, pooling="avg", **settings)
    build = {"mobilenetv2": keras.applications.MobileNetV2, "densenet121": keras.applications.DenseNet121}
    return build[model](classifier_activation=None, **settings)


def randomise(network: keras.Model) -> None:
    """Give each value its own, of a size that leaves the features of order 1."""
    rng = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(rng.uniform(0.5, 1.5, weight.shape))
        elif weight.name.endswith("kernel"):
            inputs = np.prod(weight.shape[:2] if "depthwise" in weight.path else weight.shape[:-1])
            weight.assign(rng.normal(0, np.sqrt(2 / inputs), weight.shape))
        else:
            weight.assign(rng.normal(0, 0.2, weight.shape))


def assert_same(model: str, pretrained: Pretrained, reference: keras.Model) -> None:
    """Hold our network with the weights to Keras' own, which prepares its pixels itself."""
    network = normalised_as(pretrained, model=model, width=0, stem="auto", size=SIZE, classes=1000)
    fresh = assign_pretrained(pretrained, network, pretrained.class_names)
    assert fresh == (["head"] if model == "vgg16" else [])
    if model == "vgg16":
        network = keras.Model(network.input, network.get_layer("pool").output)
    pixels = random_pixels(SIZE)
    expected = reference(APPLICATIONS[model].preprocess_input(pixels.astype(np.float32)), training=False)
    largest = np.abs(expected).max()
    # Both sum in float32 in orders of their own: 1e-4 of the largest value.
    np.testing.assert_allclose(network(pixels, training=False), expected, rtol=0, atol=1e-4 * largest)


@pytest.mark.parametrize("model", ["vgg16", "densenet121"])
def test_it_computes_what_keras_does(model):
    reference = theirs(model)
    randomise(reference)
    assert_same(model, translate_application(model, reference, "Keras' own"), reference)


def test_a_file_that_keras_keeps_needs_no_network(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    reference = theirs("mobilenetv2")
    randomise(reference)
    # In the format of Keras' own files.
    reference.save(path)
    pretrained = read_pretrained("imagenet", "mobilenetv2")
    assert "mobilenetv2_1.00_224 of keras.applications trained on ImageNet, Apache-2.0, SHA-256 " in (
        pretrained.origin
    )
    assert_same("mobilenetv2", pretrained, reference)


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "models").mkdir()
    path = tmp_path / "models" / "mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5"
    path.write_bytes(b"not HDF5")
    with pytest.raises(UserError, match="--weights imagenet must be whole") as error:
        read_pretrained("imagenet", "mobilenetv2")
    assert str(path) in one_line(error)
