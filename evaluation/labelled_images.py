"""How often the answers for images in class folders are right, and what is taken for what."""

import numpy as np
from sklearn.metrics import confusion_matrix

from evaluation.metrics.intervals import share
from pipeline.console.tables import plain_table
from pipeline.data.class_names import on_a_terminal
from pipeline.prediction.predict import Answered

MAX_COLUMNS = 12
"""Most classes whose confusion fits on a terminal as a table."""

MOST_CONFUSED = 10


def describe_score(answered: Answered, unsure: float) -> str:
    """Write accuracy with its 95 % interval, and a table of confusion: rows labels, columns answers.

    Where there are more than `MAX_COLUMNS` classes, the most frequent mistakes stand in its place.

    Args:
        answered: what was answered.
        unsure: least probability of an answer; the share below it is told, and counts as it is in
            the accuracy of all.

    Returns:
        Lines, or nothing where no image has a label.
    """
    has_label = answered.labels >= 0
    labels, predicted = answered.labels[has_label], answered.predicted[has_label]
    if not len(labels):
        return ""
    right, is_sure = labels == predicted, answered.confidence[has_label] >= unsure
    lines = [f"accuracy {_share(right)} labelled images"]
    if not is_sure.all():
        lines.append(f"where it is sure {_share(right[is_sure])}")
    if unlabelled := len(has_label) - len(labels):
        lines.append(f"not scored: {unlabelled:,} images in no folder that is called as a class")
    names = [on_a_terminal(name) for name in answered.class_names]
    pairs = confusion_matrix(labels, predicted, labels=np.arange(len(names)))
    if len(names) <= MAX_COLUMNS:
        rows = [[name, *map(str, row)] for name, row in zip(names, pairs.tolist(), strict=True)]
        return "\n".join([*lines, "", plain_table(["label \\ answer", *names], rows)])
    return "\n".join([*lines, *_most_confused(pairs, names)])


def _share(right: np.ndarray) -> str:
    estimate = share(right.sum(), len(right))
    if estimate is None:
        return "none of 0"
    low, value, high = (f"{100 * x:.2f}" for x in (estimate.low, estimate.value, estimate.high))
    return f"{value} % ({low} to {high}) on {len(right):,}"


def _most_confused(pairs: np.ndarray, names: list[str]) -> list[str]:
    mistakes = pairs * (1 - np.eye(len(names), dtype=int))
    order = np.argsort(-mistakes, axis=None, kind="stable")[:MOST_CONFUSED]
    found = [(*np.unravel_index(place, mistakes.shape), mistakes.flat[place]) for place in order]
    return [f"{names[label]} taken for {names[other]}: {count}" for label, other, count in found if count]
