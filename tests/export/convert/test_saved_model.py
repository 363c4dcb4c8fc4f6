"""The SavedModel answers as Keras does, also where there is no Keras, for pixels and for files."""

import itertools
import json
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import scipy.special
import tensorflow as tf
from keras import layers

from export.convert.saved_model import export_saved_model

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 8, 8, 3), dtype=np.uint8)
NAMES = ("cat", "dog", "Tür", "yak", "emu", "gnu")

SERVE = """
import json, sys
sys.modules.update(dict.fromkeys(["keras", "tf_keras", "export", "pipeline"]))  # not importable
import numpy as np
import tensorflow as tf
_, saved_model, images, answers = sys.argv
loaded = tf.saved_model.load(saved_model)
serve, pixels, encoded = (loaded.signatures[n] for n in ("serve", "serve_pixels", "serve_encoded"))
images = np.load(images)
found = {}
for name, some in (("five", images), ("one", images[:1]), ("none", images[:0])):
    found[name] = serve(pixels=tf.constant(some))["scores"]
    for what, answer in pixels(pixels=tf.constant(some)).items():
        found[f"{name} {what}"] = answer
    files = tf.constant([tf.io.encode_png(image).numpy() for image in some], tf.string, [len(some)])
    for what, answer in encoded(images=files).items():
        found[f"{name} encoded {what}"] = answer
plain = lambda value: np.asarray(value, "S" if value.dtype == tf.string else None)
np.savez(answers, **{name: plain(value) for name, value in found.items()})
describe = lambda specs: {name: [spec.dtype.name, spec.shape.as_list()] for name, spec in specs.items()}
print(json.dumps({
    name: [describe(s.structured_input_signature[1]), describe(s.structured_outputs)]
    for name, s in loaded.signatures.items()
}))
"""


@pytest.fixture(scope="module")
def network():
    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(x)
    x = layers.ReLU(name="stem_relu")(layers.Conv2D(8, 3, name="stem_conv")(x))
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    return keras.Model(pixels, layers.Dense(len(NAMES), name="head")(x), name="net")


@pytest.fixture(scope="module")
def logits(network) -> np.ndarray:
    return np.asarray(network(IMAGES.astype(np.float32), training=False))


@pytest.fixture(scope="module")
def saved_model(network, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("served") / "saved_model"
    export_saved_model(network, folder, NAMES)
    return folder


@pytest.fixture(scope="module")
def served(saved_model) -> tuple[dict, dict[str, np.ndarray]]:
    """What a process with TensorFlow alone finds in the SavedModel, and what it answers."""
    folder = saved_model.parent
    np.save(folder / "images.npy", IMAGES)
    arguments = [saved_model, folder / "images.npy", folder / "answers.npz"]
    result = subprocess.run(
        [sys.executable, "-c", SERVE, *arguments], cwd=folder, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), dict(np.load(folder / "answers.npz"))


def test_the_signatures_are_those_of_the_documentation(served):
    found, _ = served
    pixels = {"pixels": ["uint8", [None, 8, 8, 3]]}
    scores = {"scores": ["float32", [None, 6]]}
    named = {"classes": ["string", [None, 5]], "probabilities": ["float32", [None, 5]]}
    assert found == {
        "serve": [pixels, scores],
        "serving_default": [pixels, scores],  # TensorFlow Serving's default
        "serve_pixels": [pixels, named],
        "serve_encoded": [{"images": ["string", [None]]}, named],
    }


@pytest.mark.parametrize(("batch", "size"), [("one", 1), ("five", 5), ("none", 0)])
def test_scores_classes_and_probabilities_are_kerass_without_keras(served, logits, batch, size):
    _, answers = served
    # Sums of up to 27 products may be added in another order; scores are of the order of 1.
    np.testing.assert_allclose(answers[batch], logits[:size], atol=1e-5)
    probabilities = scipy.special.softmax(logits[:size].astype(float), axis=1)
    best = np.argsort(-probabilities, axis=1)[:, :5]
    for how in ("", " encoded"):
        given = answers[f"{batch}{how} probabilities"]
        np.testing.assert_allclose(given, np.take_along_axis(probabilities, best, 1), atol=1e-6)
        names = [[name.decode() for name in row] for row in answers[f"{batch}{how} classes"]]
        assert names == [[NAMES[label] for label in row] for row in best]


def test_probabilities_are_not_normalised_twice(network, logits, tmp_path):
    softmax = keras.Model(network.input, layers.Softmax(name="probabilities")(network.output))
    export_saved_model(softmax, tmp_path, NAMES, "probabilities")
    loaded = tf.saved_model.load(str(tmp_path))
    answers = loaded.signatures["serve_pixels"](pixels=tf.constant(IMAGES))
    expected = np.sort(scipy.special.softmax(logits, axis=1), axis=1)[:, :0:-1]
    np.testing.assert_allclose(answers["probabilities"], expected, atol=1e-6)


def test_images_of_another_size_are_refused(saved_model):
    # Global average pooling takes maps of any size.
    loaded = tf.saved_model.load(str(saved_model))
    for name, size in itertools.product(("serve", "serve_pixels"), ((4, 8), (16, 16), (9, 6))):
        with pytest.raises(tf.errors.InvalidArgumentError, match="not compatible with expected shape"):
            loaded.signatures[name](pixels=tf.zeros([2, *size, 3], tf.uint8))


def test_every_weight_is_held_once(tmp_path):
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Conv2D(300, 3, name="conv")(pixels)
    x = layers.BatchNormalization(name="norm")(layers.Conv2D(300, 3, name="conv2")(x))
    network = keras.Model(pixels, layers.GlobalAveragePooling2D(name="pool")(x), name="net")
    export_saved_model(network, tmp_path, [f"class {label}" for label in range(300)])
    (weights,) = tmp_path.glob("variables/*.data*")
    size = sum(4 * np.prod(weight.shape) for weight in network.weights)
    # Beside 3.3 MB of weights lies the tree of what was saved, some kilobytes.
    assert size <= weights.stat().st_size < 1.02 * size
