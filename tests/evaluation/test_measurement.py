"""The measurement of a run's networks: which images, how many, and the figures of each."""

import dataclasses
import json
import zlib
from collections.abc import Sequence

import numpy as np
import pytest
from scipy.special import softmax

from evaluation.corruptions.corrupt import CORRUPTIONS, SEVERITIES, corrupt
from evaluation.measurement import (
    RunAnswers,
    answer_all,
    answer_examples,
    describe_networks,
    prepared_corruptions,
)
from evaluation.networks.networks import Network
from pipeline.console.progress import Progress
from pipeline.data.splits import fingerprint
from pipeline.finished_run import FinishedRun
from tests.evaluation.made_up import build_data, build_run, images_of, table_network

NAMES = ("ant", "bee", "cat")
RANDOM = np.random.default_rng(5)
LABELS = RANDOM.integers(0, 3, 60)
ROWS = RANDOM.permutation(60)
SPLITS = {"validation": ROWS[:7], "calibration": ROWS[7:9], "test": ROWS[9:32]}
TEST = SPLITS["test"]
# For each of 256 reds: random noise, or an image that looks mirrored, has an answer too.
KERAS, INT8 = RANDOM.normal(size=(2, 256, 3)).astype(np.float32)
SURE = {"keras": 1.0, "int8": 3.0}
"""The one logit that is not 0 of a validation image; the first two are wrong."""
CALLED = (LABELS[SPLITS["validation"]] + (np.arange(7) < 2)) % 3
for logits, name in ((KERAS, "keras"), (INT8, "int8")):
    logits[SPLITS["validation"]] = SURE[name] * np.eye(3)[CALLED]

NETWORKS = [table_network(KERAS, "keras"), table_network(INT8, "int8")]


DATA = build_data(LABELS, SPLITS, NAMES)
DRAWN_BY = zlib.crc32(fingerprint(DATA.source, TEST).encode())


@pytest.fixture
def run(tmp_path) -> FinishedRun:
    return build_run(tmp_path, DATA, seed=11)


def right_of(logits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return logits[rows].argmax(axis=-1) == LABELS[rows]


def answered(run: FinishedRun, networks: Sequence[Network], flip: bool, corrupted: int) -> RunAnswers:
    validation, test = (run.data.examples(split) for split in ("validation", "test"))
    return answer_all(networks, validation, test, flip, corrupted, [])


def measured(run: FinishedRun, corrupted: int, flip: bool = False, networks=NETWORKS) -> dict:
    """Figures; intervals of a thousand resamples take seconds, and have tests of their own."""
    answers = answered(run, networks, flip, corrupted)
    return describe_networks(run, networks, answers, resamples=20)


def test_answers_are_in_the_order_of_the_split(run):
    progress = Progress(0, "", "")
    answers = answer_examples(NETWORKS, run.data.examples("test"), progress)
    assert list(answers) == ["keras", "int8"]
    np.testing.assert_array_equal(answers["keras"].logits, KERAS[TEST])
    np.testing.assert_array_equal(answers["int8"].logits, INT8[TEST])
    for each in answers.values():
        np.testing.assert_array_equal(each.labels, LABELS[TEST])
    assert progress.done == 2 * len(TEST)


def test_figures_of_each_network_are_its_own(run):
    described = measured(run, 0)
    assert list(described) == ["keras", "int8"]
    for name, logits in (("keras", KERAS), ("int8", INT8)):
        figures = described[name]
        assert figures["file"] == f"{name}.file"
        assert figures["accuracy"]["top1"]["value"] == right_of(logits, TEST).mean()
        assert [row["class"] for row in figures["accuracy"]["per_class"]] == list(NAMES)
        assert figures["calibration"]["validation_images"] == 7
        losses = -np.log(softmax(logits[TEST], -1)[np.arange(23), LABELS[TEST]])
        # Logarithms in float32 beside float64.
        assert figures["calibration"]["before"]["nll"]["value"] == pytest.approx(losses.mean(), rel=1e-5)
        # Likeliest where 5 of 7 are right: e^(sure / T) / (e^(sure / T) + 2) = 5 / 7. The search
        # for it ends within 1e-5 of its logarithm.
        expected = pytest.approx(SURE[name] / np.log(5), rel=1e-4)
        assert figures["calibration"]["temperature"] == expected
        assert figures["flip"] is None
        assert figures["robustness"] is None
        assert figures["prepared_robustness"] is None
    json.dumps(described, allow_nan=False)


def test_the_temperature_that_is_folded_into_a_file_is_told(run):
    int8 = dataclasses.replace(NETWORKS[1], folded_temperature=1.5)
    described = measured(run, 0, networks=[NETWORKS[0], int8])
    assert [each["folded_temperature"] for each in described.values()] == [1.0, 1.5]


def test_flipping_averages_probabilities_of_both_sides(run):
    described = measured(run, 0, flip=True)
    images = images_of(60)[TEST]
    for name, logits in (("keras", KERAS), ("int8", INT8)):
        both = (softmax(logits[images[:, 0, side, 0]], -1) for side in (0, -1))
        flipped, plain = sum(both).argmax(axis=-1) == LABELS[TEST], right_of(logits, TEST)
        figures = described[name]["flip"]
        assert figures["top1"]["value"] == flipped.mean()
        change = 100 * (flipped.mean() - plain.mean())
        assert figures["change_points"] == pytest.approx(change)
        # Agresti and Min 2005: half an image more in each of the four cells.
        won, lost = (flipped & ~plain).sum() + 0.5, (plain & ~flipped).sum() + 0.5
        centre, reach = won - lost, 1.959964 * np.sqrt(won + lost - (won - lost) ** 2 / 25)
        expected = [100 * (centre - reach) / 25, 100 * (centre + reach) / 25]
        assert figures["change_interval_95_points"] == pytest.approx(expected)
    assert described["keras"]["flip"]["change_points"] != 0


def test_corrupted_images_are_some_of_test_and_beside_the_same_as_they_are(run):
    seen = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return KERAS[images[:, 0, 0, 0]]

    answers = answered(run, [Network("keras", "", predict), NETWORKS[1]], False, 6)
    described = describe_networks(run, NETWORKS, answers, resamples=20)
    rows = TEST[answers.drawn]
    assert len(set(rows.tolist())) == 6
    cells = [(name, severity) for name in CORRUPTIONS for severity in SEVERITIES]
    for images, (name, severity) in zip(seen[-75:], cells, strict=True):
        expected = corrupt(images_of(60)[rows], name, severity, DRAWN_BY)
        np.testing.assert_array_equal(images, expected)
    for name, logits in (("keras", KERAS), ("int8", INT8)):
        robustness = described[name]["robustness"]
        assert robustness["images"] == 6
        # Not accuracy on the whole of test.
        assert robustness["clean"]["value"] == right_of(logits, rows).mean()
        reds = [corrupt(images_of(60)[rows], *cell, DRAWN_BY)[:, 0, 0, 0] for cell in cells]
        right = [(logits[red].argmax(axis=-1) == LABELS[rows]).mean() for red in reds]
        assert robustness["mean"]["value"] == pytest.approx(np.mean(right))
        assert len(robustness["corruptions"]) == 15


def test_the_draw_is_a_function_of_test_so_that_runs_can_be_compared(tmp_path):
    drawn = []
    for seed, test in ((11, TEST), (12, TEST), (11, TEST[::-1])):
        another = build_run(tmp_path, build_data(LABELS, {**SPLITS, "test": test}, NAMES), seed=seed)
        drawn.append(answered(another, NETWORKS, False, 6).drawn.tolist())
    assert drawn[0] == drawn[1] != drawn[2]


def test_more_images_than_test_has_are_all_of_test(run):
    np.testing.assert_array_equal(answered(run, NETWORKS, False, 1000).drawn, np.arange(23))


@pytest.mark.parametrize(
    ("settings", "corrupted"),
    [
        ({"data": "cifar10", "image_size": 64}, 6),
        ({"data": "cifar100", "image_size": 32}, 6),
        ({"data": "cifar10", "image_size": 32}, 0),
    ],
)
def test_only_corrupted_cifar10_is_measured_on_the_authors_images(run, tmp_path, settings, corrupted):
    assert prepared_corruptions(build_run(tmp_path, run.data, **settings), corrupted) == []
