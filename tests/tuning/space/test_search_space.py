"""The search space: what matters beside what, and the way to settings and back."""

import copy
import random

import pytest

from pipeline.config.config import Config
from pipeline.config.presets import PRESETS, preset
from pipeline.errors import UserError
from tuning.space.search_space import (
    STRENGTHS,
    Dimension,
    apply,
    describe_space,
    nearest_values,
    search_space,
    setting,
    settle,
    values_at,
)

KIND = Dimension("optimizer", "the optimizer", choices=("sgd", "adamw"))
RATE = Dimension("peak_learning_rate", "", 0.01, 1.0, log=True, when=("optimizer", ("sgd",)))
DROPOUT = Dimension("dropout", "share of features", 0.1, 0.5)
EVERY_DIMENSION = [
    pytest.param(dimension, config, id=f"{name}-{dimension.name}")
    for name, config in ((name, preset(name).with_own_width()) for name in PRESETS)
    for dimension in search_space(config)
]


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_a_point_of_its_space(name):
    config = preset(name).with_own_width()
    assert apply(nearest_values(search_space(config), config), config) == config


@pytest.mark.parametrize("name", PRESETS)
def test_settings_lead_back_to_the_hyperparameters(name):
    config, draws = preset(name).with_own_width(), random.Random(name)
    # A strength is a factor: settings do not tell it from the strengths that it multiplied.
    space = tuple(d for d in search_space(config) if d.name != "augment_strength")
    for _ in range(50):
        values = values_at(space, iter([draws.random() for _ in space]))
        assert nearest_values(space, apply(values, config)) == values


def test_apply_changes_nothing_that_it_is_given():
    config = preset("cifar10").with_own_width()
    values = {"adaptive_learning_rate": 0.01, "augment_strength": 2.0, "mixing": "mixup"}
    before = copy.deepcopy(values), copy.deepcopy(config)
    first = apply(values, config)
    assert (values, config) == before
    assert apply(values, config) == first != config


STRONG = {
    "crop_padding": 3,
    "rotation": 100.0,
    "brightness": 0.75,
    "contrast": 0.5,
    "saturation": 0.25,
    "hue": 0.375,
    "cutout": 5,
    "erasing": 0.5,
}


@pytest.mark.parametrize(
    ("own", "values", "expected"),
    [
        ({}, {}, {}),
        (
            {},
            {"width": 32, "policy": "randaugment", "randaugment_magnitude": 3},
            {"width": 32, "policy": "randaugment", "randaugment_magnitude": 3},
        ),
        (
            {"peak_learning_rate": 0.5},
            {"optimizer": "adamw", "adaptive_learning_rate": 0.001},
            {"optimizer": "adamw", "peak_learning_rate": 0.001},
        ),
        ({}, {"mixing": "mixup", "mixing_alpha": 0.5}, {"mixup": 0.5}),
        ({}, {"mixing": "cutmix", "mixing_alpha": 0.5}, {"cutmix": 0.5}),
        ({"mixup": 0.3}, {"mixing": "none"}, {"mixup": 0.0}),
        ({"mixup": 0.3}, {"mixing": "cutmix", "mixing_alpha": 1.0}, {"mixup": 0.0, "cutmix": 1.0}),
        # Alpha alone changes what mixes already; mixing alone takes over the alpha there is.
        ({"cutmix": 0.3}, {"mixing_alpha": 1.0}, {"cutmix": 1.0}),
        ({"cutmix": 0.3}, {"mixing": "mixup"}, {"mixup": 0.3, "cutmix": 0.0}),
        ({}, {"mixing": "mixup"}, {"mixup": 0.2}),
        (STRONG, {"augment_strength": 0.0}, dict.fromkeys(STRENGTHS, 0)),
        (STRONG, {"augment_strength": 1.0}, {}),
        (
            STRONG,
            {"augment_strength": 0.4},
            {
                "crop_padding": 1,
                "rotation": 40.0,
                "brightness": 0.3,
                "contrast": 0.2,
                "saturation": 0.1,
                "hue": 0.15,
                "cutout": 2,
                "erasing": 0.2,
            },
        ),
        # 3, 5 times 1.25 are 3.75, 6.25; nothing exceeds the maximum of its setting.
        (
            STRONG,
            {"augment_strength": 1.25},
            {
                "crop_padding": 4,
                "rotation": 125.0,
                "brightness": 0.9375,
                "contrast": 0.625,
                "saturation": 0.3125,
                "hue": 0.46875,
                "cutout": 6,
                "erasing": 0.625,
            },
        ),
        (
            STRONG,
            {"augment_strength": 2.0},
            {
                "crop_padding": 6,
                "rotation": 180.0,
                "brightness": 1.0,
                "contrast": 1.0,
                "saturation": 0.5,
                "hue": 0.5,
                "cutout": 10,
                "erasing": 1.0,
            },
        ),
    ],
)
def test_apply(own, values, expected):
    config = Config().with_values(own)
    received = apply(values, config).values()
    for name, value in {**config.values(), **expected}.items():
        # One rounding of a float64 product.
        near = pytest.approx(value, rel=1e-15, abs=0) if isinstance(value, float) else value
        assert received[name] == near, name
    assert {type(received[name]) for name in ("crop_padding", "cutout")} == {int}


def test_a_value_that_a_setting_does_not_allow_is_a_user_error():
    with pytest.raises(UserError, match=r"--dropout must be .* received 2"):
        apply({"dropout": 2.0}, Config())


@pytest.mark.parametrize(("dimension", "config"), EVERY_DIMENSION)
def test_settings_allow_all_that_is_searched(dimension, config):
    assert dimension.meaning
    values = dimension.choices or (dimension.value_at(0.0), dimension.value_at(1.0))
    condition = {dimension.when[0]: dimension.when[1][0]} if dimension.when else {}
    for value in values:
        settings = apply({**condition, dimension.name: value}, config).values()
        if dimension.name in settings:
            assert settings[dimension.name] == value


@pytest.mark.parametrize("name", PRESETS)
def test_conditions_stand_before_what_depends_on_them(name):
    space = search_space(preset(name).with_own_width())
    names = [dimension.name for dimension in space]
    assert len(set(names)) == len(names)
    for place, dimension in enumerate(space):
        if dimension.when:
            condition = space[names.index(dimension.when[0])]
            assert condition in space[:place]
            assert set(dimension.when[1]) & set(condition.choices)


def test_the_space_is_around_the_settings():
    own = {"width": 1, "batch_size": 3, "optimizer": "lion", "schedule": "step", "cutout": 0}
    space = {dimension.name: dimension for dimension in search_space(Config().with_values(own))}
    assert space["width"].choices == (1, 2)
    assert space["batch_size"].choices == (2, 3, 6)
    assert {"lion", "adamw"} <= set(space["optimizer"].choices)
    assert {"step", "cosine"} <= set(space["schedule"].choices)
    assert "muon_rate" not in space
    with_muon = {d.name: d for d in search_space(Config().with_values({"optimizer": "muon"}))}
    muon = {"optimizer": "muon"}
    names = ("muon_rate", "peak_learning_rate", "adaptive_learning_rate")
    assert [with_muon[name].matters(muon) for name in names] == [True, True, False]
    assert "augment_strength" not in space  # nothing augments: there is nothing to multiply
    for name in STRENGTHS:
        strength = 1 if setting(name).type is int else 0.25
        varied = search_space(Config().with_values({name: strength}))
        assert "augment_strength" in [dimension.name for dimension in varied]


@pytest.mark.parametrize(
    ("values", "settled"),
    [
        ({"optimizer": "sgd", "peak_learning_rate": 0.1}, None),
        ({"optimizer": "adamw", "peak_learning_rate": 0.1}, {"optimizer": "adamw"}),
        ({"peak_learning_rate": 0.1, "dropout": 0.2}, {"dropout": 0.2}),
        ({"dropout": 0.2, "other": 1}, {"dropout": 0.2}),
        ({}, {}),
    ],
)
def test_settle(values, settled):
    assert settle((KIND, RATE, DROPOUT), values) == (values if settled is None else settled)


def test_values_at_takes_one_coordinate_a_dimension():
    space = (KIND, RATE, DROPOUT)
    assert values_at(space, iter([0.9, 0.5, 0.0])) == {"optimizer": "adamw", "dropout": 0.1}
    for wrong in ([0.5, 0.5], [0.5] * 4):
        with pytest.raises(ValueError, match="zip"):
            values_at(space, iter(wrong))


def test_describe_space():
    sgd = Dimension("optimizer", "the optimizer", choices=("sgd", "adamw", "lion"))
    rate = Dimension("rate", "of them", 0.01, 1.0, log=True, when=("optimizer", ("lion", "ftrl")))
    assert [line.strip() for line in describe_space((sgd, rate, DROPOUT)).splitlines()] == [
        "optimizer  sgd | adamw | lion  (the optimizer)",
        "rate  0.01 .. 1, log  (of them; where optimizer is lion)",
        "dropout  0.1 .. 0.5  (share of features)",
    ]


def test_widths_keep_the_groups_whole():
    config = preset("digits").with_values({"model": "resnext50", "width": 32})
    (width,) = (d for d in search_space(config) if d.name == "width")
    assert width.choices == (16, 32, 48)


def test_weights_to_start_from_fix_the_width():
    config = preset("digits").with_values({"weights": "run"})
    assert "width" not in {dimension.name for dimension in search_space(config)}
