"""Which images of test a report shows: mistakes, confused classes, explanations, what broke."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.explain.explanation import Explainer, draw_overlays
from evaluation.metrics.answers import Answers
from evaluation.metrics.intervals import as_json, share
from evaluation.metrics.mistakes import confused_pairs, most_confident_mistakes
from evaluation.metrics.quantised import describe_quantised, newly_broken
from evaluation.page.gallery import describe_images, load_rows
from pipeline.data.prepare import PreparedData

SHOWN = 12
"""Images of a gallery, at most."""

PAIRS, EXAMPLES = 6, 4
"""Kinds of mistake that are shown, and images of each."""

EXPLAINED = 6
"""Right answers, and wrong ones, that are explained."""


def describe_mistakes(data: PreparedData, test: Mapping[str, Answers]) -> dict[str, list[dict[str, Any]]]:
    """Describe the mistakes that each network is surest of.

    Args:
        data: of the run.
        test: network -> what it answers for test.
    """
    return {
        name: _describe(data, most_confident_mistakes(answers, SHOWN), answers)
        for name, answers in test.items()
    }


def describe_confused_pairs(data: PreparedData, test: Mapping[str, Answers]) -> list[dict[str, Any]]:
    """Describe which class Keras takes most often for which other, with examples of Keras'.

    How often each network does stands beside.

    Args:
        data: of the run.
        test: network -> what it answers for test; `keras` among them.
    """
    keras, class_names = test["keras"], data.source.class_names
    described = []
    for label, predicted, _ in confused_pairs(keras, PAIRS):
        of_label = keras.labels == label
        confused = {name: of_label & (answers.predicted == predicted) for name, answers in test.items()}
        places = np.flatnonzero(confused["keras"])
        surest = np.argsort(-keras.confidence[places], kind="stable")[:EXAMPLES]
        described.append(
            {
                "label": class_names[label],
                "predicted": class_names[predicted],
                "images": {name: int(found.sum()) for name, found in confused.items()},
                "share_of_label": as_json(
                    {name: share(found.sum(), of_label.sum()) for name, found in confused.items()}
                ),
                "examples": _describe(data, places[surest], keras),
            }
        )
    return described


def describe_explanation(
    data: PreparedData,
    test: Mapping[str, Answers],
    layer: str | None,
    explainers: Mapping[str, Explainer],
    seed: int,
) -> dict[str, Any] | None:
    """Explain right answers, drawn by chance, and the mistakes that Keras is surest of.

    Of a mistake, what speaks for the answer is shown beside what speaks for the label.

    Args:
        data: of the run.
        test: network -> what it answers for test; `keras` among them.
        layer: whose feature maps are looked at; None for a network that has none.
        explainers: by the network's name.
        seed: of the draw.
    """
    if layer is None:
        return None
    keras = test["keras"]
    drawn = np.random.default_rng(seed).permutation(np.flatnonzero(keras.right))
    right = drawn[:EXPLAINED]
    wrong = most_confident_mistakes(keras, EXPLAINED)
    same = {name: (name, keras.predicted[right]) for name in test}
    both = {"its answer": ("keras", keras.predicted[wrong]), "its label": ("keras", keras.labels[wrong])}
    return {
        "layer": layer,
        "right": _describe(data, right, keras, explainers, same),
        "wrong": _describe(data, wrong, keras, explainers, both),
    }


def describe_exported(
    data: PreparedData, test: Mapping[str, Answers], explainers: Mapping[str, Explainer]
) -> dict[str, dict[str, Any]]:
    """Describe each exported file beside Keras, with images that it newly gets wrong.

    Args:
        data: of the run.
        test: network -> what it answers for test; `keras` among them.
        explainers: by the network's name.
    """
    keras, described = test["keras"], {}
    for name, answers in test.items():
        if name == "keras":
            continue
        broken = newly_broken(keras, answers)[:SHOWN]
        views = {"keras": ("keras", keras.predicted[broken]), name: (name, answers.predicted[broken])}
        described[name] = {
            **describe_quantised(keras, answers, data.source.class_names),
            "broken": _describe(data, broken, answers, explainers, views),
        }
    return described


def _describe(
    data: PreparedData,
    places: np.ndarray,
    answers: Answers,
    explainers: Mapping[str, Explainer] | None = None,
    views: Mapping[str, tuple[str, np.ndarray]] | None = None,
) -> list[dict[str, Any]]:
    """Describe places of test by `answers`, with the views of `draw_overlays`."""
    rows = data.splits.test[places]
    drawn = draw_overlays(explainers, load_rows(data, rows), views) if explainers and views else {}
    return describe_images(data, rows, answers.take(places), drawn)
