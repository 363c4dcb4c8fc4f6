"""`--space` and `--only`: what they leave to search, what they fix, and what they refuse."""

import pytest

from pipeline.config.presets import preset
from pipeline.errors import UserError
from tuning.space.narrowing import HYPERPARAMETERS, fix, keep_only, narrow
from tuning.space.search_space import apply, search_space, settle

CIFAR10 = preset("cifar10").with_own_width()
SPACE = search_space(CIFAR10)


def by_name(space) -> dict:
    return {dimension.name: dimension for dimension in space}


def narrowed(text: str) -> tuple[dict, dict]:
    """What is left to search by name, and the settings."""
    space, config = narrow(SPACE, CIFAR10, text)
    return by_name(space), config.values()


@pytest.mark.parametrize(
    ("text", "name", "choices"),
    [
        ("width=16|8", "width", (8, 16)),
        (" width = 16 | 8 , dropout = 0 .. 0.1", "width", (8, 16)),
        ("width=40..70", "width", (48, 64)),
        ("optimizer=adamw|nadam|sgd", "optimizer", ("sgd", "adamw", "nadam")),
        ("dropout=0.4|0.1|0.25", "dropout", (0.1, 0.25, 0.4)),
        ("mixing=cutmix|mixup", "mixing", ("mixup", "cutmix")),
    ],
)
def test_choices(text, name, choices):
    left, _ = narrowed(text)
    assert left[name].choices == choices
    assert [type(choice) for choice in left[name].choices] == [type(c) for c in choices]
    assert left.keys() == {d.name for d in SPACE} - ({"dropout"} if "dropout=0.1" in text else set())


def test_a_range_may_be_wider_than_the_default():
    left, settings = narrowed("peak_learning_rate=1e-3..2,augment_strength=0..5")
    rate, strength = left["peak_learning_rate"], left["augment_strength"]
    assert (rate.low, rate.high, rate.log) == (0.001, 2.0, True)
    assert (strength.low, strength.high, strength.log) == (0.0, 5.0, False)
    assert settings == CIFAR10.values()


@pytest.mark.parametrize(
    ("text", "settings", "gone"),
    [
        ("width=16", {"width": 16}, {"width"}),
        ("width=16|16", {"width": 16}, {"width"}),
        ("dropout=0.5..0.5", {"dropout": 0.5}, {"dropout"}),
        ("augment_strength=0.5", {"crop_padding": 2, "cutout": 4}, {"augment_strength"}),
        ("mixing=mixup", {"mixup": 0.2}, {"mixing"}),
        ("mixing=mixup,mixing_alpha=0.4", {"mixup": 0.4}, {"mixing", "mixing_alpha"}),
        ("mixing=none", {}, {"mixing", "mixing_alpha"}),
        ("policy=none", {}, {"policy", "randaugment_magnitude"}),
        ("optimizer=adamw", {"optimizer": "adamw"}, {"optimizer", "peak_learning_rate"}),
        ("optimizer=adamw|lion", {}, {"peak_learning_rate"}),
        ("optimizer=sgd|momentum", {}, {"adaptive_learning_rate"}),
        (
            "optimizer=lion,adaptive_learning_rate=1e-4",
            {"optimizer": "lion", "peak_learning_rate": 1e-4},
            {"optimizer", "peak_learning_rate", "adaptive_learning_rate"},
        ),
    ],
)
def test_what_is_fixed_is_a_setting_and_takes_along_what_no_longer_matters(text, settings, gone):
    left, received = narrowed(text)
    assert received == {**CIFAR10.values(), **settings}
    assert left.keys() == {dimension.name for dimension in SPACE} - gone


@pytest.mark.parametrize(
    ("text", "values", "settings"),
    [
        ("mixing_alpha=0.4", {"mixing": "mixup"}, {"mixup": 0.4}),
        ("mixing=none|cutmix,mixing_alpha=0.4", {"mixing": "cutmix"}, {"cutmix": 0.4}),
        ("adaptive_learning_rate=0.001", {"optimizer": "adamw"}, {"peak_learning_rate": 0.001}),
        (
            "peak_learning_rate=0.3,adaptive_learning_rate=0.001",
            {"optimizer": "sgd"},
            {"peak_learning_rate": 0.3},
        ),
        (
            "peak_learning_rate=0.3,adaptive_learning_rate=0.001",
            {"optimizer": "adamw"},
            {"peak_learning_rate": 0.001},
        ),
        ("randaugment_magnitude=12", {"policy": "randaugment"}, {"randaugment_magnitude": 12}),
    ],
)
def test_what_is_fixed_holds_wherever_it_matters(text, values, settings):
    left, config = narrow(SPACE, CIFAR10, text)
    fixed = {d.name: d.choices[0] for d in left if len(d.choices) == 1}
    received = apply(settle(left, {**fixed, **values}), config).values()
    assert {name: received[name] for name in settings} == settings


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("optimizer=adamw|lion", "adaptive_learning_rate"),
        ("optimizer=sgd", "peak_learning_rate"),
        ("policy=randaugment", "randaugment_magnitude"),
        ("mixing=mixup|cutmix", "mixing_alpha"),
    ],
)
def test_what_always_matters_has_no_condition(text, name):
    left, _ = narrowed(text)
    assert left[name].when is None
    assert by_name(SPACE)[name].when is not None


BAD_SPACES = [
    ("widht=16", "unknown hyperparameter 'widht'; did you mean 'width'? known: "),
    (
        "width",
        "--space takes NAME=VALUE, NAME=LOW..HIGH or NAME=A|B|..., separated by commas; received 'width'",
    ),
    ("width=", "separated by commas; received 'width='"),
    ("=16", "separated by commas; received '=16'"),
    ("", "separated by commas; received ''"),
    ("width=16,", "separated by commas; received ''"),
    ("width=16,width=32", "must name a hyperparameter once; received width twice"),
    ("width=x", "--space width must be a whole number; received 'x'"),
    ("width=16|", "--space width must be a whole number; received ''"),
    ("width=1.5", "--space width must be a whole number; received '1.5'"),
    ("width=8..x", "--space width must be a whole number; received 'x'"),
    ("width=..", "--space width must be a whole number; received ''"),
    ("width=-1", "--width must be at least 0 and at most 1024; received -1"),
    (
        "width=50..60",
        "--space width must hold one of 32, 48, 64, 96, or name others as A|B; received '50..60'",
    ),
    ("width=64..32", "--space width must be LOW..HIGH with LOW <= HIGH; received '64..32'"),
    ("dropout=much", "--space dropout must be a number; received 'much'"),
    ("dropout=0.5..2", "--dropout must be at least 0 and at most 0.9; received 2.0"),
    ("dropout=nan", "--dropout must be finite; received nan"),
    ("dropout=0..inf", "--dropout must be finite; received inf"),
    ("dropout=0.4..0.2", "--space dropout must be LOW..HIGH with LOW <= HIGH; received "),
    ("weight_decay=0..0.1", "--space weight_decay is searched in the logarithm, above 0; received '0..0.1'"),
    ("peak_learning_rate=0..1", "--peak-learning-rate must be above 0 and at most 1e+30; received 0.0"),
    ("adaptive_learning_rate=-1", "must be above 0 and at most 1e+30; received -1.0"),
    ("augment_strength=-1", "--space augment_strength must be at least 0 and at most 1000; received '-1'"),
    ("augment_strength=1e300", "must be at least 0 and at most 1000; received '1e300'"),
    ("augment_strength=nan", "must be at least 0 and at most 1000; received 'nan'"),
    ("augment_strength=0..inf", "must be at least 0 and at most 1000; received 'inf'"),
    ("mixing_alpha=-1", "must be at least 0 and at most 1000; received -1.0"),
    ("mixing=mixupp", "unknown --space mixing 'mixupp'; did you mean 'mixup'? known: "),
    ("optimizer=adamv", "unknown --optimizer 'adamv'; did you mean 'adam"),
    ("optimizer=sgd..adamw", "--space optimizer must be one or more of its names; received 'sgd..adamw'"),
    (
        "optimizer=adamw,peak_learning_rate=0.1",
        "--space peak_learning_rate matters only where "
        "optimizer is sgd or momentum or nesterov; received optimizer=adamw",
    ),
    (
        "mixing=none,mixing_alpha=0.1..0.5",
        "mixing_alpha matters only where mixing is mixup or cutmix; received mixing=none",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD_SPACES)
def test_a_bad_space_is_answered_with_one_line(text, message):
    with pytest.raises(UserError) as caught:
        narrow(SPACE, CIFAR10, text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["widht", "", "seed"])
def test_only_must_name_hyperparameters(name):
    with pytest.raises(UserError, match=f"unknown hyperparameter '{name}'; .*known: ") as caught:
        keep_only(SPACE, CIFAR10, ["width", name])
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("only", "own", "expected"),
    [
        (["width"], {}, ["width"]),
        (["dropout", "width"], {}, ["width", "dropout"]),
        (HYPERPARAMETERS, {}, list(HYPERPARAMETERS)),
        # What depends on something fixed matters always or never.
        (["peak_learning_rate"], {}, ["peak_learning_rate"]),
        (["adaptive_learning_rate"], {"optimizer": "lion"}, ["adaptive_learning_rate"]),
        (["mixing_alpha"], {"cutmix": 0.5}, ["mixing_alpha"]),
        (["augment_strength"], {"crop_padding": 0, "cutout": 0}, []),
    ],
)
def test_keep_only(only, own, expected):
    config = CIFAR10.with_values(own)
    left = keep_only(search_space(config), config, only)
    assert [dimension.name for dimension in left] == expected
    assert all(d.when is None or d.when[0] in by_name(left) for d in left)


@pytest.mark.parametrize(
    ("only", "own", "without_effect"),
    [
        (["peak_learning_rate", "adaptive_learning_rate"], {}, "adaptive_learning_rate"),
        (["peak_learning_rate", "dropout"], {"optimizer": "lion"}, "peak_learning_rate"),
        (["mixing_alpha"], {}, "mixing_alpha"),
    ],
)
def test_only_must_name_what_has_an_effect(only, own, without_effect):
    config = CIFAR10.with_values(own)
    with pytest.raises(UserError, match=f"has an effect; received {without_effect},"):
        keep_only(search_space(config), config, only)


def test_fixing_nothing_leaves_everything():
    assert fix(SPACE, CIFAR10, []) == SPACE
    assert tuple(dimension.name for dimension in SPACE) == HYPERPARAMETERS
