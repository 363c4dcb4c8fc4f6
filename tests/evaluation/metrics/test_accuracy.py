"""Accuracy against scikit-learn, SciPy, definitions in loops, and a case on paper."""

import json
import warnings

import numpy as np
import pytest
from scipy.stats import mannwhitneyu
from sklearn.metrics import classification_report, precision_recall_fscore_support, roc_auc_score

from evaluation.metrics.accuracy import area_influence, measure_accuracy
from evaluation.metrics.answers import Answers
from evaluation.metrics.intervals import share


def noisy(images, classes, seed):
    """Make answers that are often right, of classes that are not as frequent as each other."""
    generator = np.random.default_rng(seed)
    chances = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    labels = generator.choice(classes, size=images, p=chances)
    logits = generator.normal(size=(images, classes)).astype(np.float32)
    logits[np.arange(images), labels] += 2
    return Answers(labels, logits)


def certain(labels, predicted, classes):
    return Answers(np.array(labels), 5 * np.eye(classes, dtype=np.float32)[predicted])


def names(classes):
    return [f"class {index}" for index in range(classes)]


def measure_strictly(answers, resamples=20):
    """Measure, with any warning an error, and insist on JSON that every reader takes.

    A second of bootstrap is spared where the test is of values.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        result = measure_accuracy(answers, names(answers.logits.shape[-1]), 0, resamples)
    return json.loads(json.dumps(result, allow_nan=False))


def test_a_case_on_paper():
    # Rows are labels: 3 of class 0 (two right, one called 1), 2 of class 1, 1 of class 2.
    result = measure_strictly(certain([0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 1, 0], 3))
    assert result["confusion_matrix"] == [[2, 1, 0], [0, 2, 0], [1, 0, 0]]
    assert result["top1"]["value"] == pytest.approx(4 / 6)
    assert result["top5"] is None
    precision, recall, f1 = (2 / 3, 2 / 3, 0), (2 / 3, 1, 0), (2 / 3, 4 / 5, 0)
    for name, values in {"precision": precision, "recall": recall, "f1": f1}.items():
        assert result["macro"][name]["value"] == pytest.approx(sum(values) / 3)
        weighted = (3 * values[0] + 2 * values[1] + values[2]) / 6
        assert result["weighted"][name]["value"] == pytest.approx(weighted)
    assert [row["f1"]["value"] for row in result["per_class"]] == pytest.approx(f1)
    assert [row["images"] for row in result["per_class"]] == [3, 2, 1]
    # Called 2: none. Its precision is 0 / 0.
    assert result["per_class"][2]["precision"] is None
    # Class 1 scores high on itself (2 of 2) and on one of the other four: 1 - 1/2 * 1/4.
    assert result["per_class"][1]["roc_auc"]["value"] == pytest.approx(7 / 8)


def test_of_equal_scores_the_first_class_is_the_more_probable_as_for_top_1():
    # All equal: the answer is class 0, and the first five are 0 to 4.
    answers = Answers(np.array([0, 1, 5]), np.zeros((3, 7), np.float32))
    result = measure_strictly(answers)
    assert result["top1"]["value"] == pytest.approx(1 / 3)
    assert result["top5"]["value"] == pytest.approx(2 / 3)


def test_values_are_scikit_learns():
    answers = noisy(400, 7, seed=0)
    result = measure_strictly(answers)
    report = classification_report(answers.labels, answers.predicted, target_names=names(7), output_dict=True)
    for average in ("macro", "weighted"):
        for theirs, ours in (("precision",) * 2, ("recall",) * 2, ("f1-score", "f1")):
            expected = report[f"{average} avg"][theirs]
            assert result[average][ours]["value"] == pytest.approx(expected)
        scores = answers.probabilities
        expected = roc_auc_score(answers.labels, scores, multi_class="ovr", average=average)
        assert result[average]["roc_auc"]["value"] == pytest.approx(expected)
    for row in result["per_class"]:
        expected = report[row["class"]]
        assert row["images"] == expected["support"]
        assert row["precision"]["value"] == pytest.approx(expected["precision"])
        assert row["recall"]["value"] == pytest.approx(expected["recall"])
        assert row["f1"]["value"] == pytest.approx(expected["f1-score"])
    top5 = [
        label in np.sort(row.argsort()[-5:])
        for label, row in zip(answers.labels, answers.logits, strict=True)
    ]
    assert result["top5"]["value"] == pytest.approx(np.mean(top5))
    assert result["top1"]["value"] == pytest.approx(report["accuracy"])
    assert result["weighted"]["recall"] == result["top1"]


def test_areas_are_mann_whitneys():
    answers = noisy(200, 4, seed=1)
    for index, row in enumerate(measure_strictly(answers)["per_class"]):
        scores, positive = answers.probabilities[:, index], answers.labels == index
        statistic = mannwhitneyu(scores[positive], scores[~positive]).statistic
        expected = statistic / (positive.sum() * (~positive).sum())
        assert row["roc_auc"]["value"] == pytest.approx(expected)


def test_shares_have_wilsons_interval():
    answers = noisy(300, 3, seed=2)
    result = measure_strictly(answers)
    confusion = np.array(result["confusion_matrix"])
    for index, row in enumerate(result["per_class"]):
        for name, total in (("recall", confusion[index]), ("precision", confusion[:, index])):
            expected = share(confusion[index, index], total.sum())
            assert row[name]["interval_95"] == [expected.low, expected.high]


def test_averages_have_the_interval_of_drawing_images():
    """The multinomial and the influences stand for measuring drawn images with scikit-learn."""
    answers = noisy(150, 3, seed=3)
    result, generator, drawn = measure_strictly(answers, 1000), np.random.default_rng(5), []
    for _ in range(500):
        rows = generator.integers(150, size=150)
        labels, scores = answers.labels[rows], answers.probabilities[rows]
        *metrics, images = precision_recall_fscore_support(labels, answers.predicted[rows])
        metrics.append(roc_auc_score(labels, scores, multi_class="ovr", average=None))
        values = [np.average(metrics, axis=1, weights=each) for each in (None, images)]
        drawn.append(values)
    expected = np.moveaxis(np.quantile(drawn, [0.025, 0.975], axis=0), 0, -1)
    for average, rows in zip(("macro", "weighted"), expected, strict=True):
        for name, ends in zip(("precision", "recall", "f1", "roc_auc"), rows, strict=True):
            # By chance an end is off by 4 % of the width with 1000 resamples and by 6 % with 500:
            # three times both.
            np.testing.assert_allclose(
                result[average][name]["interval_95"], ends, atol=0.21 * (ends[1] - ends[0])
            )


def test_the_spread_of_average_areas_is_the_jackknifes():
    """Classes of unlike size and area, where each part of an image's influence counts."""
    generator = np.random.default_rng(7)
    labels = generator.choice(3, size=150, p=[0.15, 0.25, 0.6])
    logits = generator.normal(size=(150, 3)) + np.diag([0.5, 0.5, 4])[labels]
    answers = Answers(labels, logits.astype(np.float32))
    result = measure_strictly(answers, 1000)
    for average in ("macro", "weighted"):
        without = []
        for row in range(150):
            rest = np.delete(labels, row), np.delete(answers.probabilities, row, axis=0)
            without.append(roc_auc_score(*rest, multi_class="ovr", average=average))
        low, high = result[average]["roc_auc"]["interval_95"]
        # Efron and Tibshirani 1993, eq. 11.5. The half-width of 1000 resamples is 6 % off by
        # chance, twice which; the jackknife differs from it by one in 150.
        half = 1.96 * np.sqrt(149 * np.var(without))
        assert (high - low) / 2 == pytest.approx(half, rel=0.13)


def test_a_class_that_is_not_drawn_is_not_missed():
    # One of 21 images is of class 1, and a third of the samples are without it.
    result = measure_strictly(certain([0] * 20 + [1], [0] * 20 + [1], 2))
    for name in ("precision", "recall", "f1"):
        assert result["macro"][name] == {"value": 1, "interval_95": [1, 1]}


def test_averages_of_areas_are_in_0_to_1():
    result = measure_strictly(certain([0, 1, 5, 0], [1, 0, 0, 5], 7), 1000)
    for average in ("macro", "weighted"):
        low, high = result[average]["roc_auc"]["interval_95"]
        assert 0 <= low < high <= 1


def test_the_influence_on_an_area_is_its_derivative():
    """What an area gains by a little more weight on one image, as scikit-learn weighs it."""
    generator, little = np.random.default_rng(4), 1e-6
    positive = generator.random(30) < 0.4
    scores = np.round(generator.normal(size=30) + positive, 1)  # rounded: some are equal
    area = roc_auc_score(positive, scores)
    influence = area_influence(positive, scores)
    assert influence.mean() == pytest.approx(0, abs=1e-12)
    for image in range(30):
        weights = np.ones(30)
        weights[image] += little
        gain = (roc_auc_score(positive, scores, sample_weight=weights) - area) / little
        # Influences are per share of the images: one of thirty. The second order is `little`.
        assert influence[image] / 30 == pytest.approx(gain, abs=1e-5)


def test_a_class_without_images_is_undefined_and_left_out_of_averages():
    answers = certain([0, 0, 1, 1], [0, 2, 1, 1], 4)
    result = measure_strictly(answers)
    called, absent = result["per_class"][2], result["per_class"][3]
    assert called["recall"] is called["f1"] is called["roc_auc"] is None
    assert called["precision"]["value"] == 0
    assert absent["images"] == 0
    assert [absent[name] for name in ("precision", "recall", "f1", "roc_auc")] == [None] * 4
    assert result["macro"]["recall"]["value"] == pytest.approx((1 / 2 + 1) / 2)
    areas = [row["roc_auc"]["value"] for row in result["per_class"][:2]]
    assert result["macro"]["roc_auc"]["value"] == pytest.approx(sum(areas) / 2)


@pytest.mark.parametrize(
    ("labels", "predicted", "classes"),
    [
        pytest.param([0, 1, 1], [0, 1, 0], 2, id="two classes"),
        pytest.param([0, 1, 1], [0, 0, 0], 2, id="one of two never predicted"),
        pytest.param([2, 2], [2, 1], 7, id="one class in the split"),
        pytest.param([3], [3], 7, id="one image"),
        pytest.param([0, 4], [0, 1], 5, id="as many classes as five guesses"),
        pytest.param([0, 1, 5, 0], [0, 1, 5, 0], 7, id="all right"),
        pytest.param([0, 1, 5, 0], [1, 0, 0, 5], 7, id="all wrong"),
        pytest.param([0, 1], [0, 1], 7, id="two labels of seven classes"),
    ],
)
def test_every_split_has_a_result(labels, predicted, classes):
    result = measure_strictly(certain(labels, predicted, classes))
    right = np.mean(np.array(labels) == predicted)
    assert result["top1"]["value"] == pytest.approx(right)
    assert (result["top5"] is None) == (classes < 6)
    assert np.sum(result["confusion_matrix"]) == len(labels)
    for mapping in (result["macro"], result["weighted"], *result["per_class"]):
        for estimate in mapping.values():
            if isinstance(estimate, dict):
                low, high = estimate["interval_95"]
                assert 0 <= low <= estimate["value"] <= high <= 1


def test_the_first_of_equal_logits_is_predicted():
    answers = Answers(np.array([0, 1]), np.zeros((2, 2), np.float32))
    assert measure_strictly(answers)["confusion_matrix"] == [[1, 0], [1, 0]]


def test_the_seed_decides_the_bootstrap_alone():
    answers = noisy(60, 3, seed=6)
    first, again, other = (measure_accuracy(answers, names(3), seed, 20) for seed in (0, 0, 1))
    assert first == again
    for name in ("f1", "roc_auc"):
        assert first["macro"][name]["value"] == other["macro"][name]["value"]
        assert first["macro"][name]["interval_95"] != other["macro"][name]["interval_95"]
    assert first["per_class"] == other["per_class"]
