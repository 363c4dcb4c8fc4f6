"""Robustness: a table worked by hand, its interval, and which images are measured."""

import numpy as np
import pytest

from evaluation.corruptions.corrupt import BATCH, SEVERITIES, corrupt, corrupt_images
from evaluation.metrics.robustness import describe_robustness
from tests.evaluation.made_up import images_of

ROUNDING = 1e-12
"""Means of a few ones and zeros."""


def falling(images: int, wrong: int) -> list[np.ndarray]:
    """At severity s, `wrong` times s images are answered wrongly, the first ones."""
    return [np.arange(images) >= wrong * severity for severity in SEVERITIES]


def test_a_table_by_hand():
    clean = np.array([True, True, True, False])
    described = describe_robustness(clean, {"fog": falling(10, 1), "shot_noise": falling(10, 2)}, seed=0)
    assert described["images"] == 10
    assert described["clean"]["value"] == 0.75
    fog, noise = described["corruptions"]["fog"], described["corruptions"]["shot_noise"]
    assert list(described["corruptions"]) == ["fog", "shot_noise"]
    assert (fog["category"], noise["category"]) == ("weather", "noise")
    assert fog["accuracy"] == pytest.approx([0.9, 0.8, 0.7, 0.6, 0.5], abs=ROUNDING)
    assert noise["accuracy"] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0], abs=ROUNDING)
    assert fog["mean"] == pytest.approx(0.7, abs=ROUNDING)
    assert noise["mean"] == pytest.approx(0.4, abs=ROUNDING)
    # Wald's interval of a share of one half.
    margin = 1.959964 * 0.5 / np.sqrt(described["images"])
    assert described["cell_margin"] == pytest.approx(margin)
    assert described["by_severity"] == pytest.approx([0.85, 0.7, 0.55, 0.4, 0.25], abs=ROUNDING)
    assert described["mean"]["value"] == pytest.approx(0.55, abs=ROUNDING)
    low, high = described["mean"]["interval_95"]
    assert low < 0.55 < high


def test_what_is_resampled_is_images():
    # Every image is right in half of the cells: whichever are drawn, the mean is a half.
    halves = np.tile([True, False], 10)
    cells = {name: [halves, ~halves, halves, ~halves, halves] for name in ("fog", "frost")}
    cells["frost"] = [~right for right in cells["frost"]]
    described = describe_robustness(halves, cells, seed=0)
    assert described["mean"] == {"value": 0.5, "interval_95": [0.5, 0.5]}
    # One that is right in all cells or in none has a mean like a share's: its standard error is
    # sqrt(p (1 - p) / n), and 1.96 of them are the interval of 400 images.
    all_or_none = np.arange(400) < 100
    described = describe_robustness(all_or_none, {"fog": [all_or_none] * 5}, seed=0)
    reach = 1.96 * np.sqrt(0.25 * 0.75 / 400)
    # A percentile of a thousand resamples strays by a tenth of the reach.
    expected = pytest.approx([0.25 - reach, 0.25 + reach], abs=0.1 * reach)
    assert described["mean"]["interval_95"] == expected


def test_images_are_corrupted_by_their_place_in_the_table_whatever_the_batch():
    images = images_of(2 * BATCH - 20)
    batches, labels = corrupt_images(images, np.arange(len(images)), seed=7)("shot_noise", 3)
    np.testing.assert_array_equal(labels, np.arange(len(images)))
    batches = list(batches)
    assert [len(batch) for batch in batches] == [BATCH, BATCH - 20]
    whole = corrupt(images, "shot_noise", 3, seed=7)
    np.testing.assert_array_equal(np.concatenate(batches), whole)
    assert (whole != images).any(axis=(1, 2, 3)).all()
