"""Calibration against definitions in loops, scikit-learn, PyTorch, and cases on paper."""

import json

import numpy as np
import pytest
import torch
from scipy.special import softmax
from sklearn.metrics import brier_score_loss, log_loss

from evaluation.metrics.answers import Answers
from evaluation.metrics.calibration import (
    BINS,
    TEMPERATURES,
    assign_bins,
    brier_scores,
    equal_mass_edges,
    equal_width_edges,
    expected_calibration_error,
    fit_temperature,
    measure_calibration,
    negative_log_likelihoods,
)


def calibrated(images, seed, classes=5, factor=1.0):
    """Make answers whose labels are drawn from their softmax, then multiply the logits."""
    generator = np.random.default_rng(seed)
    logits = 2 * generator.normal(size=(images, classes))
    cumulative = softmax(logits, axis=-1).cumsum(axis=-1)
    labels = (cumulative > generator.random((images, 1))).argmax(axis=-1)
    return Answers(labels, (factor * logits).astype(np.float32))


def with_probabilities(labels, probabilities):
    return Answers(np.array(labels), np.log(probabilities).astype(np.float32))


def measure(test, validation=None, seed=0):
    result = measure_calibration(test, validation or test, seed)
    return json.loads(json.dumps(result, allow_nan=False))


def test_a_case_on_paper():
    # Ten images of confidence 0.7, six right: in one bin of either kind, |0.6 - 0.7|.
    test = with_probabilities([0] * 6 + [1, 1, 1, 2], [[0.7, 0.2, 0.1]] * 10)
    before = measure(test)["before"]
    # float32 logits hold a probability to 1e-7.
    close = {"rel": 1e-6}
    assert before["ece_equal_width"]["value"] == pytest.approx(0.1, **close)
    assert before["ece_equal_mass"]["value"] == pytest.approx(0.1, **close)
    nll = -(6 * np.log(0.7) + 3 * np.log(0.2) + np.log(0.1)) / 10
    assert before["nll"]["value"] == pytest.approx(nll, **close)
    # Label 0: .09 + .04 + .01; label 1: .49 + .64 + .01; label 2: .49 + .04 + .81.
    brier = (6 * 0.14 + 3 * 1.14 + 1.34) / 10
    assert before["brier"]["value"] == pytest.approx(brier, **close)
    filled = [each for each in before["equal_width_bins"] if each["images"]]
    assert filled == [
        {
            "low": pytest.approx(10 / 15),
            "high": pytest.approx(11 / 15),
            "images": 10,
            "confidence": pytest.approx(0.7, **close),
            "accuracy": pytest.approx(0.6),
        }
    ]
    empty = {"low": 0, "high": pytest.approx(1 / 15), "images": 0}
    assert before["equal_width_bins"][0] == {**empty, "confidence": None, "accuracy": None}


def test_two_bins_do_not_cancel_out():
    # Confidence 0.9, none of 4 right; confidence 0.5, all of 12 right: (4 * 0.9 + 12 * 0.5) / 16.
    gaps = np.array([0.9] * 4 + [-0.5] * 12)
    bins = assign_bins(np.array([0.9] * 4 + [0.5] * 12), equal_width_edges())
    assert expected_calibration_error(gaps, bins) == pytest.approx(0.6)


def test_the_error_follows_its_definition():
    test = calibrated(500, seed=0, factor=2)
    expected = 0.0
    for m in range(1, 16):  # Guo et al. 2017, section 2: ((m - 1) / M, m / M]
        inside = [row for row, c in enumerate(test.confidence) if (m - 1) / 15 < c <= m / 15]
        if inside:
            accuracy = sum(test.right[inside]) / len(inside)
            confidence = sum(test.confidence[inside]) / len(inside)
            expected += len(inside) / 500 * abs(accuracy - confidence)
    assert measure(test)["before"]["ece_equal_width"]["value"] == pytest.approx(expected)


def test_an_edge_belongs_to_the_bin_below():
    confidence = np.array([0.0, 0.2, np.nextafter(0.2, 1), 1.0])
    assert assign_bins(confidence, equal_width_edges()).tolist() == [0, 2, 3, 14]


@pytest.mark.parametrize("images", [15, 16, 44, 1000])
def test_bins_of_equal_mass(images):
    confidence = np.random.default_rng(0).permutation(np.linspace(0.2, 1, images))
    bins = assign_bins(confidence, equal_mass_edges(confidence))
    counts = np.bincount(bins, minlength=BINS)
    assert counts.max() - counts.min() <= 1
    assert (np.diff(bins[np.argsort(confidence)]) >= 0).all()


def test_equal_confidences_share_a_bin_whatever_their_order():
    confidence = np.array([1.0] * 90 + [0.5] * 10)
    bins = assign_bins(confidence, equal_mass_edges(confidence))
    assert len(set(bins[:90])) == len(set(bins[90:])) == 1


def test_the_error_of_equal_mass_bins_follows_its_definition():
    test = calibrated(450, seed=1, factor=2)
    order = np.argsort(test.confidence)
    gaps = [test.right[rows].mean() - test.confidence[rows].mean() for rows in np.split(order, 15)]
    result = measure(test)["before"]
    assert result["ece_equal_mass"]["value"] == pytest.approx(np.abs(gaps).mean())
    assert [each["images"] for each in result["equal_mass_bins"]] == [30] * 15
    assert result["equal_mass_bins"][0]["low"] == pytest.approx(test.confidence.min())
    assert result["equal_mass_bins"][-1]["high"] == pytest.approx(test.confidence.max())


def test_losses_are_scikit_learns_and_torchs():
    test = calibrated(200, seed=2)
    labels = np.arange(5)
    # float64 on both sides of scikit-learn.
    assert negative_log_likelihoods(test).mean() == pytest.approx(
        log_loss(test.labels, test.probabilities, labels=labels)
    )
    assert brier_scores(test).mean() == pytest.approx(
        brier_score_loss(test.labels, test.probabilities, labels=labels)
    )
    logits, labels = torch.tensor(test.logits, dtype=torch.float64), torch.tensor(test.labels)
    expected = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
    np.testing.assert_allclose(negative_log_likelihoods(test), expected, rtol=1e-9)


def test_a_confident_mistake_costs_all_of_its_logit():
    # log(1 + e^-500) is 0; a probability of e^-500 clipped at 2e-16 would cost 36.
    test = Answers(np.array([0, 1]), np.array([[0, 500], [0, 500]], np.float32))
    np.testing.assert_allclose(negative_log_likelihoods(test), [500, 0])


def test_calibrated_answers_have_no_error_beyond_chance():
    test = calibrated(20_000, seed=3)
    before = measure(test)["before"]
    # Per bin |gap| is half-normal. Their sum has at most the mean
    # sqrt(2 / pi) 0.5 sqrt(15 / 20000) = 0.0109 and the deviation
    # sqrt(1 - 2 / pi) 0.5 sqrt(1 / 20000) = 0.0021: that, three times.
    assert before["ece_equal_width"]["value"] < 0.0173
    assert before["ece_equal_mass"]["value"] < 0.0173
    assert before["ece_equal_mass"]["interval_95"][0] < 0.005


def test_the_interval_of_the_error_holds_the_truth():
    """The error of very many images is in the interval of a few; percentiles rarely hold it."""
    many = calibrated(200_000, seed=4, factor=1.3)
    gaps = many.confidence - many.right
    truth = expected_calibration_error(gaps, assign_bins(many.confidence, equal_width_edges()))
    held = 0
    for seed in range(20):
        before = measure(calibrated(300, seed=100 + seed, factor=1.3))["before"]
        low, high = before["ece_equal_width"]["interval_95"]
        held += low <= truth <= high
    # 19 of 20 are expected; fewer than 16 once in 400 (binomial, 0.95).
    assert held >= 16


@pytest.mark.parametrize("factor", [0.5, 1.0, 3.0])
def test_the_temperature_undoes_the_factor(factor):
    # The temperature of 20,000 images of five classes is 1 % off by chance: four times that.
    assert fit_temperature(calibrated(20_000, seed=5, factor=factor)) == pytest.approx(factor, rel=0.04)


def test_the_temperature_is_the_one_that_torch_finds():
    validation = calibrated(500, seed=6, factor=2.5)
    logits = torch.tensor(validation.logits, dtype=torch.float64)
    labels = torch.tensor(validation.labels)
    log_temperature = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS([log_temperature], max_iter=50, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(logits / log_temperature.exp(), labels)
        loss.backward()
        return loss

    optimizer.step(closure)
    # float32 logits leave 1e-7 in a loss whose minimum is flat: its square root in temperature.
    assert fit_temperature(validation) == pytest.approx(log_temperature.exp().item(), rel=1e-3)


def test_a_validation_split_without_mistakes_changes_nothing():
    validation = Answers(np.arange(5) % 3, 3 * np.eye(3, dtype=np.float32)[np.arange(5) % 3])
    assert fit_temperature(validation) == 1
    test = calibrated(100, seed=7, classes=3)
    result = measure(test, validation)
    assert result["temperature"] == 1
    assert result["before"] == result["after"]
    assert result["validation_images"] == 5


def test_answers_that_are_all_wrong_reach_the_greatest_temperature():
    validation = Answers(np.array([1, 1]), np.array([[4, 0], [3, 0]], np.float32))
    # The bounded search stops 1e-5 before the end, in logarithm.
    assert fit_temperature(validation) == pytest.approx(TEMPERATURES[1], rel=1e-4)
    assert measure(validation, validation)["temperature_at_limit"]


def test_a_temperature_that_was_fitted_is_not_at_the_limit():
    result = measure(calibrated(200, seed=2), calibrated(200, seed=3))
    assert not result["temperature_at_limit"]
    assert result["bins"] == len(result["before"]["equal_mass_bins"]) == 15


def test_scaling_helps_the_likelihood_and_moves_no_class():
    test, validation = calibrated(2000, seed=8, factor=3), calibrated(2000, seed=9, factor=3)
    result = measure(test, validation)
    before, after = result["before"], result["after"]
    assert after["nll"]["value"] < before["nll"]["value"]
    assert after["brier"]["value"] < before["brier"]["value"]
    assert after["ece_equal_mass"]["value"] < before["ece_equal_mass"]["value"] / 3
    scaled = test.at_temperature(result["temperature"])
    np.testing.assert_array_equal(scaled.predicted, test.predicted)
    expected = softmax(test.logits.astype(np.float64) / result["temperature"], axis=-1)
    # "after" is measured on test, at the temperature of validation, in float32 logits.
    assert after["nll"]["value"] == pytest.approx(log_loss(test.labels, expected), rel=1e-6)
    assert result["temperature"] == fit_temperature(validation)


def test_means_have_the_normal_interval():
    test = calibrated(1000, seed=10)
    before = measure(test)["before"]
    for name, values in (("nll", negative_log_likelihoods(test)), ("brier", brier_scores(test))):
        half = 1.96 * values.std() / np.sqrt(1000)
        # An end is the 25th of 1000 sorted values: its own deviation is 8 % of half the width.
        np.testing.assert_allclose(
            before[name]["interval_95"], [values.mean() - half, values.mean() + half], atol=0.24 * half
        )


def test_few_images_and_equal_confidences_have_a_result():
    for test in (
        Answers(np.array([1]), np.array([[0, 2, 1]], np.float32)),
        Answers(np.array([0, 1, 1]), np.zeros((3, 2), np.float32)),
        Answers(np.array([0, 1]), np.array([[900, 0], [0, 900]], np.float32)),
    ):
        result = measure(test)
        for kind in ("equal_width_bins", "equal_mass_bins"):
            assert len(result["before"][kind]) == BINS
            assert sum(each["images"] for each in result["before"][kind]) == len(test)
        for name in ("nll", "brier", "ece_equal_width", "ece_equal_mass"):
            low, high = result["after"][name]["interval_95"]
            assert 0 <= low <= result["after"][name]["value"] <= high
