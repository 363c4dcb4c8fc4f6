"""The search for an int8 file: what is compared is what is shipped, and nothing computes in float unasked."""

import dataclasses

import numpy as np
import pytest

from export.convert.slim import slim_down
from export.errors import ExportFailed
from export.quantize.calibration_images import CalibrationImages
from export.quantize.search import Tried, most_accurate, try_strategies
from export.quantize.strategies import Strategy, list_remedies
from export.verify.accuracy import KerasAnswers, Split, answer_with_keras
from export.verify.comparison import paired_comparison
from tests.export.quantize.samples import IMAGES, ROWS, draw_more, images


@pytest.fixture(scope="module")
def keras_answers(network, split) -> KerasAnswers:
    return answer_with_keras(network, Split(split))


def test_strategies_are_tried_one_by_one_and_each_file_is_compared(float32, keras_answers):
    drawn = []

    def draw(more: int) -> CalibrationImages:
        drawn.append(more)
        return draw_more(more)

    tried = try_strategies(
        list_remedies(float32, Strategy(images(10), "uint8"), draw), float32, keras_answers
    )
    first = next(tried)
    assert drawn == []
    second = next(tried)
    assert drawn == [40]
    labels = keras_answers.split.labels
    for each in (first, second):
        assert slim_down(each.file) == each.file
        assert (each.file.graph.input.dtype, each.file.graph.output.dtype) == ("uint8", "uint8")
        expected = paired_comparison(labels, keras_answers.scores, each.file.predict(IMAGES[ROWS]))
        np.testing.assert_equal(dataclasses.asdict(each.comparison), dataclasses.asdict(expected))
        assert each.latency_ms > 0
    assert [each.strategy.name[:2] for each in (first, second)] == ["10", "50"]
    assert first.comparison != second.comparison


@pytest.mark.parametrize("kept", [(), ("conv1", "conv2")])
def test_a_layer_that_computes_in_float_unasked_is_refused(float32, strategies, keras_answers, kept):
    strategy = dataclasses.replace(strategies[4], kept_float=kept)
    with pytest.raises(ExportFailed, match="must compute in integers; "):
        next(try_strategies([strategy], float32, keras_answers))


def test_a_layer_that_was_left_in_float_on_purpose_is_not(float32, strategies, keras_answers):
    (tried,) = try_strategies([strategies[4]], float32, keras_answers)
    assert tried.strategy == strategies[4]
    assert tried.comparison.agreement > 0.9


def test_the_most_accurate_is_chosen_and_of_equals_the_first(strategies, float32):
    labels = np.arange(4)
    scores = {right: np.eye(4)[np.where(labels < right, labels, 3 - labels)] for right in (1, 2, 3)}
    tried = [
        Tried(strategy, float32, paired_comparison(labels, np.eye(4), scores[right]), latency)
        for strategy, right, latency in zip(strategies, (1, 3, 3, 2), (1.0, 4.0, 3.0, 2.0), strict=False)
    ]
    assert most_accurate(tried) is tried[1]
