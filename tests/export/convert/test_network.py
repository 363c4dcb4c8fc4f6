"""The exported network answers as Keras does at inference."""

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from keras import layers

from export.convert.network import (
    build_inference_network,
    with_convolutions_for_dense,
    with_temperature,
    write_single_image_graph,
)
from pipeline.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 9, 3), dtype=np.uint8)


@pytest.fixture(scope="module")
def logits(trained) -> np.ndarray:
    """The trained model's own, before any module of export has seen it."""
    return np.asarray(trained(IMAGES.astype(np.float32), training=False))


def test_probabilities_are_the_softmax_of_the_logits(trained, logits):
    network = build_inference_network(trained, "probabilities")
    # Float32 keeps seven digits, and probabilities are at most 1.
    expected = scipy.special.softmax(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(network.predict(IMAGES, verbose=0), expected, atol=1e-6)


def test_a_temperature_divides_the_logits_and_nothing_else(trained, logits):
    network = with_temperature(trained, 2.5)
    # Float32 keeps seven digits of logits near 1.
    scores = network.predict(IMAGES, verbose=0)
    np.testing.assert_allclose(scores, logits / 2.5, rtol=1e-5, atol=1e-6)
    assert [layer.name for layer in network.layers] == [layer.name for layer in trained.layers]
    np.testing.assert_allclose(trained.predict(IMAGES, verbose=0), logits, atol=1e-5)


@pytest.mark.parametrize("last", [layers.Dense(2, activation="softmax", name="end"), layers.ReLU(name="end")])
def test_a_temperature_needs_a_last_layer_that_is_linear(last):
    pixels = keras.Input((4,), name="pixels")
    network = keras.Model(pixels, last(pixels))
    with pytest.raises(UserError, match="last layer is dense and linear; received 'end'"):
        with_temperature(network, 2.0)


def test_logits_are_the_trained_models(trained, logits):
    network = build_inference_network(trained, "logits")
    # Predict and a direct call may add up in another order.
    np.testing.assert_allclose(network.predict(IMAGES, verbose=0), logits, atol=1e-5)


def test_single_image_graph_infers_from_float_pixels(trained, logits, tmp_path):
    write_single_image_graph(build_inference_network(trained, "logits"), tmp_path)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serve"]
    (pixels,) = serve.structured_input_signature[1].values()
    assert list(serve.structured_outputs) == ["scores"]  # as in the SavedModel
    assert (pixels.name, pixels.dtype, pixels.shape) == ("pixels", tf.float32, (1, 6, 9, 3))
    for image, expected in zip(IMAGES, logits, strict=True):
        (scores,) = serve(pixels=tf.constant(image[None], tf.float32)).values()
        # As above.
        np.testing.assert_allclose(scores[0], expected, atol=1e-5)


def test_convolutions_stand_in_for_dense_layers_on_vectors_alone():
    x = pixels = keras.Input((6, 9, 3), name="pixels")
    x = layers.GlobalAveragePooling2D(name="pool")(layers.Dense(8, name="on_maps")(x))
    x = layers.Dense(7, activation="sigmoid", use_bias=False, name="hidden")(x)
    x = layers.Dense(4, bias_initializer="random_uniform", name="head")(x)
    dense = keras.Model(pixels, x, name="net")
    replaced = with_convolutions_for_dense(dense)
    kinds = {"on_maps": layers.Dense, "hidden": layers.Conv2D, "head": layers.Conv2D}
    assert {name: type(replaced.get_layer(name)) for name in kinds} == kinds
    assert {type(dense.get_layer(name)) for name in kinds} == {layers.Dense}
    expected = dense.predict(IMAGES, verbose=0)
    # Sums of up to 8 products in another order; scores are of the order of 1.
    np.testing.assert_allclose(replaced.predict(IMAGES, verbose=0), expected, atol=1e-5)
