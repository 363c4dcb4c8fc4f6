"""From the command line of `python -m tuning` to the plan, and the one line for bad input."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.config.option import flag
from pipeline.config.presets import PRESETS, preset
from pipeline.errors import UserError
from tests.commands import ROOT
from tuning.__main__ import main
from tuning.request import parse_tuning_request
from tuning.space.budget import Budget
from tuning.space.limits import Limits
from tuning.space.narrowing import HYPERPARAMETERS, narrow
from tuning.space.search_space import describe_space, network_space, search_space


def plan_of(arguments: str):
    return parse_tuning_request(arguments.split()).plan


def searched(arguments: str) -> set[str]:
    return {dimension.name for dimension in plan_of(arguments).space}


def test_what_a_search_is_where_nothing_is_asked():
    request = parse_tuning_request([])
    plan, config = request.plan, preset("cifar10").with_own_width()
    assert (plan.config, plan.space, plan.limits) == (config, search_space(config), Limits())
    assert (plan.tuner, plan.max_trials, plan.finalists, plan.seeds) == ("bayesian", 20, 3, 3)
    assert (plan.stop_weak, request.workers, request.list_space) == (True, 1, False)
    assert (plan.budget.is_set, plan.stop_when_flat) == (False, False)
    assert request.out == Path("runs/tuning-cifar10-bayesian")


def test_each_flag_reaches_the_plan():
    arguments = (
        "digits --tuner random --max-trials 7 --out here --confirm 2x5 --no-stop-weak --workers 3 "
        "--max-parameters 100000 --max-mac 5000000 --max-bytes-int8 65536 --max-latency-ms 1.5 "
        "--max-arena-kib 64 "
        "--epochs 4 --seed 9 --only width,dropout --space dropout=0.1|0.2"
    )
    request = parse_tuning_request(arguments.split())
    plan = request.plan
    assert plan.config == preset("digits").with_values({"epochs": 4, "seed": 9})
    assert [(d.name, d.choices) for d in plan.space] == [("width", (8, 12, 16, 24)), ("dropout", (0.1, 0.2))]
    assert plan.limits == Limits(100_000, 5_000_000, 65_536, 1.5, 64)
    assert (plan.tuner, plan.max_trials, plan.finalists, plan.seeds) == ("random", 7, 2, 5)
    assert (plan.stop_weak, request.workers, request.out) == (False, 3, Path("here"))


def test_with_a_budget_there_are_as_many_trials_as_fit():
    plan = plan_of("digits --minutes 2.5 --max-epochs-total 600 --stop-when-flat")
    assert (plan.budget, plan.stop_when_flat) == (Budget(2.5, 600), True)
    # More than any budget is good for.
    assert plan.max_trials * plan.config.total_epochs > 600
    assert plan_of("digits --minutes 2.5 --max-trials 7").max_trials == 7


def test_the_network_is_searched_where_it_is_asked():
    asked = "digits --space model=resnet8|mlp|resnet20,width=4|8,shortcut=none|projection --only"
    plan = plan_of(f"{asked} model,width,shortcut,dropout")
    assert [(d.name, d.choices, d.when) for d in plan.space[:3]] == [
        ("model", ("mlp", "resnet20", "resnet8"), None),
        # Perceptrons have none.
        ("shortcut", ("none", "projection"), ("model", ("resnet20", "resnet8"))),
        ("width", (4, 8), None),
    ]
    assert searched(f"{asked} width,dropout,model,shortcut") == {"model", "shortcut", "width", "dropout"}
    # One of it is no question.
    plan = plan_of("digits --space model=resnet8,stem=deep")
    assert (plan.config.model.model, plan.config.model.stem) == ("resnet8", "deep")
    assert {dimension.name for dimension in plan.space} == set(HYPERPARAMETERS)


@pytest.mark.parametrize(
    ("text", "sizes"), [("48|24|30", (24, 30, 48)), ("24..48", (24, 32, 40, 48)), ("20..26", None)]
)
def test_sizes_of_the_images_are_searched_where_it_is_asked(text, sizes):
    plan = plan_of(f"cifar10 --space image_size={text}")
    if sizes is None:
        # One is no question.
        assert plan.config.data.image_size == 24
        assert plan.space == search_space(plan.config)
        return
    assert [(d.name, d.choices, d.when) for d in plan.space[:1]] == [("image_size", sizes, None)]
    assert plan.space[1:] == search_space(plan.config)


def test_weights_fit_images_of_any_size_and_a_teacher_of_one():
    imagenet = preset("folder").with_own_width()
    assert [dimension.name for dimension in network_space(imagenet)] == ["image_size"]
    taught = preset("cifar10").with_values({"teacher": "runs/teacher"})
    space = network_space(taught)
    assert [dimension.name for dimension in space] == ["model", "stem", "shortcut"]
    with pytest.raises(UserError) as caught:
        narrow(space, taught, "image_size=24|32")
    assert str(caught.value) == (
        "--space must name what is open; received image_size, which is fixed: "
        "--teacher takes images of one size"
    )


def test_how_far_a_search_goes_may_be_raised():
    plan, more = plan_of("digits --minutes 2"), plan_of("digits --minutes 5 --max-trials 9 --stop-when-flat")
    assert plan.identity() == more.identity()
    assert plan.extent() != more.extent()


@pytest.mark.parametrize(
    ("arguments", "gone"),
    [
        ("", set()),
        ("--width 16 --dropout 0.1", {"width", "dropout"}),
        ("--width 64", {"width"}),  # given is given, at its default too
        ("--peak-learning-rate 0.3", {"peak_learning_rate", "adaptive_learning_rate"}),
        ("--optimizer sgd", {"optimizer", "adaptive_learning_rate"}),
        ("--optimizer adamw", {"optimizer", "peak_learning_rate"}),
        (
            "--optimizer adamw --peak-learning-rate 0.001",
            {"optimizer", "peak_learning_rate", "adaptive_learning_rate"},
        ),
        ("--policy none", {"policy", "randaugment_magnitude"}),
        ("--policy randaugment", {"policy"}),
        ("--mixup 0.3", {"mixing", "mixing_alpha"}),
        ("--cutmix 0", {"mixing", "mixing_alpha"}),
        ("--space width=16 --only width,dropout", set(HYPERPARAMETERS) - {"dropout"}),
        ("--epochs 3 --seed 1 --no-deterministic", set()),
    ],
)
def test_what_is_given_is_fixed_and_out_of_the_space(arguments, gone):
    assert searched(arguments) == set(HYPERPARAMETERS) - gone
    given = [word for word in arguments.split() if word.startswith("--")]
    values = plan_of(arguments).config.values()
    for name, value in values.items():
        if flag(name) in given and not isinstance(value, bool):
            asked = arguments.split()[arguments.split().index(flag(name)) + 1]
            assert value == type(value)(asked)


def test_a_file_or_a_preset_fixes_nothing(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text('{"model": {"width": 8}}')
    request = parse_tuning_request(["--config", str(path)])
    assert {dimension.name for dimension in request.plan.space} == set(HYPERPARAMETERS)
    assert request.plan.config.model.width == 8


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to stand in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


BAD_INPUTS = [
    ("--tuner bayesan", "unknown --tuner 'bayesan'; did you mean 'bayesian'? known: bayesian, "),
    ("--tuner", "argument --tuner: expected one argument"),
    ("--max-trials 0", "--max-trials must be at least 1 and at most 100000; received 0"),
    ("--max-trials 2.5", "--max-trials must be a whole number; received '2.5'"),
    ("--max-trial 5", "unknown flag '--max-trial'; did you mean '--max-trials'? see --help"),
    (
        "--model resnet8 --space model=resnet8|mlp",
        "--space must name what is open; received model, which is fixed",
    ),
    (
        "--weights imagenet --space model=resnet18|resnet34",
        "--space must name what is open; received model, which is fixed",
    ),
    ("--space model=resnet8|resnet9", "unknown --model 'resnet9'; did you mean 'resnet8'? known: "),
    ("--only model", "--only model needs --space model=A|B|..., which opens it; received none"),
    (
        "--image-size 32 --space image_size=24|32",
        "--space must name what is open; received image_size, which is fixed\n",
    ),
    ("--space image_size=24..x", "--space image_size must be a whole number; received 'x'"),
    ("--space image_size=0|32", "--space image_size must be a number of pixels; received '0'"),
    ("--space image_size=32|2049", "--image-size must be at least 0 and at most 2048; received 2049"),
    (
        "--space image_size=49..55",
        "--space image_size must hold a multiple of 8, or name others as A|B; received '49..55'",
    ),
    (
        "--only image_size",
        "--only image_size needs --space image_size=A|B|..., which opens it; received none",
    ),
    ("--space model=mlp|convnet,stem=auto|deep", "--space stem needs a ResNet; received model=convnet|mlp"),
    ("--minutes 0", "--minutes must be above 0 and at most 525600; received 0"),
    (
        "digits --epochs 10 --max-epochs-total 39",
        "--max-epochs-total must be enough for two trials and their confirmation, 40 epochs; received 39",
    ),
    (
        "--tuner random --stop-when-flat",
        "--stop-when-flat needs --tuner bayesian, which expects a gain; received random",
    ),
    ("--workers 0", "--workers must be at least 1 and at most 256; received 0"),
    ("--out=", "--out must be a path; received ''"),
    ("--config=", "--config must be a path; received ''"),
    *(
        (
            f"--confirm {text}",
            f"--confirm must be CONFIGURATIONSxSEEDS, as in 3x3, each up to 999; received '{text}'",
        )
        for text in ("3", "0x3", "3x0", "3x", "3x3x3", "axb", "1.5x2", "3X3", "1000x3", "3x1000")
    ),
    *(
        (f"--{name} 0", f"--{name} must be above 0 and at most {most}; received 0")
        for name, most in {
            "max-parameters": "1000000000000",
            "max-mac": "1000000000000000",
            "max-bytes-int8": "2147483647",
            "max-latency-ms": "1e+06",
        }.items()
    ),
    ("--max-mac 1.5", "--max-mac must be a whole number; received '1.5'"),
    ("--max-latency-ms -1", "--max-latency-ms must be above 0 and at most 1e+06; received -1.0"),
    ("--max-latency-ms nan", "--max-latency-ms must be finite; received nan"),
    ("--max-latency-ms inf", "--max-latency-ms must be finite; received inf"),
    ("--max-latency-ms fast", "--max-latency-ms must be a number; received 'fast'"),
    ("--space widht=16", "unknown hyperparameter 'widht'; did you mean 'width'? known: "),
    ("--space width=-1", "--width must be at least 0 and at most 1024; received -1"),
    ("--space=", "--space must be text; received ''"),
    ("--data=", "--data must be text; received ''"),
    ("--weights=", "--weights must be text; received ''"),
    ("--only widht", "unknown hyperparameter 'widht'; did you mean 'width'? known: "),
    ("--only=", "unknown hyperparameter ''"),
    ("--width 16 --only width", "needs a hyperparameter to vary; received none, all are fixed"),
    (
        "--tuner grid --only width,dropout",
        "--tuner grid needs choices, as in --space "
        "dropout=A|B|C, or --only other hyperparameters; received 0..0.5",
    ),
    ("cifar11", "unknown preset or folder 'cifar11'; did you mean 'cifar10"),
    ("--config missing.json", "a configuration file must be readable; missing.json: No such"),
    ("--epochs 0", "--epochs must be at least 1 and at most 1000000; received 0"),
    # Seeds of the confirmation follow the search's; the last one must be a seed as well.
    ("--seed 2147483647", "2147483647"),
    ("--confirm 1x2147483648", "2147483648"),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUTS)
def test_bad_input_is_answered_with_one_line(arguments, message, folder, capsys):
    with pytest.raises(UserError):
        parse_tuning_request(arguments.split())
    assert main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert list(folder.iterdir()) == []


def test_a_grid_needs_choices_alone(folder):
    assert searched("--tuner grid --only width,optimizer") == {"width", "optimizer"}
    assert searched("--tuner grid --only dropout --space dropout=0|0.1") == {"dropout"}


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess:
    """Run in a process of its own, which lists on stderr what it imports."""
    return subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "tuning", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--help"], 0),
        (["digits", "--list-space"], 0),
        (["--space", "width=16..x"], 2),
        (["--max-latency-ms", "nan"], 2),
        (["digits", "--out", "/dev/null"], 2),
        (["digits", "--out", "/dev/null", "--workers", "2"], 2),
        (["--data", "folder:missing"], 2),
        (["digits", "--weights", "missing.keras"], 2),
    ],
)
def test_an_answer_needs_no_tensorflow_and_writes_nothing(arguments, code, tmp_path):
    answer = run(tmp_path, *arguments)
    assert answer.returncode == code
    imported = [line for line in answer.stderr.splitlines() if line.startswith("import time:")]
    modules = {line.rpartition("|")[2].strip().partition(".")[0] for line in imported}
    assert "tuning" in modules
    assert not modules & {"tensorflow", "keras", "keras_tuner", "numpy", "scipy", "sklearn"}
    own = [line for line in answer.stderr.splitlines() if line not in imported]
    assert len(own) == (1 if code else 0)
    assert all(line.startswith("error: ") for line in own)
    assert bool(answer.stdout) is not bool(code)
    assert list(tmp_path.iterdir()) == []
    if "--list-space" in arguments:
        assert answer.stdout == describe_space(search_space(preset("digits"))) + "\n"
    if "--help" in arguments:
        assert {"--tuner", "--space", "--max-latency-ms", "--width"} <= set(answer.stdout.split())


def test_every_preset_can_be_searched():
    for name in PRESETS:
        assert plan_of(name).config == preset(name).with_own_width()
