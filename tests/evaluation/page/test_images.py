"""Which images a report shows: mistakes, confused classes, explanations and what broke."""

import numpy as np

from evaluation.explain.gradcam import overlay
from evaluation.metrics.answers import Answers
from evaluation.page.images import (
    EXAMPLES,
    EXPLAINED,
    SHOWN,
    describe_confused_pairs,
    describe_explanation,
    describe_exported,
    describe_mistakes,
)
from tests.evaluation.made_up import answers_of, build_data, images_of

NAMES = ("ant", "bee", "cat")

ROWS = np.random.default_rng(2).permutation(60)[:40]
"""Test, not in the order of the table."""


def explainer(network: str):
    """Lights the column of the image's class and, of int8, the first row too."""

    def maps(images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        lit = np.zeros(images.shape[:3], np.float32)
        lit[np.arange(len(images)), :, classes] = 1
        lit[:, 0] = network == "int8"
        return lit

    return maps


EXPLAINERS = {name: explainer(name) for name in ("keras", "int8")}


def chances(predicted: np.ndarray, confidence: np.ndarray) -> np.ndarray:
    """Probabilities [images, 3] with the rest shared by the two other classes."""
    rest = np.repeat((1 - confidence)[:, None] / 2, 3, axis=1)
    rest[np.arange(len(predicted)), predicted] = confidence
    return rest


LABELS = np.arange(40) % 3
KERAS_PREDICTED = np.where(np.arange(40) < 20, (LABELS + 1) % 3, LABELS)
"""The first twenty of test are wrong."""
CONFIDENCE = 0.5 + np.random.default_rng(0).permutation(40) / 100
"""No two alike."""
KERAS = answers_of(LABELS, chances(KERAS_PREDICTED, CONFIDENCE))
FILE_PREDICTED = np.where(np.arange(40) < 35, KERAS_PREDICTED, (LABELS + 2) % 3)
"""It loses the last five."""
FILE = answers_of(LABELS, chances(FILE_PREDICTED, np.full(40, 0.9)))


TABLE = np.zeros(60, int)
TABLE[ROWS] = LABELS
DATA = build_data(TABLE, {"test": ROWS}, NAMES)
BOTH = {"keras": KERAS, "int8": FILE}


def explanation(seed: int, answers: dict[str, Answers] = BOTH) -> dict:
    return describe_explanation(DATA, answers, "stage2", EXPLAINERS, seed)


def places(described: list[dict]) -> list[int]:
    """Where in test the described images are."""
    return [ROWS.tolist().index(each["row"]) for each in described]


def assert_shown(described: list[dict], answers: Answers) -> None:
    """Each is described by these answers and shown as itself."""
    images = images_of(60)
    for place, each in zip(places(described), described, strict=True):
        assert each["split"] == "test"
        assert each["label"] == NAMES[LABELS[place]]
        assert each["predicted"] == NAMES[answers.predicted[place]]
        assert each["confidence"] == answers.confidence[place]
        np.testing.assert_array_equal(each["images"]["image"].values, images[each["row"]])


def assert_explains(image: dict, view: str, network: str, label: int) -> None:
    """The view is this very image under the map of that network for that class."""
    pixels = images_of(60)[[image["row"]]]
    expected = overlay(pixels, EXPLAINERS[network](pixels, np.array([label])))[0]
    np.testing.assert_array_equal(image["images"][view].values, expected)


def test_mistakes_that_keras_is_surest_of():
    assert list(describe_mistakes(DATA, BOTH)) == ["keras", "int8"]
    found = describe_mistakes(DATA, BOTH)["keras"]
    expected = sorted(range(20), key=lambda place: -CONFIDENCE[place])[:SHOWN]
    assert places(found) == expected
    assert_shown(found, KERAS)
    assert [list(each["images"]) for each in found] == [["image"]] * SHOWN
    of_file = describe_mistakes(DATA, BOTH)["int8"]
    wrong = {place for place in range(40) if FILE_PREDICTED[place] != LABELS[place]}
    # It is as sure of all its mistakes, but for rounding.
    assert len(of_file) == SHOWN
    assert set(places(of_file)) <= wrong
    assert_shown(of_file, FILE)


def test_confused_classes_with_their_surest_examples():
    found = describe_confused_pairs(DATA, BOTH)
    # Of places 0 to 19 seven are ants, seven bees and six cats; of all 40, 14, 13 and 13.
    assert [(e["label"], e["predicted"], e["images"]["keras"]) for e in found] == [
        ("ant", "bee", 7),
        ("bee", "cat", 7),
        ("cat", "ant", 6),
    ]
    shares = [each["share_of_label"]["keras"]["value"] for each in found]
    assert shares == [7 / 14, 7 / 13, 6 / 13]
    for each in found:
        label, predicted = (NAMES.index(each[name]) for name in ("label", "predicted"))
        of_file = np.sum((FILE.labels == label) & (FILE.predicted == predicted))
        assert each["images"]["int8"] == of_file
    for label, each in enumerate(found):
        wrong = [place for place in range(20) if LABELS[place] == label]
        surest = sorted(wrong, key=lambda place: -CONFIDENCE[place])
        assert places(each["examples"]) == surest[:EXAMPLES]
        assert_shown(each["examples"], KERAS)


def test_right_answers_are_explained_in_every_network():
    explained = explanation(seed=3)
    assert explained["layer"] == "stage2"
    right = explained["right"]
    assert len(set(places(right))) == EXPLAINED
    assert all(place >= 20 for place in places(right))
    assert_shown(right, KERAS)
    for place, each in zip(places(right), right, strict=True):
        assert list(each["images"]) == ["image", "keras", "int8"]
        assert_explains(each, "keras", "keras", LABELS[place])
        assert_explains(each, "int8", "int8", LABELS[place])


def test_right_answers_are_drawn_by_the_seed():
    drawn = [places(explanation(seed)["right"]) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_of_a_mistake_answer_and_label_are_explained():
    wrong = explanation(seed=0)["wrong"]
    assert places(wrong) == places(describe_mistakes(DATA, BOTH)["keras"])[:EXPLAINED]
    assert_shown(wrong, KERAS)
    for place, each in zip(places(wrong), wrong, strict=True):
        assert list(each["images"]) == ["image", "its answer", "its label"]
        assert_explains(each, "its answer", "keras", KERAS_PREDICTED[place])
        assert_explains(each, "its label", "keras", LABELS[place])


def test_a_network_without_feature_maps_is_not_explained():
    assert describe_explanation(DATA, BOTH, None, {}, seed=0) is None
    broken = describe_exported(DATA, BOTH, {})["int8"]["broken"]
    assert [list(each["images"]) for each in broken] == [["image"]] * 5


def test_what_a_file_newly_gets_wrong_is_described_by_its_own_answers():
    described = describe_exported(DATA, BOTH, EXPLAINERS)
    assert list(described) == ["int8"]
    assert (described["int8"]["lost"], described["int8"]["won"]) == (5, 0)
    broken = described["int8"]["broken"]
    assert places(broken) == sorted(range(35, 40), key=lambda place: -CONFIDENCE[place])
    assert_shown(broken, FILE)
    for place, each in zip(places(broken), broken, strict=True):
        assert list(each["images"]) == ["image", "keras", "int8"]
        assert_explains(each, "keras", "keras", LABELS[place])
        assert_explains(each, "int8", "int8", FILE_PREDICTED[place])


def test_keras_alone_without_mistakes():
    perfect = {"keras": answers_of(LABELS, np.eye(3)[LABELS])}
    assert describe_mistakes(DATA, perfect) == {"keras": []}
    assert describe_confused_pairs(DATA, perfect) == []
    assert describe_exported(DATA, perfect, EXPLAINERS) == {}
    explained = explanation(0, perfect)
    assert explained["wrong"] == []
    assert [list(each["images"]) for each in explained["right"]] == [["image", "keras"]] * 6


def test_a_network_that_is_never_right_has_no_right_answer_to_explain():
    never = {"keras": answers_of(LABELS, np.eye(3)[(LABELS + 1) % 3])}
    explained = explanation(0, never)
    assert explained["right"] == []
    assert len(explained["wrong"]) == EXPLAINED
