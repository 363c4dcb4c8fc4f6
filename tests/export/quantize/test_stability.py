"""What two halves of the calibration images agree on."""

import dataclasses

import numpy as np
import pytest
from sklearn.metrics import accuracy_score

from export.quantize.stability import compare_halves
from export.verify.accuracy import Split
from pipeline.tflite.interpreter import Interpreter
from tests.export.quantize.samples import IMAGES, ROWS, images


@pytest.mark.parametrize("place", [0, 3, 4])
def test_halves_answers_and_scales_worked_by_hand(float32, strategies, split, place):
    strategy = dataclasses.replace(strategies[place], calibration=images(11))
    halves = compare_halves(float32, strategy, Split(split))
    # Disjoint, and together all of them.
    files = [strategy.quantize(float32, half) for half in (IMAGES[:6], IMAGES[6:11])]
    assert halves.images == (6, 5)
    answers = [file.predict(IMAGES[ROWS]).argmax(axis=-1) for file in files]
    assert halves.agreement == accuracy_score(*answers)
    labels = split.source.labels[ROWS]
    assert halves.accuracies == tuple(accuracy_score(labels, each) for each in answers)

    models = [Interpreter(file.content, keep_tensors=True) for file in files]
    changes = {}
    for op in files[0].graph.operations:
        one, two = (scale_of(model, op.output.index) for model in models)
        if one:
            change = abs(one - two) / ((one + two) / 2)
            changes[op.layer] = max(change, changes.get(op.layer, 0.0))
    assert halves.median_scale_change == pytest.approx(np.median(list(changes.values())))
    assert halves.largest_scale_change == pytest.approx(max(changes.values()))
    assert changes[halves.largest_layer] == max(changes.values()) > 0


def scale_of(model: Interpreter, index: int) -> float:
    """Of a tensor, as LiteRT reads it; 0 where it is not quantised."""
    return model._interpreter.get_tensor_details()[index]["quantization"][0]
