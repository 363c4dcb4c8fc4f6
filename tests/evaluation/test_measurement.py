"""The measurement of a run's networks: which images, how many, and the figures of each."""

import dataclasses
import json
import zlib

import numpy as np
import pytest
from scipy.special import softmax

from evaluation import measurement
from evaluation.measurement import Measurement, answer_examples
from evaluation.metrics import accuracy, intervals
from pipeline.console.progress import Progress
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


DRAWN_BY = zlib.crc32(b"test")
"""The made-up fingerprint of test."""


@pytest.fixture(autouse=True)
def _few_resamples(monkeypatch):
    """Intervals take seconds, and have tests of their own."""
    for module in (accuracy, intervals):
        monkeypatch.setattr(module, "RESAMPLES", 20)


@pytest.fixture
def counted(monkeypatch) -> list[Progress]:
    """Every bar that was begun."""
    begun: list[Progress] = []

    def begin(total: int, label: str, unit: str) -> Progress:
        begun.append(Progress(total, label, unit))
        return begun[-1]

    monkeypatch.setattr(measurement, "Progress", begin)
    return begun


@pytest.fixture
def run(tmp_path) -> FinishedRun:
    return build_run(tmp_path, build_data(LABELS, SPLITS, NAMES), seed=11)


def right_of(logits: np.ndarray, rows: np.ndarray) -> np.ndarray:
    return logits[rows].argmax(axis=-1) == LABELS[rows]


def measured(run: FinishedRun, corrupted: int, flip: bool = False) -> Measurement:
    made = Measurement(run, NETWORKS, corrupted, flip)
    made.answer()
    return made


def test_answers_are_in_the_order_of_the_split(run):
    progress = Progress(0, "", "")
    answers = answer_examples(NETWORKS, run.data.examples("test"), progress)
    assert list(answers) == ["keras", "int8"]
    np.testing.assert_array_equal(answers["keras"].logits, KERAS[TEST])
    np.testing.assert_array_equal(answers["int8"].logits, INT8[TEST])
    for each in answers.values():
        np.testing.assert_array_equal(each.labels, LABELS[TEST])
    assert progress.done == 2 * len(TEST)


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize(("asked", "taken"), [(0, 0), (2, 2), (1000, 23)])
def test_the_bar_ends_full(run, counted, asked, taken, flip):
    made = measured(run, asked, flip)
    evaluating, _ = counted[0], made.describe()
    # Validation, test, test mirrored, and 15 corruptions at 5 severities.
    images = 7 + 23 * (2 if flip else 1) + 75 * taken
    assert evaluating.done == evaluating.total == 2 * images
    assert [bar.done == bar.total for bar in counted] == [True] * len(counted)


def test_figures_of_each_network_are_its_own(run):
    described = measured(run, 0).describe()
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
    made = Measurement(run, [NETWORKS[0], int8], 0, False)
    made.answer()
    described = made.describe()
    assert [each["folded_temperature"] for each in described.values()] == [1.0, 1.5]


def test_flipping_averages_probabilities_of_both_sides(run):
    described = measured(run, 0, flip=True).describe()
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


@pytest.fixture
def shown(monkeypatch) -> dict[str, np.ndarray]:
    """Images and labels that are to be corrupted; they stay as they are."""
    seen = {}

    def load(images, labels, seed):
        seen.update(images=images, labels=labels, seed=seed)
        return lambda name, severity: ([images], labels)

    monkeypatch.setattr(measurement, "corrupt_images", load)
    return seen


def test_corrupted_images_are_some_of_test_and_beside_the_same_as_they_are(run, shown):
    described = measured(run, 6).describe()
    rows = shown["images"][:, 0, 0, 0].astype(int)
    assert len(set(rows.tolist())) == 6
    assert set(rows.tolist()) < set(TEST.tolist())
    np.testing.assert_array_equal(shown["images"], images_of(60)[rows])
    np.testing.assert_array_equal(shown["labels"], LABELS[rows])
    assert shown["seed"] == DRAWN_BY
    for name, logits in (("keras", KERAS), ("int8", INT8)):
        robustness = described[name]["robustness"]
        assert robustness["images"] == 6
        # Not accuracy on the whole of test; nothing was corrupted, so nothing falls.
        assert robustness["clean"]["value"] == right_of(logits, rows).mean()
        assert robustness["mean"]["value"] == pytest.approx(right_of(logits, rows).mean())
        assert len(robustness["corruptions"]) == 15


def test_the_draw_is_a_function_of_test_so_that_runs_can_be_compared(run, tmp_path, shown):
    rows = []
    for seed, test in ((11, "one"), (12, "one"), (11, "other")):
        another = build_run(tmp_path, run.data, seed=seed)
        another.splits["test"]["fingerprint"] = test
        measured(another, 6)
        rows.append(shown["images"][:, 0, 0, 0].tolist())
    assert rows[0] == rows[1] != rows[2]


def test_more_images_than_test_has_are_all_of_test(run, shown):
    measured(run, 1000)
    np.testing.assert_array_equal(shown["images"][:, 0, 0, 0], TEST)


@pytest.fixture
def prepared(monkeypatch) -> list[tuple[int, int]]:
    """CIFAR-10-C with two corruptions, its diagrams those of rows 0 and up; what was asked."""
    asked = []

    def read(images, seed):
        asked.append((images, seed))
        return lambda name, severity: ([images_of(60)[:images]], LABELS[:images])

    monkeypatch.setattr(measurement, "find_prepared", lambda: ["fog", "brightness"])
    monkeypatch.setattr(measurement, "read_prepared", read)
    return asked


def test_cifar10_is_measured_on_the_authors_images_too(run, tmp_path, shown, prepared, counted):
    cifar10 = build_run(tmp_path, run.data, seed=11, data="cifar10", image_size=32)
    described = measured(cifar10, 6).describe()
    assert prepared == [(6, DRAWN_BY)]
    for name, logits in (("keras", KERAS), ("int8", INT8)):
        robustness = described[name]["prepared_robustness"]
        assert list(robustness["corruptions"]) == ["fog", "brightness"]
        assert robustness["images"] == 6
        expected = right_of(logits, np.arange(6)).mean()
        assert robustness["mean"]["value"] == pytest.approx(expected)
        # Which of test they are is not known: beside them stands the whole.
        assert robustness["clean"]["value"] == right_of(logits, TEST).mean()
        assert len(described[name]["robustness"]["corruptions"]) == 15
    assert counted[0].done == counted[0].total == 2 * (7 + 23 + 17 * 5 * 6)


@pytest.mark.parametrize(
    "settings",
    [
        {"data": "cifar10", "image_size": 64},
        {"data": "cifar100", "image_size": 32},
        {"data": "digits", "image_size": 8},
    ],
    ids=lambda settings: "{data} {image_size}".format(**settings),
)
def test_other_images_are_not(run, tmp_path, shown, prepared, counted, settings):
    described = measured(build_run(tmp_path, run.data, **settings), 6).describe()
    assert prepared == []
    assert described["keras"]["prepared_robustness"] is None
    assert described["keras"]["robustness"]["images"] == 6
    assert counted[0].done == counted[0].total


@pytest.mark.usefixtures("shown")
def test_without_corrupted_images_the_authors_are_not_read_either(run, tmp_path, prepared, counted):
    cifar10 = build_run(tmp_path, run.data, data="cifar10", image_size=32)
    described = measured(cifar10, 0).describe()
    assert prepared == []
    assert described["keras"]["robustness"] is None
    assert described["keras"]["prepared_robustness"] is None
    assert counted[0].done == counted[0].total
