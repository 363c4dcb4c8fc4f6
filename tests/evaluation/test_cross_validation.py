"""Wrong labels in every split are found by heads that did not see them."""

from collections import Counter

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import StratifiedKFold

from evaluation.cross_validation import cross_validate
from evaluation.data_errors import find_suspects
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.data.table import ArrayImages, Source
from pipeline.errors import UserError

IMAGES, WRONG = 400, 24
DIGITS = load_digits()
PIXELS = np.repeat(np.rint(DIGITS.images[:IMAGES] * 255 / 16).astype(np.uint8)[..., None], 3, axis=-1)
PLANTED = np.random.default_rng(3).choice(IMAGES, WRONG, replace=False)
LABELS = np.where(
    np.isin(np.arange(IMAGES), PLANTED), (DIGITS.target[:IMAGES] + 3) % 10, DIGITS.target[:IMAGES]
)


def build_data(labels: np.ndarray) -> PreparedData:
    """Digits with these labels: five eighths to train on, an eighth to validate with, a quarter to test."""
    rows = np.random.default_rng(4).permutation(len(labels))
    train, validation, test = np.split(rows, [len(rows) * 5 // 8, len(rows) * 6 // 8])
    names = tuple(map(str, range(10)))
    images = ArrayImages(PIXELS[: len(labels)])
    source = Source("digits", names, labels, PIXELS[: len(labels), 0, 0, :1], images, {"train": rows})
    return PreparedData(source, Splits(train, validation, np.empty(0, np.int64), test), 8)


@pytest.fixture(scope="module")
def network() -> keras.Model:
    """Its features are the pixels."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Flatten(name="flat")(pixels)
    return keras.Model(pixels, keras.layers.Dense(10, name="head")(x))


def test_planted_labels_of_every_split_stand_first(network):
    data = build_data(LABELS)
    answers = cross_validate(data, network, 5, seed=0, balanced=False)
    assert {split: len(each) for split, each in answers.items()} == {
        "train": 250,
        "validation": 50,
        "test": 100,
    }
    suspects = find_suspects(data, answers, 1.0, "pixels")
    rows = suspects.rows[suspects.suspects.indices]
    first = set(rows[:WRONG].tolist())
    assert len(first & set(PLANTED.tolist())) >= 0.7 * WRONG
    # All that the head judges otherwise, which only so few right labels of 376 are.
    assert len(set(rows.tolist()) & set(PLANTED.tolist())) >= 0.9 * WRONG
    assert Counter(map(data.splits.split_of, first)).keys() == {"train", "validation", "test"}
    right = DIGITS.target[rows] == suspects.suspects.suggested
    assert right[:WRONG].mean() > 0.7


def test_each_image_is_answered_for_by_a_head_of_the_other_folds(network):
    data = build_data(LABELS)
    answers = cross_validate(data, network, 4, seed=7, balanced=True)
    rows = np.concatenate([data.splits.train, data.splits.validation, data.splits.test])
    features, labels = PIXELS[rows].reshape(IMAGES, -1).astype(np.float64), LABELS[rows]
    features = (features - features.mean(axis=0)) / np.sqrt(features.var(axis=0).mean())
    one_hot = np.eye(10)[labels]
    weights = IMAGES / (10 * np.bincount(labels))[labels]
    errors, expected = [], []
    for penalty in 10.0 ** np.arange(1, 6):
        found = np.empty((IMAGES, 10))
        for seen, unseen in StratifiedKFold(4, shuffle=True, random_state=7).split(features, labels):
            found[unseen] = ridge(features[seen], one_hot[seen], weights[seen], penalty, features[unseen])
        errors.append(np.mean((found - one_hot) ** 2))
        expected.append(np.maximum(found, 1e-6) / np.maximum(found, 1e-6).sum(axis=1, keepdims=True))
    found = np.concatenate([each.probabilities for each in answers.values()])
    np.testing.assert_allclose(found, expected[np.argmin(errors)], atol=1e-4)


def ridge(x: np.ndarray, y: np.ndarray, w: np.ndarray, penalty: float, unseen: np.ndarray) -> np.ndarray:
    """Weighted ridge regression with a free intercept, by its normal equations."""
    centre, level = np.average(x, axis=0, weights=w), np.average(y, axis=0, weights=w)
    x, y = x - centre, y - level
    kernel = np.linalg.solve(x.T @ (w[:, None] * x) + penalty * np.eye(x.shape[1]), x.T @ (w[:, None] * y))
    return (unseen - centre) @ kernel + level


def test_more_folds_than_images_of_a_class_are_refused(network):
    labels = DIGITS.target[:60].copy()
    few = np.bincount(labels).min()
    with pytest.raises(
        UserError, match=rf"^--cross-validate must be at most .*received {few + 1}, and {few} of"
    ):
        cross_validate(build_data(labels), network, few + 1, seed=0, balanced=False)
