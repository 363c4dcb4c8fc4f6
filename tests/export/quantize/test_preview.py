"""The preview of an int8 file against the exporter's own steps on the trained network."""

import contextlib
import io

import keras
import numpy as np
import pytest
from keras import layers

from export.quantize.calibration_images import CalibrationImages
from export.quantize.preview import preview_int8
from export.quantize.strategies import Strategy
from export.verify.operations import verify_integer_only

IMAGES = np.random.default_rng(0).integers(0, 256, (16, 6, 9, 3), dtype=np.uint8)
CLASSES = 4


@pytest.fixture
def untrained() -> keras.Model:
    """Norms of one shape, two of which start at zero: the converter merges what is equal."""
    # Keras numbers layers without a name through the process, and the file holds the numbers.
    keras.utils.clear_session()
    keras.utils.set_random_seed(0)
    x = pixels = keras.Input((6, 9, 3), name="pixels")
    x = layers.Normalization(mean=[127.0] * 3, variance=[4096.0] * 3, name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.ReLU(name="stem_relu")(layers.BatchNormalization(name="stem_norm")(x))
    for name in ("block1", "block2"):
        residual = layers.Conv2D(8, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
        norm = layers.BatchNormalization(gamma_initializer="zeros", name=f"{name}_norm")
        x = layers.Add(name=f"{name}_add")([x, norm(residual)])
        x = layers.ReLU(name=f"{name}_relu")(x)
    x = layers.Dropout(0.5, seed=0, name="dropout")(layers.GlobalAveragePooling2D(name="pool")(x))
    return keras.Model(pixels, layers.Dense(CLASSES, name="head")(x), name="net")


@pytest.fixture
def trained(untrained) -> keras.Model:
    """The same network after eight steps."""
    network = keras.models.clone_model(untrained)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.Adam(0.01), loss)
    labels = np.arange(len(IMAGES)) % CLASSES
    network.fit(IMAGES.astype(np.float32), labels, batch_size=8, epochs=4, verbose=0)
    return network


def test_size_is_that_of_the_trained_networks_file(untrained, trained, converter_of):
    preview = preview_int8(untrained, IMAGES)
    keras.utils.clear_session()
    strategy = Strategy(CalibrationImages(IMAGES, "", 0), "int8")
    assert preview.size == strategy.quantize(converter_of(trained).float32(), IMAGES).size


def test_it_runs_in_integers_and_shows_and_changes_nothing(untrained, capfd):
    weights, trainable = untrained.get_weights(), len(untrained.trainable_weights)
    terminal = io.StringIO()
    terminal.isatty = lambda: True
    with contextlib.redirect_stdout(terminal):
        preview = preview_int8(untrained, IMAGES)
    assert terminal.getvalue() == ""
    assert capfd.readouterr() == ("", "")
    verify_integer_only(preview.graph)
    assert preview.predict(IMAGES).shape == (len(IMAGES), CLASSES)
    for before, after in zip(weights, untrained.get_weights(), strict=True):
        np.testing.assert_array_equal(after, before)
    assert len(untrained.trainable_weights) == trainable
