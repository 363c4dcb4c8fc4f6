"""Which images a report shows: mistakes, confused classes, explanations and what broke."""

from types import SimpleNamespace

import numpy as np
import pytest

from evaluation.metrics.answers import Answers
from evaluation.page.gallery import Gallery
from evaluation.page.images import EXAMPLES, EXPLAINED, SHOWN, Images
from tests.evaluation.made_up import answers_of, build_data, images_of

NAMES = ("ant", "bee", "cat")

ROWS = np.random.default_rng(2).permutation(60)[:40]
"""Test, not in the order of the table."""


class Drawings:
    """Explains by a colour: red is the row, green 10 x the class and 1 more for int8."""

    layer = "stage2"

    def overlays(self, rows, classes):
        drawn = {}
        for view, (network, of) in classes.items():
            pixels = np.stack([rows, 10 * of + (network == "int8"), 0 * of], axis=-1)
            drawn[view] = np.tile(pixels.astype(np.uint8)[:, None, None], (1, 8, 8, 1))
        return drawn if len(rows) else {}


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


@pytest.fixture
def gallery() -> Gallery:
    labels = np.zeros(60, int)
    labels[ROWS] = LABELS
    return Gallery(build_data(labels, {"test": ROWS}, NAMES))


@pytest.fixture
def drawings() -> Drawings:
    return Drawings()


@pytest.fixture
def images(gallery, drawings) -> Images:
    return Images({"keras": KERAS, "int8": FILE}, gallery, drawings, ROWS)


def places(described: list[dict]) -> list[int]:
    """Where in test the described images are."""
    return [ROWS.tolist().index(each["row"]) for each in described]


def assert_shown(described: list[dict], gallery: Gallery, answers: Answers) -> None:
    """Each is described by these answers and shown as itself."""
    images = images_of(60)
    for place, each in zip(places(described), described, strict=True):
        assert each["split"] == "test"
        assert each["label"] == NAMES[LABELS[place]]
        assert each["predicted"] == NAMES[answers.predicted[place]]
        assert each["confidence"] == answers.confidence[place]
        np.testing.assert_array_equal(gallery.images[each["images"]["image"]], images[each["row"]])


def drawn_class(gallery: Gallery, image: dict, view: str) -> int:
    """10 x the class that the view of this very image explains, and 1 more for int8."""
    red, green, _ = gallery.images[image["images"][view]][0, 0]
    assert red == image["row"]
    return green


def test_mistakes_that_keras_is_surest_of(images, gallery):
    assert list(images.mistakes()) == ["keras", "int8"]
    found = images.mistakes()["keras"]
    expected = sorted(range(20), key=lambda place: -CONFIDENCE[place])[:SHOWN]
    assert places(found) == expected
    assert_shown(found, gallery, KERAS)
    assert [list(each["images"]) for each in found] == [["image"]] * SHOWN
    of_file = images.mistakes()["int8"]
    wrong = {place for place in range(40) if FILE_PREDICTED[place] != LABELS[place]}
    # It is as sure of all its mistakes, but for rounding.
    assert len(of_file) == SHOWN
    assert set(places(of_file)) <= wrong
    assert_shown(of_file, gallery, FILE)


def test_confused_classes_with_their_surest_examples(images, gallery):
    found = images.confused_pairs(NAMES)
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
        assert_shown(each["examples"], gallery, KERAS)


def test_right_answers_are_explained_in_every_network(images, gallery):
    explained = images.explanation(seed=3)
    assert explained["layer"] == "stage2"
    right = explained["right"]
    assert len(set(places(right))) == EXPLAINED
    assert all(place >= 20 for place in places(right))
    assert_shown(right, gallery, KERAS)
    for place, each in zip(places(right), right, strict=True):
        assert list(each["images"]) == ["image", "keras", "int8"]
        assert drawn_class(gallery, each, "keras") == 10 * LABELS[place]
        assert drawn_class(gallery, each, "int8") == 10 * LABELS[place] + 1


def test_right_answers_are_drawn_by_the_seed(images):
    drawn = [places(images.explanation(seed)["right"]) for seed in (3, 3, 4)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_of_a_mistake_answer_and_label_are_explained(images, gallery):
    wrong = images.explanation(seed=0)["wrong"]
    assert places(wrong) == places(images.mistakes()["keras"])[:EXPLAINED]
    assert_shown(wrong, gallery, KERAS)
    for place, each in zip(places(wrong), wrong, strict=True):
        assert list(each["images"]) == ["image", "its answer", "its label"]
        assert drawn_class(gallery, each, "its answer") == 10 * KERAS_PREDICTED[place]
        assert drawn_class(gallery, each, "its label") == 10 * LABELS[place]


def test_a_network_without_feature_maps_is_not_explained(gallery):
    silent = SimpleNamespace(layer=None, overlays=lambda rows, classes: {})
    images = Images({"keras": KERAS, "int8": FILE}, gallery, silent, ROWS)
    assert images.explanation(seed=0) is None
    broken = images.quantised(NAMES)["int8"]["broken"]
    assert [list(each["images"]) for each in broken] == [["image"]] * 5


def test_what_a_file_newly_gets_wrong_is_described_by_its_own_answers(images, gallery):
    described = images.quantised(NAMES)
    assert list(described) == ["int8"]
    assert (described["int8"]["lost"], described["int8"]["won"]) == (5, 0)
    broken = described["int8"]["broken"]
    assert places(broken) == sorted(range(35, 40), key=lambda place: -CONFIDENCE[place])
    assert_shown(broken, gallery, FILE)
    for place, each in zip(places(broken), broken, strict=True):
        assert list(each["images"]) == ["image", "keras", "int8"]
        assert drawn_class(gallery, each, "keras") == 10 * LABELS[place]
        assert drawn_class(gallery, each, "int8") == 10 * FILE_PREDICTED[place] + 1


def test_what_broke_is_still_shown_once_right_answers_are_explained(images, gallery):
    # Among them may be the same image: there int8 is asked for another class.
    broken = images.quantised(NAMES)["int8"]["broken"]
    for seed in range(5):
        images.explanation(seed)
    for place, each in zip(places(broken), broken, strict=True):
        assert drawn_class(gallery, each, "int8") == 10 * FILE_PREDICTED[place] + 1


def test_keras_alone_without_mistakes(gallery, drawings):
    perfect = answers_of(LABELS, np.eye(3)[LABELS])
    images = Images({"keras": perfect}, gallery, drawings, ROWS)
    assert images.mistakes() == {"keras": []}
    assert images.confused_pairs(NAMES) == []
    assert images.quantised(NAMES) == {}
    explained = images.explanation(seed=0)
    assert explained["wrong"] == []
    assert [list(each["images"]) for each in explained["right"]] == [["image", "keras"]] * 6


def test_a_network_that_is_never_right_has_no_right_answer_to_explain(gallery, drawings):
    never = answers_of(LABELS, np.eye(3)[(LABELS + 1) % 3])
    explained = Images({"keras": never}, gallery, drawings, ROWS).explanation(seed=0)
    assert explained["right"] == []
    assert len(explained["wrong"]) == EXPLAINED
