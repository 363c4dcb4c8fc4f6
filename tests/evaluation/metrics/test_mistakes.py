"""The mistakes that are shown first."""

import numpy as np

from evaluation.metrics.answers import Answers
from evaluation.metrics.mistakes import confused_pairs, most_confident_mistakes

#                     label, predicted, logit of the predicted class
ANSWERS = [(0, 0, 9), (0, 1, 2), (1, 2, 5), (2, 2, 1), (0, 1, 2), (1, 0, 4), (2, 0, 3), (1, 2, 1)]


def answers(rows):
    logits = np.zeros((len(rows), 3), np.float32)
    for row, (_, predicted, logit) in enumerate(rows):
        logits[row, predicted] = logit
    return Answers(np.array([label for label, _, _ in rows], np.int64), logits)


def test_mistakes_by_confidence_then_by_row():
    assert most_confident_mistakes(answers(ANSWERS), 10).tolist() == [2, 5, 6, 1, 4, 7]
    assert most_confident_mistakes(answers(ANSWERS), 2).tolist() == [2, 5]


def test_pairs_by_frequency_then_by_class():
    expected = [(0, 1, 2), (1, 2, 2), (1, 0, 1), (2, 0, 1)]
    assert confused_pairs(answers(ANSWERS), 10) == expected
    assert confused_pairs(answers(ANSWERS), 3) == expected[:3]


def test_no_mistakes():
    right = answers([(0, 0, 1), (2, 2, 1)])
    assert most_confident_mistakes(right, 5).tolist() == []
    assert confused_pairs(right, 5) == []
