"""How often a network is right, in all and class by class."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata
from sklearn.metrics import confusion_matrix, roc_auc_score

from evaluation.metrics.answers import Answers
from evaluation.metrics.intervals import (
    RESAMPLES,
    Estimate,
    area,
    as_json,
    bootstrap,
    f1_share,
    percentile,
    share,
)


def measure_accuracy(
    answers: Answers, class_names: Sequence[str], seed: int, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """Measure accuracy, precision, recall, F1 and the area under the ROC curve.

    Shares and what belongs to one class have score intervals; averages over classes have
    bootstrap intervals, which have no width where no image is wrong. The macro average is over
    the classes that have images; the weighted average counts each by its images, so that
    weighted recall is top-1 accuracy. A class that is never predicted counts as precision 0.

    Args:
        answers: of the test split, at least one image.
        class_names: one a class.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        "top1", "top5" (None below six classes), "macro", "weighted", "per_class",
        "confusion_matrix" (rows: label, columns: predicted) and "resamples". Every estimate is
        {"value", "interval_95"}, or None where it is undefined.
    """
    classes = np.arange(len(class_names))
    confusion = confusion_matrix(answers.labels, answers.predicted, labels=classes)
    areas = [_area(answers, index) for index in range(len(class_names))]
    macro, weighted = _averages(confusion, seed, resamples)
    macro["roc_auc"], weighted["roc_auc"] = _average_areas(answers, areas, seed, resamples)
    top1 = share(answers.right.sum(), len(answers))
    return {
        **as_json({"top1": top1, "top5": _top5(answers)}),
        "macro": as_json(macro),
        "weighted": as_json({**weighted, "recall": top1}),
        "per_class": [
            {
                "class": name,
                "images": int(confusion[index].sum()),
                **as_json({**_of_one_class(confusion, index), "roc_auc": areas[index]}),
            }
            for index, name in enumerate(class_names)
        ],
        "confusion_matrix": confusion.tolist(),
        "resamples": resamples,
    }


def _top5(answers: Answers) -> Estimate | None:
    if answers.logits.shape[-1] < 6:
        return None
    # Of equals the first, as top 1 and predict.py take them; scikit-learn's top_k_accuracy_score takes the
    # last. An int8 file has 256 levels for its logits, so that equals are common.
    first_five = np.argsort(-answers.logits, axis=-1, kind="stable")[:, :5]
    hits = (first_five == answers.labels[:, np.newaxis]).any(axis=-1)
    return share(hits.sum(), len(answers))


def _of_one_class(confusion: np.ndarray, index: int) -> dict[str, Estimate | None]:
    hits = confusion[index, index]
    images, called = confusion[index].sum(), confusion[:, index].sum()
    return {
        "precision": share(hits, called),
        "recall": share(hits, images),
        "f1": f1_share(hits, images + called - 2 * hits) if images else None,
    }


def _averages(confusion: np.ndarray, seed: int, resamples: int) -> tuple[dict[str, Estimate | None], ...]:
    """Estimate macro and weighted precision, recall and F1.

    They depend on the confusion matrix alone, and the confusion matrix of images drawn with
    replacement is a multinomial sample: drawing it spares drawing the images.
    """
    labels, predicted = np.nonzero(confusion)
    counts, images = confusion[labels, predicted], confusion.sum()
    generator = np.random.default_rng(seed)
    resampled = np.array(
        [
            _precision_recall_f1(labels, predicted, generator.multinomial(images, counts / images))
            for _ in range(resamples)
        ]
    )
    values = _precision_recall_f1(labels, predicted, counts)
    names = ("precision", "recall", "f1")
    return tuple(
        {
            name: percentile(values[average, metric], resampled[:, average, metric])
            for metric, name in enumerate(names)
        }
        for average in range(len(values))
    )


def _precision_recall_f1(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Average over the classes that have images: [macro and weighted, metrics].

    Not by scikit-learn, which takes a second and more for a thousand resamples.

    Args:
        labels: int64 [cells], row of each cell of a confusion matrix.
        predicted: int64 [cells], its column.
        counts: int64 [cells], its images.
    """
    classes, right = 1 + max(labels.max(), predicted.max()), labels == predicted
    hits = np.bincount(labels[right], counts[right], classes)
    images, called = np.bincount(labels, counts, classes), np.bincount(predicted, counts, classes)
    present = np.flatnonzero(images)
    hits, images, called = hits[present], images[present], called[present]
    metrics = hits / np.maximum(called, 1), hits / images, 2 * hits / (images + called)
    return np.array([np.mean(metrics, axis=1), np.average(metrics, axis=1, weights=images)])


def _area(answers: Answers, index: int) -> Estimate | None:
    """Estimate the area under the ROC curve of one class against the rest."""
    positive = answers.labels == index
    positives = int(positive.sum())
    if positives in (0, len(answers)):
        return None
    value = roc_auc_score(positive, answers.probabilities[:, index])
    return area(value, positives, len(answers) - positives)


def _average_areas(
    answers: Answers, areas: Sequence[Estimate | None], seed: int, resamples: int
) -> tuple[Estimate, Estimate] | tuple[None, None]:
    """Estimate the macro and the weighted average of the areas.

    To first order each average is a mean over images of the area and its influence; weighted,
    an image also brings in the area of its own class. Means are quick to bootstrap.
    """
    defined = [index for index, estimate in enumerate(areas) if estimate]
    if not defined:
        return None, None
    values = np.array([np.nan if estimate is None else estimate.value for estimate in areas])
    macro = np.full(len(answers), values[defined].mean())
    weighted = values[answers.labels]
    for index in defined:
        positive = answers.labels == index
        influence = area_influence(positive, answers.probabilities[:, index])
        macro += influence / len(defined)
        weighted += influence * positive.mean()
    parts = np.stack([macro, weighted], axis=-1)
    resampled = bootstrap(lambda rows: parts[rows].mean(axis=0), len(answers), seed, resamples)
    # A first-order mean can be a little beyond 0 and 1, which an area cannot.
    resampled = np.clip(resampled, 0, 1)
    average, by_images = (percentile(parts[:, k].mean(), resampled[:, k]) for k in range(2))
    return average, by_images


def area_influence(positive: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """What each image moves an area under the ROC curve, relative to the average image.

        (share of the other group that it is ranked rightly against - area) / share of its group

    (DeLong, DeLong and Clarke-Pearson 1988, the structural components; by ranks as in Sun and
    Xu 2014, "Fast implementation of DeLong's algorithm").

    Args:
        positive: bool [images], both kinds present.
        scores: [images], higher for positives.

    Returns:
        float64 [images], mean 0.
    """
    ranks = rankdata(scores)
    influence = np.empty(len(scores))
    for group, sign in ((positive, 1), (~positive, -1)):
        # Rank among all minus rank in the own group: how many of the other group are below.
        below = (ranks[group] - rankdata(scores[group])) / (~group).sum()
        influence[group] = sign * (below - below.mean()) / group.mean()
    return influence
