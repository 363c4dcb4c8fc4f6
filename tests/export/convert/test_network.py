"""The exported network answers as Keras does at inference, also where there is no Keras."""

import json
import subprocess
import sys

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from keras import layers

from export.convert.network import (
    build_inference_network,
    export_saved_model,
    with_convolutions_for_dense,
    with_temperature,
    write_single_image_graph,
)
from pipeline.errors import UserError

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 9, 3), dtype=np.uint8)

SERVE = """
import json, sys
sys.modules.update(dict.fromkeys(["keras", "tf_keras", "export", "pipeline"]))  # not importable
import numpy as np
import tensorflow as tf
_, saved_model, images, scores = sys.argv
loaded = tf.saved_model.load(saved_model)
serve = loaded.signatures["serve"]
images = np.load(images)
five = serve(pixels=tf.constant(images))["scores"]
one = serve(pixels=tf.constant(images[:1]))["scores"]
none = serve(pixels=tf.constant(images[:0]))["scores"]
np.savez(scores, five=five, one=one, none=none)
describe = lambda specs: {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in specs}
inputs = describe(serve.structured_input_signature[1].items())
outputs = describe(serve.structured_outputs.items())
print(json.dumps({"names": list(loaded.signatures), "inputs": inputs, "outputs": outputs}))
"""


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


@pytest.fixture(scope="module")
def served(trained, logits, tmp_path_factory) -> tuple[dict, dict[str, np.ndarray]]:
    """What a process with TensorFlow alone finds in the SavedModel, and the scores it gets."""
    folder = tmp_path_factory.mktemp("served")
    export_saved_model(build_inference_network(trained, "logits"), folder / "saved_model")
    np.save(folder / "images.npy", IMAGES)
    arguments = [folder / "saved_model", folder / "images.npy", folder / "scores.npz"]
    result = subprocess.run(
        [sys.executable, "-c", SERVE, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), dict(np.load(folder / "scores.npz"))


def test_saved_model_has_the_signature_of_the_documentation(served):
    found, _ = served
    # The second is TensorFlow Serving's default.
    assert set(found["names"]) == {"serve", "serving_default"}
    assert found["inputs"] == {"pixels": ["uint8", [None, 6, 9, 3]]}
    assert found["outputs"] == {"scores": ["float32", [None, 4]]}


@pytest.mark.parametrize(("batch", "size"), [("one", 1), ("five", 5), ("none", 0)])
def test_saved_model_gives_keras_scores_without_keras(served, logits, batch, size):
    _, scores = served
    # Sums of up to 27 products may be added in another order; scores are of the order of 1.
    np.testing.assert_allclose(scores[batch], logits[:size], atol=1e-5)


@pytest.mark.parametrize("size", [(3, 9), (12, 18), (9, 6)])
def test_saved_model_refuses_images_of_another_size(trained, tmp_path, size):
    # Global average pooling takes maps of any size.
    export_saved_model(trained, tmp_path)
    serve = tf.saved_model.load(str(tmp_path)).signatures["serve"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
        serve(pixels=tf.zeros([2, *size, 3], tf.uint8))


def test_saved_model_holds_every_weight_once(tmp_path):
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(300, 3, name="conv")(pixels)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(300, 3, name="conv2")(x))
    network = keras.Model(pixels, layers.GlobalAveragePooling2D(name="pool")(x), name="net")
    export_saved_model(network, tmp_path)
    (weights,) = tmp_path.glob("variables/*.data*")
    size = sum(4 * np.prod(weight.shape) for weight in network.weights)
    # Beside 3.3 MB of weights lies the tree of what was saved, some kilobytes.
    assert size <= weights.stat().st_size < 1.02 * size


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
