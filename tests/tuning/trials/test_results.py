"""Results of trials: the order of their scores, and the file that keeps them."""

import dataclasses
import itertools
import json
import math

import numpy as np
import pytest

from pipeline.errors import UserError
from tests.tuning.samples import make_result
from tuning.trials.results import COMPLETED, FAILED, STOPPED, best_first, load_result, load_results, score_of

ENTROPIES = (0.0, 1e-6, 0.1, 1.0, 2.3, 10.0, 1e3, 1e6)
HUGE = (1e16, 1e308, math.inf)
SIZES = (1, 2, 3, 100, 359, 10_000, 50_000)
"""Images of a validation split."""


def as_computed(share: float) -> float:
    return share


def as_measured(share: float) -> float:
    """Keras' metrics are float32."""
    return float(np.float32(share))


@pytest.mark.parametrize("rounded", [as_computed, as_measured])
@pytest.mark.parametrize("images", SIZES)
def test_one_image_more_beats_any_cross_entropy(images, rounded):
    for right in {0, 1, images // 3, images // 2, images - 1} - {images}:
        fewer, more = rounded(right / images), rounded((right + 1) / images)
        for worst, best in itertools.product(ENTROPIES + HUGE, repeat=2):
            assert score_of(more, worst, images) > score_of(fewer, best, images)


@pytest.mark.parametrize("images", SIZES)
@pytest.mark.parametrize("accuracy", [0.0, 1 / 3, 0.5, 1.0])
def test_equal_accuracies_are_ranked_by_cross_entropy(accuracy, images):
    scores = [score_of(accuracy, entropy, images) for entropy in (*ENTROPIES, math.inf)]
    assert all(better > worse for better, worse in itertools.pairwise(scores))
    # Beyond 1e16 float64 rounds h / (1 + h) to 1: no order any more, but no wrong one either.
    scores = [score_of(accuracy, entropy, images) for entropy in ENTROPIES + HUGE]
    assert scores == sorted(scores, reverse=True)
    assert all(math.isfinite(score) for score in scores)


@pytest.mark.parametrize(
    ("accuracy", "cross_entropy", "images", "score"),
    [(0.5, 0.0, 10, 0.5), (0.5, 1.0, 10, 0.475), (0.75, 3.0, 2, 0.5625), (1.0, math.inf, 5, 0.9)],
)
def test_score_by_hand(accuracy, cross_entropy, images, score):
    # A few roundings of float64.
    assert score_of(accuracy, cross_entropy, images) == pytest.approx(score, rel=1e-15)
    result = make_result(0, accuracy, cross_entropy=cross_entropy, images=images)
    assert result.score == score_of(accuracy, cross_entropy, images)


def test_what_failed_has_no_score():
    failed = make_result(0, None, status=FAILED, cross_entropy=None, images=None, best_epoch=None)
    assert failed.score is None
    assert make_result(0, 0.5, status=STOPPED).score == make_result(0, 0.5).score


@pytest.mark.parametrize(
    "result",
    [
        make_result(7, 0.1 + 0.2, cross_entropy=1 / 3, accuracies=(0.1, 0.1 + 0.2)),
        make_result(7, 0.0, cross_entropy=math.inf, accuracies=(0.0,)),
        make_result(
            8,
            None,
            status=FAILED,
            reason='loss is no longer finite, "nan"',
            cross_entropy=None,
            images=None,
            best_epoch=None,
            epochs=0,
            seconds=0.0,
            values={"width": 8, "optimizer": "sgd", "peak_learning_rate": 1e-3},
        ),
    ],
)
def test_a_result_comes_back_as_it_was_saved(result, tmp_path):
    path = tmp_path / "result.json"
    result.save(path)
    loaded = load_result(path)
    assert loaded == result
    assert isinstance(loaded.accuracies, tuple)
    assert list(tmp_path.iterdir()) == [path]
    assert json.loads(path.read_text()).keys() == {f.name for f in dataclasses.fields(result)}


def test_a_cross_entropy_that_is_no_number_comes_back_as_the_worst(tmp_path):
    # Of logits that overflow in validation alone; json has no word for it.
    path = tmp_path / "result.json"
    make_result(7, 0.1, cross_entropy=math.nan).save(path)
    assert load_result(path) == make_result(7, 0.1, cross_entropy=math.inf)


def test_results_are_those_that_have_ended_in_order(tmp_path):
    assert load_results(tmp_path / "missing") == []
    results = [make_result(10), make_result(2, 0.75), make_result(0)]
    for name, result in zip(("0010", "0002", "0000", ".aside-0004"), [*results, results[0]], strict=True):
        (tmp_path / name).mkdir()
        result.save(tmp_path / name / "result.json")
    (tmp_path / "0003").mkdir()
    assert load_results(tmp_path) == results[::-1]


def test_best_first():
    failed = make_result(6, None, status=FAILED, cross_entropy=None, images=None)
    results = [
        make_result(5, 0.9),
        make_result(4, 0.9),
        make_result(3, 0.99, status=STOPPED),
        make_result(2, 0.8, cross_entropy=0.5),
        make_result(1, 0.8, cross_entropy=0.9),
        make_result(0, 0.91, cross_entropy=9.0),
        failed,
    ]
    before = list(results)
    ordered = best_first(results)
    assert [result.trial for result in ordered] == ["0000", "0004", "0005", "0002", "0001"]
    assert {result.status for result in ordered} == {COMPLETED}
    assert results == before
    assert best_first([failed]) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("trial", 7),
        ("purpose", None),
        ("status", ["completed"]),
        ("values", "none"),
        ("seed", 0.5),
        ("accuracy", None),
        ("accuracy", "0.5"),
        ("accuracy", math.nan),
        ("cross_entropy", "low"),
        ("images", True),
        ("best_epoch", -1),
        ("seconds", {}),
        ("accuracies", 0.5),
        ("accuracies", [0.5, "0.6"]),
    ],
)
def test_a_result_of_another_type_is_refused_in_one_line(tmp_path, name, value):
    path = tmp_path / "result.json"
    make_result(0, 0.5).save(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), name: value}))
    with pytest.raises(UserError, match=rf"^a trial must have a whole result\.json; {name} in ") as error:
        load_result(path)
    assert "\n" not in str(error.value)


def test_what_a_later_version_adds_to_a_result_is_passed_over(tmp_path):
    path = tmp_path / "result.json"
    make_result(0, 0.5).save(path)
    expected = load_result(path)
    path.write_text(json.dumps({**json.loads(path.read_text()), "watts": 3}))
    assert load_result(path) == expected
