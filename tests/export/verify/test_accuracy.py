"""Answers for the test split: each image once, beside its own label."""

import keras
import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from export.quantize.calibration_images import CalibrationImages
from export.quantize.strategies import Strategy
from export.verify.accuracy import KerasAnswers, Split, answer_with_keras
from pipeline.data.batches import Examples
from pipeline.data.table import ArrayImages, Source

TABLE = np.random.default_rng(0)
IMAGES = (TABLE.uniform(0, 1, (300, 1, 1, 3)) * TABLE.integers(0, 256, (300, 6, 6, 3))).astype(np.uint8)
"""Images that differ in brightness and colour, as noise alone would not."""

ROWS = TABLE.permutation(300)[:200]
"""The test split: more than one batch, and not in the order of the table."""


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Four classes of colours, the mean image on the border between all."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((6, 6, 3), name="pixels")
    x = keras.layers.Conv2D(8, 3, padding="same", activation="relu", name="conv")(pixels)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, keras.layers.Dense(4, name="head")(x), name="net")
    mean_scores = network.predict(IMAGES.astype(np.float32), verbose=0).mean(axis=0)
    kernel, bias = network.get_layer("head").get_weights()
    network.get_layer("head").set_weights([kernel, bias - mean_scores])
    return network


@pytest.fixture(scope="module")
def split(network) -> Examples:
    """Images of which the network gets about two of three right."""
    random = np.random.default_rng(1)
    guesses = random.integers(0, 4, len(IMAGES))
    known = random.uniform(size=len(IMAGES)) < 0.6
    answers = network.predict(IMAGES.astype(np.float32), verbose=0).argmax(axis=-1)
    labels = np.where(known, answers, guesses).astype(np.int64)
    digests = np.zeros((len(IMAGES), 1), np.uint8)
    return Examples(Source("made up", tuple("abcd"), labels, digests, ArrayImages(IMAGES), {}), ROWS, 6)


@pytest.fixture(scope="module")
def keras_answers(network, split) -> KerasAnswers:
    return answer_with_keras(network, Split(split))


def test_each_test_image_is_answered_once_and_compared_beside_its_own_label(
    network, keras_answers, converter_of, split
):
    float32 = converter_of(network).float32()
    # Calibrated on darker images than it is tried on, int8 answers otherwise here and there.
    dark = IMAGES[:10] // 4
    strategy = Strategy(CalibrationImages(dark, "", 0), "int8")
    files = {"float32": float32, "int8": strategy.quantize(float32, dark)}
    labels = split.source.labels[ROWS]
    expected = network.predict(IMAGES.astype(np.float32), verbose=0)[ROWS]
    # Batches of another size may add up in another order; scores are of the order of 10.
    np.testing.assert_allclose(keras_answers.scores, expected, atol=1e-3)
    assert keras_answers.accuracy == accuracy_score(labels, expected.argmax(axis=-1))
    comparisons = keras_answers.compare_files(files)
    assert list(comparisons) == ["float32", "int8"]
    for name, comparison in comparisons.items():
        answers = files[name].predict(IMAGES[ROWS]).argmax(axis=-1)
        assert comparison.images == len(ROWS)
        assert comparison.float_accuracy == keras_answers.accuracy
        assert comparison.accuracy == accuracy_score(labels, answers)
        assert comparison.agreement == accuracy_score(expected.argmax(axis=-1), answers)
    # Otherwise any order of labels, or the same file twice, would have done.
    assert 0.5 < comparisons["float32"].accuracy < 0.9
    assert comparisons["int8"].agreement < 1


def test_nothing_is_compared_where_there_is_no_file(keras_answers):
    assert keras_answers.compare_files({}) == {}
