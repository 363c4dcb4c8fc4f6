"""The judge: scores of the test split, each image's beside its own label."""

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from export.tflite.interpreter import LiteRTModel
from export.verify.accuracy import Judge
from pipeline.data.batches import Examples
from pipeline.data.table import ArrayImages, Source
from tests.export.quantize.samples import IMAGES, ROWS


def keras_scores(network) -> np.ndarray:
    return network.predict(IMAGES.astype(np.float32), verbose=0)


@pytest.fixture(scope="module")
def split(network) -> Examples:
    """Images of which the network gets about two of three right."""
    random = np.random.default_rng(1)
    guesses = random.integers(0, 4, len(IMAGES))
    known = random.uniform(size=len(IMAGES)) < 0.6
    labels = np.where(known, keras_scores(network).argmax(axis=-1), guesses)
    images, digests = ArrayImages(IMAGES), np.zeros((300, 1), np.uint8)
    source = Source("made up", tuple("abcd"), labels.astype(np.int64), digests, images, {})
    return Examples(source, ROWS, 8)


@pytest.fixture(scope="module")
def judge(network, split) -> Judge:
    return Judge(network, split)


def test_each_test_image_is_judged_once_and_beside_its_own_label(network, judge, float32, rungs, split):
    files = {"float32": float32, "int8": rungs[0].quantize(float32, rungs[0].calibration.images)}
    scores = judge.scores(files)
    labels = split.source.labels[ROWS]
    expected = keras_scores(network)[ROWS]
    assert list(scores) == ["float32", "int8"]
    # Float32 adds up the same terms in another order; scores are of the order of 10.
    np.testing.assert_allclose(scores["float32"], expected, atol=1e-3)
    for name, content in files.items():
        answers = LiteRTModel(content).predict(IMAGES[ROWS]).argmax(axis=-1)
        comparison = judge.compare(scores[name])
        assert comparison.images == len(ROWS) == len(scores[name])
        assert comparison.float_accuracy == accuracy_score(labels, expected.argmax(axis=-1))
        assert comparison.accuracy == accuracy_score(labels, answers)
        assert comparison.agreement == accuracy_score(expected.argmax(axis=-1), answers)
    # Otherwise any order of labels, or the same file twice, would have done.
    assert 0.5 < judge.compare(scores["float32"]).accuracy < 0.9
    assert judge.compare(scores["int8"]).agreement < 1
