"""Answers: probabilities, predictions and temperatures against numbers worked by hand."""

import numpy as np
import pytest

from evaluation.metrics.answers import Answers

ANSWERS = Answers(np.array([1, 0, 2]), np.log(np.float32([[1, 2, 1], [1, 3, 6], [1, 1, 8]])))

ROUNDING = 1e-6
"""Logarithms in float32, of the order of 1."""


def test_probabilities_are_the_softmax_of_the_logits():
    expected = [[0.25, 0.5, 0.25], [0.1, 0.3, 0.6], [0.1, 0.1, 0.8]]
    np.testing.assert_allclose(ANSWERS.probabilities, expected, atol=ROUNDING)
    assert ANSWERS.probabilities.dtype == np.float64


def test_the_most_probable_class_is_predicted():
    assert len(ANSWERS) == 3
    np.testing.assert_array_equal(ANSWERS.predicted, [1, 2, 2])
    np.testing.assert_array_equal(ANSWERS.right, [True, False, True])
    np.testing.assert_allclose(ANSWERS.confidence, [0.5, 0.6, 0.8], atol=ROUNDING)


def test_great_logits_have_probabilities_too():
    sure = Answers(np.array([0]), np.float32([[1e30, 0, -1e30]]))
    np.testing.assert_array_equal(sure.probabilities, [[1, 0, 0]])


def test_confidence_near_one_is_not_rounded_to_one():
    # 1 / (1 + e^-20) differs from 1 by 2e-9, which float32 does not see.
    sure = Answers(np.array([0]), np.float32([[20, 0]]))
    assert 1 - sure.confidence[0] == pytest.approx(np.exp(-20), rel=1e-6)


def test_take_keeps_labels_with_their_logits():
    taken = ANSWERS.take(np.array([2, 0]))
    np.testing.assert_array_equal(taken.labels, [2, 1])
    np.testing.assert_array_equal(taken.logits, ANSWERS.logits[[2, 0]])


def test_temperature_two_takes_square_roots():
    # exp(log(p) / 2) is the square root of p: 1 : 3 of 1 : 9.
    cooled = Answers(np.array([0]), np.log(np.float32([[1, 9]]))).at_temperature(2)
    np.testing.assert_allclose(cooled.probabilities, [[0.25, 0.75]], atol=ROUNDING)
    assert cooled.logits.dtype == np.float32
    np.testing.assert_array_equal(cooled.labels, [0])
