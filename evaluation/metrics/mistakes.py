"""Which mistakes to look at first: the most confident ones, and the classes that are confused."""

import numpy as np
from sklearn.metrics import confusion_matrix

from evaluation.metrics.answers import Answers


def most_confident_mistakes(answers: Answers, count: int) -> np.ndarray:
    """Return the rows of up to `count` mistakes, most confident first, int64 [mistakes]."""
    wrong = np.flatnonzero(~answers.right)
    return wrong[np.argsort(-answers.confidence[wrong], kind="stable")][:count]


def confused_pairs(answers: Answers, count: int) -> list[tuple[int, int, int]]:
    """Return up to `count` kinds of mistake, most frequent first.

    Returns:
        Label, predicted class and how many images, at least 1. Of two that are as frequent, the
        one of the smaller label comes first, then of the smaller predicted class.
    """
    pairs = confusion_matrix(answers.labels, answers.predicted, labels=np.arange(answers.logits.shape[-1]))
    np.fill_diagonal(pairs, 0)
    order = np.argsort(-pairs, axis=None, kind="stable")[:count]
    rows, columns = np.unravel_index(order, pairs.shape)
    return [
        (int(label), int(predicted), int(pairs[label, predicted]))
        for label, predicted in zip(rows, columns, strict=True)
        if pairs[label, predicted]
    ]
