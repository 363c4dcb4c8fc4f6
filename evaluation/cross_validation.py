"""Every image judged by a linear head that was fitted without it."""

from dataclasses import replace

import keras
import numpy as np
from sklearn.linear_model import Ridge
from sklearn.model_selection import StratifiedKFold, cross_val_predict
from sklearn.utils.class_weight import compute_sample_weight

from evaluation.data_errors import HeldOut, find_suspects
from evaluation.metrics.answers import Answers
from pipeline.config.presets import preset
from pipeline.data.batches import build_evaluation_batches
from pipeline.data.prepare import PixelStatistics, PreparedData
from pipeline.errors import UserError
from pipeline.pretrained import assign_pretrained, read_pretrained
from pipeline.training.linear_head import compute_features, measure_scale
from pipeline.training.networks import build_deployed_network

BATCH = 64

PENALTIES = (1e1, 1e2, 1e3, 1e4, 1e5)
"""Of squared weights, that are tried on features of mean variance 1."""

LEAST_CHANCE = 1e-6
"""What an answer of less, even below 0, is read as."""


def check_folds(data: PreparedData, folds: int) -> None:
    """Refuse more folds than the images of a class.

    Raises:
        UserError: a class has fewer images.
    """
    counts = np.bincount(data.labels, minlength=len(data.source.class_names))
    if counts.min() < folds:
        raise UserError(
            f"--cross-validate must be at most the images of the smallest class; received {folds}, and "
            f"{counts.min()} of {data.source.class_names[counts.argmin()]!r}"
        )


def judge_all_labels(data: PreparedData, folds: int, seed: int) -> HeldOut:
    """Look for wrong labels in all splits, on features of a network that never saw these labels.

    A network of the run's own could have learned them by heart: the features are those that
    ImageNet taught EfficientNet-Lite0.

    Args:
        data: of the run.
        folds: see `cross_validate`.
        seed: of the folds.

    Raises:
        UserError: a class has fewer images than there are folds, or the weights are damaged.
    """
    config = preset("folder").with_own_width()
    pretrained = read_pretrained(config.transfer.weights, config.model.model)
    statistics = PixelStatistics(pretrained.mean, pretrained.std)
    network = build_deployed_network(config, len(data.source.class_names), statistics)
    assign_pretrained(pretrained, network, data.source.class_names)
    enlarged = replace(data, image_size=config.data.image_size)
    answers = cross_validate(enlarged, network, folds, seed, balanced=True)
    return find_suspects(data, answers, 1.0, config.model.model)


def cross_validate(
    data: PreparedData, network: keras.Model, folds: int, seed: int, *, balanced: bool
) -> dict[str, Answers]:
    """Answer for the images of all splits, each by a head that did not see it.

    The images, whatever split they are of, are dealt into folds, each class evenly; a head is
    fitted to the features of all folds but one and answers for that one. It is fitted by least squares
    to one-hot labels, so that its answers estimate probabilities (Hastie, Tibshirani and Friedman 2009,
    "The Elements of Statistical Learning", section 4.2): a wrong label bends it less than by
    cross-entropy, whose penalty would also have to be looked for among slower fits. The penalty is the
    one whose answers have the least squared error.

    Args:
        data: the images; those of all splits are judged.
        network: what gives the features; it must not have learned these labels.
        folds: at least 2.
        seed: of the folds.
        balanced: whether the classes count alike, however many images they have.

    Returns:
        Split -> answers in its order; their logits are log-probabilities.

    Raises:
        UserError: a class has fewer images than there are folds.
    """
    rows = {split: rows for split, rows in vars(data.splits).items() if len(rows)}
    labels = data.source.labels[np.concatenate(list(rows.values()))]
    check_folds(data, folds)
    batches = {
        split: (build_evaluation_batches(data.examples(split), global_batch_size=BATCH), len(of))
        for split, of in rows.items()
    }
    features = np.concatenate(list(compute_features(network, batches).values()))
    dealt = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scaled, one_hot = measure_scale(features).apply(features), np.eye(len(data.source.class_names))[labels]
    weights = compute_sample_weight("balanced" if balanced else None, labels)
    folded = list(dealt.split(scaled, labels))
    answers = [
        cross_val_predict(Ridge(penalty), scaled, one_hot, cv=folded, params={"sample_weight": weights})
        for penalty in PENALTIES
    ]
    best = min(answers, key=lambda found: np.mean(np.square(found - one_hot)))
    chances = np.maximum(best, LEAST_CHANCE)
    logits = np.log(chances / chances.sum(axis=1, keepdims=True)).astype(np.float32)
    ends = np.cumsum([len(of) for of in rows.values()])[:-1]
    parts = zip(rows, np.split(labels, ends), np.split(logits, ends), strict=True)
    return {split: Answers(of, logits) for split, of, logits in parts}
