"""Parameters and multiply-adds of single layers by their formulas."""

import keras
import pytest

from pipeline.models.cost import count_parameters, multiply_adds


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        (keras.layers.Conv2D(6, 3, strides=2, padding="same"), 4 * 5 * 3 * 3 * 4 * 6),
        (keras.layers.Conv2D(6, 3, padding="valid", groups=2), 5 * 8 * 3 * 3 * (4 // 2) * 6),
        (keras.layers.DepthwiseConv2D(5, padding="same"), 7 * 10 * 5 * 5 * 4),
        (keras.layers.DepthwiseConv2D(3, padding="same", depth_multiplier=2), 7 * 10 * 3 * 3 * 4 * 2),
    ],
    ids=["strided", "grouped", "depthwise", "depth_multiplier"],
)
def test_one_layer_costs_its_formula(layer, expected):
    model = keras.Sequential([keras.Input((7, 10, 4)), layer])
    assert multiply_adds(model) == {layer.name: expected}


def test_dense_costs_in_times_out_and_norms_nothing():
    dense = keras.layers.Dense(7, name="dense")
    norm = keras.layers.BatchNormalization()
    model = keras.Sequential([keras.Input((5,)), norm, dense])
    assert multiply_adds(model) == {"dense": 5 * 7}
    # Moving statistics are not trained: 2 * 5 of the norm, 5 * 7 + 7 of the dense layer.
    assert count_parameters(model) == 2 * 5 + 5 * 7 + 7
    dense.trainable = False
    assert count_parameters(model) == 2 * 5
