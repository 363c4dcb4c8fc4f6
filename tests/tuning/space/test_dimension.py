"""One hyperparameter: its values by their positions, and the nearest to any other."""

import math

import pytest

from pipeline.config.presets import PRESETS, preset
from tuning.space.search_space import Dimension, search_space

WIDTH = Dimension("width", "channels", choices=(16, 32, 48, 64))
KIND = Dimension("optimizer", "the optimizer", choices=("sgd", "adamw"))
RATE = Dimension("peak_learning_rate", "", 0.01, 1.0, log=True)
DROPOUT = Dimension("dropout", "share of features", 0.1, 0.5)


@pytest.mark.parametrize(
    ("dimension", "position", "value"),
    [
        (WIDTH, 0.0, 16),
        (WIDTH, 0.2499, 16),
        (WIDTH, 0.25, 32),
        (WIDTH, 0.99, 64),
        (WIDTH, 1.0, 64),
        (KIND, 0.49, "sgd"),
        (KIND, 0.5, "adamw"),
        (RATE, 0.0, 0.01),
        (RATE, 0.5, math.sqrt(0.01 * 1.0)),
        (RATE, 1.0, 1.0),
        (DROPOUT, 0.0, 0.1),
        (DROPOUT, 0.25, 0.2),
        (DROPOUT, 1.0, 0.5),
    ],
)
def test_value_at(dimension, position, value):
    # A power and a product of float64 round by a few units in the last place.
    near = value if isinstance(value, str) else pytest.approx(value, rel=1e-14)
    assert dimension.value_at(position) == near
    assert type(dimension.value_at(position)) is type(value)


@pytest.mark.parametrize("name", PRESETS)
def test_positions_and_values_are_inverse(name):
    for dimension in search_space(preset(name).with_own_width()):
        for number in range(11):
            value = dimension.value_at(number / 10)
            position = dimension.position_of(value)
            assert 0 <= position <= 1
            if dimension.choices:
                assert dimension.value_at(position) == value
            else:
                # Logarithms and powers of float64, of numbers within a factor of 1e4.
                assert position == pytest.approx(number / 10, abs=1e-13)


@pytest.mark.parametrize("bounds", [(0.3, 0.9), (0.1, 0.7), (0.01, 1.0), (1e-5, 0.1)])
@pytest.mark.parametrize("log", [False, True])
def test_no_value_is_beyond_the_bounds(bounds, log):
    # Beyond by one rounding, 0.9000000000000001, is more than a setting's maximum of 0.9.
    dimension = Dimension("dropout", "", *bounds, log=log)
    ends = dimension.value_at(0.0), dimension.value_at(1.0)
    assert bounds[0] <= ends[0] < ends[1] <= bounds[1]
    assert ends == pytest.approx(bounds, rel=1e-14)  # a few roundings of float64


@pytest.mark.parametrize(("value", "position"), [(0.001, 0.0), (0.1, 0.5), (7.0, 1.0)])
def test_positions_are_within_the_cube(value, position):
    assert RATE.position_of(value) == pytest.approx(position, rel=1e-14)


@pytest.mark.parametrize(
    ("dimension", "value", "nearest"),
    [
        (WIDTH, 33, 32),
        (WIDTH, 1, 16),
        (WIDTH, 1000, 64),
        (WIDTH, 48, 48),
        (KIND, "adamw", "adamw"),
        (KIND, "lion", "sgd"),
        (DROPOUT, 0.0, 0.1),
        (DROPOUT, 0.3, 0.3),
        (DROPOUT, 1, 0.5),
    ],
)
def test_nearest(dimension, value, nearest):
    assert dimension.nearest(value) == nearest
    assert type(dimension.nearest(value)) is type(nearest)
