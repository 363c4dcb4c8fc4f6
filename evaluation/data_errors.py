"""What the network tells of its data: labels to look at again, hard images, uneven classes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluation.measurement import answer_alone
from evaluation.metrics.answers import Answers
from evaluation.metrics.calibration import negative_log_likelihoods
from evaluation.metrics.label_errors import Suspects, class_balance, misjudged_labels, suspect_labels
from evaluation.networks.networks import Network
from evaluation.page.gallery import describe_images
from pipeline.data.prepare import PreparedData

SHOWN = 12
"""Images of a gallery, at most."""

HARDEST_AMONG = 10_000
"""Images of train that the hardest are looked for among."""


@dataclass(frozen=True)
class HeldOut:
    """Images that the network was not trained on, and what it answers for them.

    Attributes:
        rows: int64 [images], of the table.
        answers: for them.
        suspects: those whose labels are probably wrong, by their places here.
        cross_validated: whose features the heads read that judged the images of all splits, each
            without having seen it; None where the network judged what it was not trained on.
    """

    rows: np.ndarray
    answers: Answers
    suspects: Suspects
    cross_validated: str | None = None


def find_suspects(
    data: PreparedData, answers: Mapping[str, Answers], temperature: float, cross_validated: str | None = None
) -> HeldOut:
    """Look for wrong labels among the images of the given splits.

    Args:
        data: of the run.
        answers: of splits that were not trained on.
        temperature: at which the network is calibrated; of one that is too sure, hardly any label
            would be doubted.
        cross_validated: see `HeldOut`.
    """
    rows = np.concatenate([getattr(data.splits, split) for split in answers])
    labels = np.concatenate([each.labels for each in answers.values()])
    logits = np.concatenate([each.logits for each in answers.values()])
    together = Answers(labels, logits).at_temperature(temperature)
    find = misjudged_labels if cross_validated else suspect_labels
    suspects = find(labels, together.probabilities)
    return HeldOut(rows, together, suspects, cross_validated)


def describe_label_errors(data: PreparedData, held_out: HeldOut, shown: int = SHOWN) -> dict[str, Any]:
    """Build the figures of the suspected labels, with images of the first `shown`."""
    suspects, names = held_out.suspects, data.source.class_names
    first = suspects.indices[:shown]
    ranked = describe_images(data, held_out.rows[first], held_out.answers.take(first))
    for place, image in enumerate(ranked):
        image["suggested"] = names[suspects.suggested[place]]
        image["margin"] = float(suspects.margins[place])
        label = held_out.answers.labels[first[place]]
        image["probability"] = float(held_out.answers.probabilities[first[place], label])
    return {
        "images": len(held_out.rows),
        "cross_validated": held_out.cross_validated,
        "suspected": len(suspects.indices),
        "estimated_share": suspects.wrong_share,
        "ranked": ranked,
    }


def describe_hardest(data: PreparedData, keras: Network, among: int = HARDEST_AMONG) -> dict[str, Any]:
    """Find images of train that the network still gets most wrong: greatest cross-entropy.

    Args:
        data: of the run.
        keras: its network.
        among: images, evenly spread over train, that they are looked for among.
    """
    examples = data.examples("train").spread(among)
    answers = answer_alone(keras, examples, "looking for hard images")
    hardest = np.argsort(-negative_log_likelihoods(answers), kind="stable")[:SHOWN]
    described = describe_images(data, examples.rows[hardest], answers.take(hardest))
    for place, image in zip(hardest, described, strict=True):
        image["probability"] = float(answers.probabilities[place, answers.labels[place]])
    return {"images": len(examples), "ranked": described}


def describe_balance(data: PreparedData, of: str = "train") -> dict[str, Any]:
    """Count the images of each class in each split.

    Args:
        data: of the run.
        of: the split whose balance is told.
    """
    names, labels = data.source.class_names, data.source.labels
    counts = {
        split: np.bincount(labels[rows], minlength=len(names)).tolist()
        for split, rows in vars(data.splits).items()
    }
    balance = class_balance(labels[getattr(data.splits, of)], len(names))
    return {
        "of": of,
        "classes": [
            {"class": name, **{split: counts[split][label] for split in counts}}
            for label, name in enumerate(names)
        ],
        # JSON knows no infinity.
        "imbalance_ratio": balance.imbalance_ratio if balance.counts.all() else None,
        "effective_classes": balance.effective_classes,
    }
