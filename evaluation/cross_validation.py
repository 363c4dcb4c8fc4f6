"""Every image judged by a linear head that was fitted without it."""

from dataclasses import replace

import keras
import numpy as np
from sklearn.metrics import log_loss
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from evaluation.data_errors import HeldOut, find_suspects
from evaluation.metrics.answers import Answers
from pipeline.config.presets import preset
from pipeline.data.batches import build_evaluation_batches
from pipeline.data.prepare import PixelStatistics, PreparedData
from pipeline.errors import UserError
from pipeline.pretrained import assign_pretrained, read_pretrained
from pipeline.training.linear_head import build_heads, compute_features, measure_scale
from pipeline.training.networks import build_deployed_network

BATCH = 64


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
    fitted to the features of all folds but one and answers for that one. The penalty is the one
    whose answers have the least cross-entropy.

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
    counts = np.bincount(labels)
    if counts.min() < folds:
        raise UserError(
            f"--cross-validate must be at most the images of the smallest class; received {folds}, and "
            f"{counts.min()} of {data.source.class_names[counts.argmin()]!r}"
        )
    batches = {
        split: (build_evaluation_batches(data.examples(split), global_batch_size=BATCH), len(of))
        for split, of in rows.items()
    }
    features = np.concatenate(list(compute_features(network, batches).values()))
    dealt = StratifiedKFold(folds, shuffle=True, random_state=seed)
    scaled = measure_scale(features).apply(features)
    answers = [
        cross_val_predict(head, scaled, labels, cv=dealt, method="predict_log_proba")
        for head in build_heads(balanced=balanced)
    ]
    best = min(answers, key=lambda logits: log_loss(labels, np.exp(logits)))
    ends = np.cumsum([len(of) for of in rows.values()])[:-1]
    parts = zip(rows, np.split(labels, ends), np.split(best.astype(np.float32), ends), strict=True)
    return {split: Answers(of, logits) for split, of, logits in parts}
