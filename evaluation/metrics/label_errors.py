"""Errors of the data itself: labels that are probably wrong, and classes of unequal size."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import entropy
from sklearn.metrics import confusion_matrix


@dataclass(frozen=True)
class Suspects:
    """Images whose labels are probably wrong, the most suspicious first.

    Attributes:
        indices: int64 [suspects], places in the labels.
        suggested: int64 [suspects], the class that each probably shows.
        margins: float64 [suspects], p(label) - p(suggested class), in [-1, 1], ascending.
        wrong_share: estimated share of wrong labels among all, in [0, 1].
    """

    indices: np.ndarray
    suggested: np.ndarray
    margins: np.ndarray
    wrong_share: float


def suspect_labels(labels: np.ndarray, probabilities: np.ndarray) -> Suspects:
    """Find labels that are probably wrong, by confident learning.

    Northcutt, Jiang and Chuang 2021 (arXiv:1911.00068, section 3). An image is confidently of
    class j where p(j) reaches the mean p(j) of the images labelled j (eq. 2), of several such
    classes of the most probable; of none, it is not judged. Counted by label and confident class,
    the images give the confident joint (eq. 1). Those off its diagonal are the suspects (section
    3.2, method 2), ranked by the margin of method 4. Scaled to the images of each label, the
    joint estimates the share of wrong labels (eq. 3).

    Args:
        labels: int [images], at least one.
        probabilities: [images, classes], of a network that was not trained on these images.
            No image is suspected of a class that no label names.
    """
    probabilities = np.asarray(probabilities, np.float64)
    images, classes = probabilities.shape
    confident = probabilities >= _thresholds(labels, probabilities)
    judged = confident.any(axis=1)
    likely = np.where(confident, probabilities, -1).argmax(axis=1)

    suspects = np.flatnonzero(judged & (likely != labels))
    margins = probabilities[suspects, labels[suspects]] - probabilities[suspects, likely[suspects]]
    order = np.argsort(margins, kind="stable")

    joint = confusion_matrix(labels[judged], likely[judged], labels=range(classes))
    wrong = 1 - joint.diagonal() / np.maximum(joint.sum(axis=1), 1)
    wrong_share = float(np.bincount(labels, minlength=classes) @ wrong / images)
    return Suspects(suspects[order], likely[suspects][order], margins[order], wrong_share)


def misjudged_labels(labels: np.ndarray, probabilities: np.ndarray) -> Suspects:
    """Rank every image that another class is more probable for than its label.

    Northcutt, Jiang and Chuang 2021 (section 3.2, method 1), by the margin of method 4. Of a few hundred
    images that are answered for as surely as they are by a linear head, `suspect_labels` finds fewer than
    are wrong: whoever goes down this list meets most of them before the first right ones.

    Args:
        labels: int [images], at least one.
        probabilities: [images, classes], of a network that was not trained on these images.
    """
    probabilities = np.asarray(probabilities, np.float64)
    likely = probabilities.argmax(axis=1)
    margins = probabilities[np.arange(len(labels)), labels] - probabilities.max(axis=1)
    suspects = np.flatnonzero(margins < 0)
    order = suspects[np.argsort(margins[suspects], kind="stable")]
    return Suspects(order, likely[order], margins[order], suspect_labels(labels, probabilities).wrong_share)


def _thresholds(labels: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
    """Return for each class the mean of its probability where it is the label (eq. 2)."""
    thresholds = np.full(probabilities.shape[1], np.inf)
    for label in np.unique(labels):
        own = probabilities[labels == label, label]
        # A mean never exceeds the maximum, but a rounded mean of equal numbers may.
        thresholds[label] = min(own.mean(), own.max())
    return thresholds


@dataclass(frozen=True)
class ClassBalance:
    """How the images are spread over the classes.

    Attributes:
        counts: int64 [classes], images of each.
        imbalance_ratio: images of the largest class to those of the smallest (Buda et al. 2018,
            arXiv:1710.05381, section 2); infinite where a class has none.
        effective_classes: as many classes of equal size would have the same entropy: exp(H) of the
            shares (Hill 1973, Ecology 54(2), order 1), from 1 to the number of classes.
    """

    counts: np.ndarray
    imbalance_ratio: float
    effective_classes: float


def class_balance(labels: np.ndarray, classes: int) -> ClassBalance:
    """Count the images of each class and measure how uneven they are.

    Args:
        labels: int [images], at least one.
        classes: number of classes.
    """
    counts = np.bincount(labels, minlength=classes)
    ratio = counts.max() / counts.min() if counts.min() else np.inf
    return ClassBalance(counts, float(ratio), float(np.exp(entropy(counts))))
