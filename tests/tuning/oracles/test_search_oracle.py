"""KerasTuner's view of a space: every dimension as declared, and what matters beside what."""

import keras_tuner
import pytest

from pipeline.config.presets import PRESETS, preset
from tuning.oracles.search_oracle import declare
from tuning.space.narrowing import narrow
from tuning.space.search_space import nearest_values, search_space, settle

CIFAR10 = preset("cifar10").with_own_width()
SPACE = search_space(CIFAR10)


@pytest.mark.parametrize("name", PRESETS)
def test_all_is_declared_with_its_range_and_condition(name):
    config = preset(name).with_own_width()
    space = search_space(config)
    declared = declare(space, config).space
    assert [one.name for one in declared] == [dimension.name for dimension in space]
    for one, dimension in zip(declared, space, strict=True):
        if dimension.choices:
            assert isinstance(one, keras_tuner.engine.hyperparameters.Choice)
            assert tuple(one.values) == dimension.choices
            assert [type(value) for value in one.values] == [type(v) for v in dimension.choices]
            assert one.ordered is not isinstance(dimension.choices[0], str)
        else:
            assert isinstance(one, keras_tuner.engine.hyperparameters.Float)
            assert (one.min_value, one.max_value) == (dimension.low, dimension.high)
            assert one.sampling == ("log" if dimension.log else "linear")
            assert one.step is None
        conditions = [(each.name, tuple(each.values)) for each in one.conditions]
        assert conditions == ([dimension.when] if dimension.when else [])


@pytest.mark.parametrize("name", PRESETS)
def test_the_defaults_are_the_settings(name):
    config = preset(name).with_own_width()
    space = search_space(config)
    hp = declare(space, config)
    assert hp.values == nearest_values(space, config)
    own = config.values()
    assert {name: value for name, value in hp.values.items() if name in own} == {
        name: own[name] for name in hp.values if name in own
    }


def test_the_default_of_what_is_out_of_range_is_the_nearest():
    space, config = narrow(SPACE, CIFAR10, "width=8|16,dropout=0.2..0.4,optimizer=adamw|lion")
    values = declare(space, config).values
    expected = {"width": 16, "dropout": 0.2, "optimizer": "adamw", "adaptive_learning_rate": 0.03}
    assert {name: values[name] for name in expected} == expected
    assert "peak_learning_rate" not in values


@pytest.mark.parametrize("optimizer", ["nesterov", "rmsprop"])
@pytest.mark.parametrize("policy", ["none", "randaugment"])
@pytest.mark.parametrize("mixing", ["none", "cutmix"])
def test_what_matters_to_keras_tuner_is_what_matters(optimizer, policy, mixing):
    hp = declare(SPACE, CIFAR10)
    hp.values |= {"optimizer": optimizer, "policy": policy, "mixing": mixing}
    everything = {**{d.name: d.value_at(0.5) for d in SPACE}, **hp.values}
    active = {one.name for one in hp.space if hp.is_active(one)}
    assert active == settle(SPACE, everything).keys()
