"""What is told of the data: planted wrong labels, planted hard images, counted classes."""

import json

import numpy as np
import pytest

from evaluation.data_errors import describe_balance, describe_hardest, describe_label_errors, find_suspects
from evaluation.networks.networks import Network
from tests.evaluation.made_up import answers_of, build_data, images_of, table_network

NAMES = ("ant", "bee", "cat")
ROWS = 120

RANDOM = np.random.default_rng(4)
TRUTH = RANDOM.integers(0, 3, ROWS)
SPLITS = dict(zip(("validation", "calibration", "test"), RANDOM.permutation(90).reshape(3, 30), strict=True))
"""In no order; rows 90 to 119 are train."""
PLANTED = {
    int(SPLITS["validation"][3]): 0.9,
    int(SPLITS["test"][7]): 0.8,
    int(SPLITS["test"][0]): 0.7,
    int(SPLITS["calibration"][29]): 0.6,
}
"""Row whose label is wrong -> how much more probable the network finds the true class."""
LABELS = np.where(np.isin(np.arange(ROWS), list(PLANTED)), (TRUTH + 1) % 3, TRUTH)


def chances_of(truth: np.ndarray) -> np.ndarray:
    """Always right, by 0.7 and 0.15 each, but for what is planted."""
    chances = np.full((len(truth), 3), 0.15)
    chances[np.arange(len(truth)), truth] = 0.7
    for row, margin in PLANTED.items():
        # p(true) - p(label) is the margin.
        chances[row] = 0
        chances[row, truth[row]], chances[row, LABELS[row]] = (1 + margin) / 2, (1 - margin) / 2
    return chances


CHANCES = chances_of(TRUTH)


DATA = build_data(LABELS, SPLITS, NAMES)


def held_out_answers(*splits: str) -> dict:
    return {split: answers_of(LABELS[SPLITS[split]], CHANCES[SPLITS[split]]) for split in splits}


def test_planted_labels_are_found_in_every_split():
    held_out = find_suspects(DATA, held_out_answers("validation", "calibration", "test"), 1.0)
    described = describe_label_errors(DATA, held_out)
    assert (described["images"], described["suspected"]) == (90, 4)
    # Every image that is not planted is confidently of its label, and every planted one of
    # another: the joint's off-diagonal share of each label, weighted by its images, is 4 / 90.
    assert described["estimated_share"] == pytest.approx(4 / 90)
    found = {each["row"]: each for each in described["ranked"]}
    assert list(found) == sorted(PLANTED, key=lambda row: -PLANTED[row])
    images = images_of(ROWS)
    for row, margin in PLANTED.items():
        each = found[row]
        assert each["split"] == next(name for name, rows in SPLITS.items() if row in rows)
        assert each["label"] == NAMES[LABELS[row]]
        assert each["suggested"] == each["predicted"] == NAMES[TRUTH[row]]
        # Probabilities by way of logarithms in float32.
        assert each["margin"] == pytest.approx(-margin, abs=1e-6)
        assert each["probability"] == pytest.approx((1 - margin) / 2, abs=1e-6)
        np.testing.assert_array_equal(each["images"]["image"].values, images[row])


def test_the_splits_may_come_in_any_order_and_number():
    held_out = find_suspects(DATA, held_out_answers("test", "validation"), 1.0)
    rows = np.concatenate([SPLITS["test"], SPLITS["validation"]])
    np.testing.assert_array_equal(held_out.rows, rows)
    np.testing.assert_array_equal(held_out.answers.labels, LABELS[rows])
    suspected = held_out.rows[held_out.suspects.indices].tolist()
    assert set(suspected) == {row for row in PLANTED if row in rows}


def test_answers_are_looked_at_as_calibrated():
    answers = held_out_answers("validation", "test")
    found = find_suspects(DATA, answers, 2.0).answers.logits
    expected = np.concatenate([each.logits for each in answers.values()]) / 2
    # A division in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_more_images_are_shown_than_fit():
    held_out = find_suspects(DATA, held_out_answers("validation", "calibration", "test"), 1.0)
    described = describe_label_errors(DATA, held_out, shown=2)
    assert described["suspected"] == 4
    assert [each["row"] for each in described["ranked"]] == list(PLANTED)[:2]


def test_no_suspect():
    answers = {"test": answers_of(TRUTH[:30], CHANCES[:30])}
    truth = build_data(TRUTH, {"test": range(30)}, NAMES)
    answers["test"].logits[:] = np.log(np.eye(3)[TRUTH[:30]] * 0.9 + 0.03)
    described = describe_label_errors(truth, find_suspects(truth, answers, 1.0))
    assert described == {
        "images": 30,
        "cross_validated": None,
        "suspected": 0,
        "estimated_share": 0,
        "ranked": [],
    }


def test_the_hardest_images_have_the_least_probable_labels():
    chances = np.full((ROWS, 3), 1 / 3)
    # Of train, whose rows are 90 to 119; others are harder still but are no train images.
    train = np.arange(90, ROWS)
    of_label = 0.05 + np.random.default_rng(1).permutation(30) / 50
    chances[train] = ((1 - of_label) / 2)[:, None]
    chances[train, LABELS[train]] = of_label
    chances[:90] = 0.49
    chances[np.arange(90), LABELS[:90]] = 0.02
    logits = np.log(chances).astype(np.float32)
    described = describe_hardest(DATA, table_network(logits))
    assert described["images"] == 30
    hardest = sorted(train, key=lambda row: chances[row, LABELS[row]])[:12]
    assert [each["row"] for each in described["ranked"]] == hardest
    images = images_of(ROWS)
    for row, each in zip(hardest, described["ranked"], strict=True):
        assert each["split"] == "train"
        assert each["label"] == NAMES[LABELS[row]]
        assert each["probability"] == pytest.approx(chances[row, LABELS[row]], abs=1e-6)
        assert each["confidence"] == pytest.approx(chances[row].max(), abs=1e-6)
        np.testing.assert_array_equal(each["images"]["image"].values, images[row])


def test_hard_images_are_looked_for_among_some_that_are_evenly_spread():
    seen = []

    def predict(images):
        seen.extend(images[:, 0, 0, 0].tolist())
        return np.zeros((len(images), 3), np.float32)

    described = describe_hardest(DATA, Network("keras", "", predict), among=4)
    # Places 0, 9 2/3, 19 1/3 and 29 of 30, rounded down.
    assert seen == [90, 99, 109, 119]
    assert described["images"] == 4


def test_balance_counts_classes_in_each_split():
    labels = [0, 0, 0, 0, 1, 2, 2, 0, 1, 1]
    splits = {"train": [0, 1, 2, 3, 4, 5, 6], "validation": [7], "test": [8, 9]}
    described = describe_balance(build_data(labels, splits, NAMES))
    assert described["classes"] == [
        {"class": "ant", "train": 4, "validation": 1, "calibration": 0, "test": 0},
        {"class": "bee", "train": 1, "validation": 0, "calibration": 0, "test": 2},
        {"class": "cat", "train": 2, "validation": 0, "calibration": 0, "test": 0},
    ]
    # Of train alone: 4 to 1, and exp(H) of 4/7, 1/7 and 2/7.
    assert described["imbalance_ratio"] == 4
    shares = np.array([4, 1, 2]) / 7
    assert described["effective_classes"] == pytest.approx(np.prod(shares**-shares))
    of_both = describe_balance(build_data([0, 1, 1, 0], {"test": [1, 2, 3]}, NAMES[:2]), "test")
    assert (of_both["of"], of_both["imbalance_ratio"]) == ("test", 2)


def test_a_class_that_train_lacks_can_be_written_as_json():
    data = build_data([0, 0, 1, 2], {"test": [3]}, NAMES)
    described = describe_balance(data)
    again = json.loads(json.dumps(described, allow_nan=False))
    assert again["imbalance_ratio"] is None
    assert again["classes"][2] == {"class": "cat", "train": 0, "validation": 0, "calibration": 0, "test": 1}
