"""Which images of test a report shows: mistakes, confused classes, explanations, what broke."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evaluation.explain.explanation import Explanation
from evaluation.metrics.answers import Answers
from evaluation.metrics.intervals import as_json, share
from evaluation.metrics.mistakes import confused_pairs, most_confident_mistakes
from evaluation.metrics.quantised import describe_quantised, newly_broken
from evaluation.page.gallery import Gallery

SHOWN = 12
"""Images of a gallery, at most."""

PAIRS, EXAMPLES = 6, 4
"""Kinds of mistake that are shown, and images of each."""

EXPLAINED = 6
"""Right answers, and wrong ones, that are explained."""


class Images:
    """Chooses images of test and describes them.

    Args:
        answers: network -> what it answers for test; `keras` first.
        gallery: keeps the images.
        explanation: draws where networks look.
        rows: int64 [images], test in the table.
    """

    def __init__(
        self, answers: Mapping[str, Answers], gallery: Gallery, explanation: Explanation, rows: np.ndarray
    ) -> None:
        self._answers, self._gallery = answers, gallery
        self._explanation, self._rows = explanation, rows
        self._keras = answers["keras"]

    def mistakes(self) -> dict[str, list[dict[str, Any]]]:
        """Describe the mistakes that each network is surest of."""
        return {
            name: self._describe(most_confident_mistakes(answers, SHOWN), answers=answers)
            for name, answers in self._answers.items()
        }

    def confused_pairs(self, class_names: Sequence[str]) -> list[dict[str, Any]]:
        """Describe which class Keras takes most often for which other, with examples of Keras'.

        How often each network does stands beside.
        """
        described = []
        for label, predicted, _ in confused_pairs(self._keras, PAIRS):
            of_label = self._keras.labels == label
            confused = {
                name: of_label & (answers.predicted == predicted) for name, answers in self._answers.items()
            }
            places = np.flatnonzero(confused["keras"])
            surest = np.argsort(-self._keras.confidence[places], kind="stable")[:EXAMPLES]
            described.append(
                {
                    "label": class_names[label],
                    "predicted": class_names[predicted],
                    "images": {name: int(found.sum()) for name, found in confused.items()},
                    "share_of_label": as_json(
                        {name: share(found.sum(), of_label.sum()) for name, found in confused.items()}
                    ),
                    "examples": self._describe(places[surest]),
                }
            )
        return described

    def explanation(self, seed: int) -> dict[str, Any] | None:
        """Explain right answers, drawn by chance, and the mistakes that Keras is surest of.

        Of a mistake, what speaks for the answer is shown beside what speaks for the label.
        """
        if not self._explanation.layer:
            return None
        drawn = np.random.default_rng(seed).permutation(np.flatnonzero(self._keras.right))
        right = drawn[:EXPLAINED]
        wrong = most_confident_mistakes(self._keras, EXPLAINED)
        same = {name: (name, self._keras.predicted[right]) for name in self._answers}
        both = {
            "its answer": ("keras", self._keras.predicted[wrong]),
            "its label": ("keras", self._keras.labels[wrong]),
        }
        return {
            "layer": self._explanation.layer,
            "right": self._describe(right, same),
            "wrong": self._describe(wrong, both),
        }

    def quantised(self, class_names: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Describe each exported file beside Keras, with images that it newly gets wrong."""
        described = {}
        for name, answers in self._answers.items():
            if name == "keras":
                continue
            broken = newly_broken(self._keras, answers)[:SHOWN]
            views = {
                "keras": ("keras", self._keras.predicted[broken]),
                name: (name, answers.predicted[broken]),
            }
            described[name] = {
                **describe_quantised(self._keras, answers, class_names),
                "broken": self._describe(broken, views, answers),
            }
        return described

    def _describe(
        self,
        places: np.ndarray,
        views: Mapping[str, tuple[str, np.ndarray]] | None = None,
        answers: Answers | None = None,
    ) -> list[dict[str, Any]]:
        """Describe places of test by what Keras answers, or by other `answers`."""
        rows = self._rows[places]
        drawn = self._explanation.overlays(rows, views or {})
        return self._gallery.describe(rows, (answers or self._keras).take(places), drawn)
