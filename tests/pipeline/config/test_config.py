"""The rules of every setting, the presets, and their round trip through JSON."""

import dataclasses
import inspect
import json
import subprocess
import sys

import keras
import pytest

from evaluation import request as evaluation_request
from export import request as export_request
from pipeline.config.config import SECTION_OF, SECTIONS, Config, load_values, per_replica_batch_size
from pipeline.config.option import flag, kind_of, options
from pipeline.config.presets import PRESETS, preset
from pipeline.config.settings import (
    OPTIMIZERS,
    AugmentConfig,
    DataConfig,
    FitConfig,
    ModelConfig,
    RunConfig,
    parse_devices,
)
from pipeline.console.training_request import ChosenSettings
from pipeline.console.training_request import Request as TrainingRequest
from pipeline.errors import UserError, unknown
from tests.commands import ROOT
from tuning import request as tuning_request
from tuning.space.limits import Limits

SETTINGS = [(kind, s) for kind in SECTIONS.values() for s in dataclasses.fields(kind)]
FLOATS = [pytest.param(kind, s.name, id=s.name) for kind, s in SETTINGS if s.type is float]
CHOICES = [
    pytest.param(kind, s.name, s.metadata["choices"], id=s.name)
    for kind, s in SETTINGS
    if s.metadata["choices"]
]


@pytest.mark.parametrize(
    ("section", "name", "inside", "outside", "rule"),
    [
        (FitConfig, "epochs", 1, 0, "at least 1"),
        (FitConfig, "epochs", 10**6, 10**6 + 1, "at least 1 and at most 1000000"),
        (FitConfig, "peak_learning_rate", 1e-9, 0.0, "above 0"),
        (FitConfig, "momentum", 0.9999, 1.0, "at least 0 and at most 0.9999"),
        (FitConfig, "momentum", 0.0, -0.1, "at least 0 and at most 0.9999"),
        (FitConfig, "label_smoothing", 0.9, 0.91, "at least 0 and at most 0.9"),
        (FitConfig, "ema_decay", 0.99999, 1.0, "at least 0 and at most 0.99999"),
        (FitConfig, "step_factor", 1.0, 0.0, "above 0 and at most 1"),
        (DataConfig, "validation_share", 0.5, 0.51, "above 0 and at most 0.5"),
        (DataConfig, "test_share", 0.01, 0.0, "above 0 and at most 0.5"),
        (DataConfig, "image_size", 0, -1, "at least 0"),
        (DataConfig, "image_size", 2048, 1_000_000, "at least 0 and at most 2048"),
        (AugmentConfig, "hue", 0.5, 0.6, "at least 0 and at most 0.5"),
        (AugmentConfig, "randaugment_magnitude", 30, 31, "at least 0 and at most 30"),
        (ModelConfig, "width", 0, -1, "at least 0 and at most 1024"),
        (RunConfig, "seed", 2**31 - 1, 2**31, "at least 0 and at most"),
        (RunConfig, "checkpoint_seconds", 0.1, 0.0, "above 0"),
    ],
)
def test_ranges(section, name, inside, outside, rule):
    assert getattr(section(**{name: inside}), name) == inside
    with pytest.raises(UserError, match=f"^{flag(name)} must be {rule}.*; received {outside!r}$"):
        section(**{name: outside})


@pytest.mark.parametrize(
    ("section", "name", "value", "rule"),
    [
        (FitConfig, "epochs", 1.0, "a whole number"),
        (FitConfig, "epochs", True, "a whole number"),
        (FitConfig, "epochs", "3", "a whole number"),
        (FitConfig, "momentum", "0.9", "a number"),
        (FitConfig, "momentum", True, "a number"),
        (FitConfig, "momentum", None, "a number"),
        (ModelConfig, "zero_init", 1, "true or false"),
        (ModelConfig, "model", 18, "text"),
        (ModelConfig, "model", ["resnet18"], "text"),
    ],
)
def test_types(section, name, value, rule):
    with pytest.raises(UserError) as error:
        section(**{name: value})
    assert str(error.value) == f"{flag(name)} must be {rule}; received {value!r}"


REQUESTS = (
    TrainingRequest,
    ChosenSettings,
    export_request.Request,
    evaluation_request.Request,
    tuning_request.Options,
    Limits,
)


@pytest.mark.parametrize("section", [*SECTIONS.values(), *REQUESTS])
def test_every_number_has_an_end(section):
    endless = [
        s.name
        for s in options(section)
        if kind_of(s) in (int, float) and not s.metadata["choices"] and s.metadata["maximum"] is None
    ]
    assert endless == []


def test_a_number_of_many_digits_is_refused_in_a_short_line():
    with pytest.raises(UserError) as error:
        FitConfig(epochs=10**400)
    shown = f"1{'0' * 179}...{'0' * 10} (401 characters)"
    assert str(error.value) == f"--epochs must be at least 1 and at most 1000000; received {shown}"


def test_devices_of_many_digits_are_refused():
    with pytest.raises(UserError, match=r"from 1 to 64; received 'cpu:9+\.\.\.9+' \(5,006 characters\)$"):
        parse_devices("cpu:" + "9" * 5000)


def test_a_batch_of_images_has_a_largest_size():
    # 3 x 170 x 2048^2 values are just below 2^31, and a replica more has a share of half.
    largest = {"image_size": 2048, "batch_size": 170, "devices": "cpu:1"}
    assert Config().with_values(largest).data.image_size == 2048
    Config().with_values({**largest, "batch_size": 340, "devices": "cpu:2"})
    rule = "3 values a pixel of --batch-size images .* must be at most 2,147,483,648; received 171 of"
    with pytest.raises(UserError, match=f"^{rule} --image-size 2048$"):
        Config().with_values({**largest, "batch_size": 171})


def test_a_whole_number_becomes_a_float_where_one_is_wanted():
    rate = FitConfig(peak_learning_rate=1).peak_learning_rate
    assert (rate, type(rate)) == (1.0, float)


def test_a_whole_number_too_large_for_a_float_is_refused():
    with pytest.raises(UserError, match="--momentum must be"):
        FitConfig(momentum=10**400)


@pytest.mark.parametrize(("section", "name"), FLOATS)
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_numbers_are_finite(section, name, value):
    with pytest.raises(UserError, match=f"^{flag(name)} must be finite; received {value}$"):
        section(**{name: value})


@pytest.mark.parametrize(("section", "name", "choices"), CHOICES)
def test_choices(section, name, choices):
    beside = {"weights": "run"} if name == "freeze" else {}
    for choice in choices:
        assert getattr(section(**beside, **{name: choice}), name) == choice
    with pytest.raises(UserError) as error:
        section(**{name: choices[0] + "x"})
    message = str(error.value)
    assert message.startswith(f"unknown {flag(name)} {choices[0] + 'x'!r}; did you mean ")
    assert message.endswith(f"known: {', '.join(sorted(choices))}")


@pytest.mark.parametrize(
    ("received", "message"),
    [
        ("resnet81", "unknown model 'resnet81'; did you mean 'resnet18'? known: mlp, resnet18"),
        ("qqq", "unknown model 'qqq'; known: mlp, resnet18"),
    ],
)
def test_a_near_miss_names_the_nearest(received, message):
    assert str(unknown("model", received, ["resnet18", "mlp"])) == message


def test_names_are_unique_over_all_sections_and_each_has_its_help():
    assert len({s.name for _, s in SETTINGS}) == len(SETTINGS) == len(SECTION_OF)
    assert all(s.metadata["help"] for _, s in SETTINGS)
    assert Config().values().keys() == SECTION_OF.keys()


def test_optimizers_are_those_of_keras():
    classes = {name for name, value in vars(keras.optimizers).items() if inspect.isclass(value)}
    classes -= {"Optimizer", "LossScaleOptimizer", "MultiOptimizer", "OptimizerMap"}  # wrappers
    classes -= {"ScheduleFreeAdamW"}  # its weight decay is overwritten
    assert set(OPTIMIZERS) == {name.lower() for name in classes} | {"momentum", "nesterov"}
    assert len(OPTIMIZERS) == len(set(OPTIMIZERS))


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_survives_json(name, tmp_path):
    path = tmp_path / "config.json"
    path.write_text(preset(name).to_json())
    assert json.loads(path.read_text()).keys() == SECTIONS.keys()
    assert Config().with_values(load_values(path)) == preset(name)
    assert preset(name).values() == {**Config().values(), **PRESETS[name]}


def test_an_unknown_preset():
    with pytest.raises(UserError, match="unknown preset 'digit'; did you mean 'digits'"):
        preset("digit")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "must be readable; .*config.json: No such file"),
        ("{", "must be JSON; .*config.json: "),
        (b"\xff\xfe", "must be JSON; .*config.json: "),
        ("[1]", "must hold an object of sections; received .*config.json"),
        ('{"fitt": {}}', "unknown section in .*config.json: 'fitt'; did you mean 'fit'"),
        ('{"fit": 3}', "section 'fit' in .*config.json must be an object of settings"),
    ],
)
def test_configuration_files_that_are_refused(tmp_path, text, message):
    path = tmp_path / "config.json"
    if text is not None:
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(UserError, match=message) as error:
        load_values(path)
    assert "\n" not in str(error.value)


def test_a_part_of_the_settings_is_a_configuration_file(tmp_path):
    path = tmp_path / "config.json"
    path.write_text('{"fit": {"epochs": 3}, "model": {"width": 8}}')
    assert load_values(path) == {"epochs": 3, "width": 8}


def test_with_values_changes_a_copy():
    before = Config()
    after = before.with_values({"epochs": 3, "width": 8, "data": "digits"})
    assert (after.fit.epochs, after.model.width, after.data.data) == (3, 8, "digits")
    assert before == Config()
    changes = {"data": "digits", "width": 8, "epochs": 3}
    assert after.values() == {**before.values(), **changes}
    with pytest.raises(dataclasses.FrozenInstanceError):
        after.fit.epochs = 4
    with pytest.raises(UserError, match="unknown setting 'epoch'; did you mean 'epochs'"):
        before.with_values({"epoch": 3})


def test_differences_are_written_as_flags():
    before = Config().with_values({"width": 64, "batch_size": 128})
    after = before.with_values({"width": 16, "batch_size": 256})
    assert before.differences(before) == []
    assert before.differences(after) == ["--width 64 -> 16", "--batch-size 128 -> 256"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("auto", ("auto", 1)),
        ("cpu", ("cpu", 1)),
        ("gpu", ("gpu", 1)),
        ("cpu:2", ("cpu", 2)),
        ("gpu:8", ("gpu", 8)),
        *((bad, None) for bad in ("", "tpu", "cpu:", "cpu:0", "gpu:-1", "gpu:two", "auto:2")),
        *((bad, None) for bad in ("cpu:1:2", "gpu: 2", "GPU", "gpu:1.5", "cpu:65")),
    ],
)
def test_parse_devices(text, expected):
    if expected:
        assert parse_devices(text) == expected
        return
    rule = "--devices must be auto, cpu, cpu:N, gpu or gpu:N with N from 1 to 64; received "
    for refuse in (parse_devices, lambda devices: RunConfig(devices=devices)):
        with pytest.raises(UserError) as error:
            refuse(text)
        assert str(error.value) == f"{rule}{text!r}"


@pytest.mark.parametrize(
    ("global_size", "replicas", "expected"),
    [
        (128, 1, 128),
        (128, 4, 32),
        (100, 8, "multiple of the 8 devices; received 100 (nearest: 96 or 104)"),
        (3, 8, "multiple of the 8 devices; received 3 (nearest: 8)"),
    ],
)
def test_the_batch_divides_over_the_devices(global_size, replicas, expected):
    if isinstance(expected, int):
        assert per_replica_batch_size(global_size, replicas) == expected
        return
    with pytest.raises(UserError) as error:
        per_replica_batch_size(global_size, replicas)
    assert str(error.value) == f"--batch-size must be a {expected}"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"devices": "cpu:3"}, "received 128 .nearest: 126 or 129"),
        ({"devices": "gpu:2", "clip_norm": 1.0}, "--clip-norm needs a single device"),
    ],
)
def test_settings_that_contradict_each_other(values, message):
    with pytest.raises(UserError, match=message):
        Config().with_values(values)
    Config().with_values({**values, "devices": "cpu:1"})


@pytest.mark.parametrize(
    ("name", "value"), [("stem", "imagenet"), ("shortcut", "pooling"), ("zero_init", True)]
)
@pytest.mark.parametrize(
    "model", ["mlp", "convnet", "efficientnet_lite0", "mobilenetv2", "vgg16", "densenet121"]
)
def test_settings_of_residual_networks_need_one(name, value, model):
    with pytest.raises(UserError, match=f"{flag(name)} is a setting of ResNets; received --model {model}"):
        ModelConfig(**{"model": model, name: value})
    ModelConfig(**{name: value})


WITHOUT_TENSORFLOW = """
import contextlib, sys
import pipeline.config.config, pipeline.console.training_request, train
with contextlib.suppress(SystemExit):
    train.main(["--help"])
assert train.main(["--epochs", "0"]) == 2
assert train.main(["--resume", "--run-dir", "nowhere"]) == 2
assert not {"tensorflow", "keras", "numpy"} & sys.modules.keys()
"""


def test_help_and_configuration_errors_need_no_tensorflow():
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "--peak-learning-rate" in done.stdout


@pytest.mark.parametrize(
    ("given", "found"),
    [
        ({"temperature": 2.0}, ["--temperature has no effect without --teacher"]),
        ({"temperature": 2.0, "teacher": "runs/large"}, []),
        ({"muon_rate": 0.1}, ["--muon-rate has no effect without --optimizer muon"]),
        ({"muon_rate": 0.1, "optimizer": "muon"}, []),
        (
            {"momentum": 0.5, "optimizer": "adamw", "step_epochs": 3, "epochs": 4},
            [
                "--momentum has no effect without --optimizer momentum or nesterov or rmsprop or muon",
                "--step-epochs has no effect without --schedule step",
            ],
        ),
        ({"crop_mode": "zero"}, ["--crop-mode has no effect without --crop-padding or --rotation"]),
        ({"crop_mode": "zero", "rotation": 10.0}, []),
        ({"crop_mode": "zero", "crop_padding": 2}, []),
    ],
)
def test_a_setting_that_no_other_asks_for_is_told(given, found):
    assert Config().with_values(given).without_effect(given) == found
    assert Config().without_effect([]) == []


def test_what_a_setting_needs_is_a_setting_and_its_values():
    declared = {setting.name: setting for _, setting in SETTINGS}
    needed = [setting.metadata["of"] for setting in declared.values() if setting.metadata["of"]]
    assert needed
    for other, values in (pair for each in needed for pair in each.items()):
        assert set(values) <= set(declared[other].metadata["choices"] or ())
