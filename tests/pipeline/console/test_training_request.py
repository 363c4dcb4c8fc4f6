"""From flags to settings, who overrules whom, and the one line that bad input is answered with."""

import dataclasses
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import train
from pipeline.config.config import SECTIONS, Config
from pipeline.config.option import flag
from pipeline.config.presets import PRESETS, preset
from pipeline.console.training_request import ChosenSettings, parse_training_request
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from tests.commands import ROOT

SETTINGS = [setting for kind in SECTIONS.values() for setting in dataclasses.fields(kind)]
OTHERS = {
    "data": ["digits"],
    "devices": ["cpu:2"],
    "model": ["mlp"],
    "weights": ["run"],
    "teacher": ["run"],
    "exclude": ["wrong.csv"],
}


def another_value(setting: dataclasses.Field):
    """A value that `setting` allows, and not its default where it allows another."""
    if setting.type is str:
        choices = setting.metadata["choices"] or OTHERS[setting.name]
        return next((choice for choice in choices if choice != setting.default), choices[0])
    return setting.default + 1 if setting.type is int else 0.125


def chosen_by(*arguments: str) -> ChosenSettings:
    return parse_training_request(list(arguments)).chosen


def values_of(*arguments: str) -> dict:
    return chosen_by(*arguments).values


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.name)
def test_each_flag_reaches_its_setting(setting):
    name = flag(setting.name)
    if setting.type is bool:
        assert values_of(name) == {setting.name: True}
        assert values_of(name.replace("--", "--no-", 1)) == {setting.name: False}
        return
    value = another_value(setting)
    for arguments in ([name, str(value)], [f"{name}={value}"]):
        received = values_of(*arguments)
        assert received == {setting.name: value}
        assert type(received[setting.name]) is setting.type


def test_nothing_asked_is_the_cifar10_preset():
    request = parse_training_request([])
    assert request.chosen.build_config() == preset("cifar10").with_own_width()
    assert (request.run_dir, request.resume, request.chosen.names_data) == (None, False, False)


def test_run_dir_and_resume():
    request = parse_training_request(["--run-dir", "here", "--resume"])
    assert (request.run_dir, request.resume, request.chosen.values) == (Path("here"), True, {})
    # Of several hosts the first has the run.
    assert parse_training_request(["--resume", "--hosts", "a:1,b:1", "--host-index", "1"]).resume
    with pytest.raises(UserError, match="--resume needs --run-dir DIR"):
        parse_training_request(["--resume", "--hosts", "a:1,b:1", "--host-index", "0"])


def test_flags_overrule_the_file_which_overrules_the_preset(tmp_path):
    path = tmp_path / "settings.json"
    path.write_text(json.dumps({"fit": {"epochs": 2, "batch_size": 32}, "model": {"width": 8}}))
    chosen = chosen_by("cifar10_small", "--config", str(path), "--epochs", "1", "--seed", "5")
    expected = {**PRESETS["cifar10_small"], "epochs": 1, "batch_size": 32, "width": 8, "seed": 5}
    assert chosen.explicit_values() == expected
    assert chosen.build_config() == Config().with_values(expected)
    # Wherever the flag stands, even at its default.
    assert chosen_by("--width", "64", "cifar10_small").build_config().model.width == 64


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("", "cifar10"),
        ("--data digits", "digits"),
        ("--data cifar100", "cifar100"),
        ("--data cifar10:3.0.2", "cifar10"),
        ("--data imagenette/160px-v2", "imagenette"),
        ("--data imagenet2012", "imagenet"),
        ("--data folder:some/where", "folder"),
        ("--data folder:some/where --model resnet18", "folder_scratch"),
        ("--data mnist", "cifar10"),
        ("digits --data mnist", "digits"),
        ("--config digits.json", "digits"),
    ],
)
def test_the_preset_suits_the_data(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("digits.json").write_text('{"data": {"data": "digits"}}')
    chosen = chosen_by(*arguments.split())
    assert chosen.preset_name() == expected
    base = {**preset(expected).with_own_width().values(), **chosen.explicit_values()}
    assert chosen.build_config().values() == base


@pytest.mark.parametrize(
    ("arguments", "expected"), [("", False), ("--width 8", False), ("digits", True), ("--data digits", True)]
)
def test_whether_the_user_chose_the_data(arguments, expected):
    assert chosen_by(*arguments.split()).names_data is expected


def test_help_names_every_flag_and_preset(capsys):
    with pytest.raises(SystemExit) as leaving:
        parse_training_request(["--help"])
    assert leaving.value.code == 0
    words = set(capsys.readouterr().out.replace(",", " ").replace(".", " ").split())
    assert {flag(setting.name) for setting in SETTINGS} <= words
    assert PRESETS.keys() <= words


@pytest.fixture
def bad_things(tmp_path, monkeypatch):
    """A folder with files and runs that are of no use."""
    monkeypatch.chdir(tmp_path)
    files = {
        "broken.json": "{",
        "list.json": "[]",
        "section.json": '{"fitt": {}}',
        "setting.json": '{"fit": {"epoch": 1}}',
        "type.json": '{"fit": {"epochs": "1"}}',
        "number.json": '{"fit": {"peak_learning_rate": NaN}}',
        "nul.json": r'{"data": {"data": "folder:a\u0000b"}}',
        "lone.json": r'{"data": {"data": "folder:\ud800"}}',
        "file": "",
        "finished/config.json": preset("digits").to_json(),
        "finished/metrics.json": "{}",
        "unfinished/config.json": preset("digits").to_json(),
        "empty/notes.txt": "",
        "cut/config.json": "{",
        "empty_data.json": '{"data": {"data": ""}}',
        "deep.json": "[" * 100_000 + "]" * 100_000,
        "with_fifo/notes.txt": "",
        **{f"folds/{fold}/{name}/1.png": "" for fold in ("one", "two") for name in ("cat", "dog")},
    }
    for name, text in files.items():
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(text)
    Path("latin.json").write_bytes(b'{"data": "\xe9"}')
    for name in ("fifo", "with_fifo/config.json"):
        os.mkfifo(name)
    return tmp_path


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() if path.is_file() else b"" for path in folder.rglob("*")}


LONG = "x" * 300
BAD_INPUTS = [
    ("--epoch 3", "unknown flag '--epoch'; did you mean '--epochs'? see --help"),
    ("--zero-innit", "unknown flag '--zero-innit'; did you mean '--zero-init'? see --help"),
    ("--qqqqq", "unknown flag '--qqqqq'; see --help"),
    ("-e 3", "unknown flag '-e'"),
    ("cifar11", "unknown preset or folder 'cifar11'; did you mean 'cifar10"),
    ("digits again", "unexpected argument 'again'"),
    ("--model resnet19", "unknown --model 'resnet19'; did you mean 'resnet18'? known: "),
    ("--optimizer adamv", "unknown --optimizer 'adamv'; did you mean 'adam"),
    ("--epochs 0", "--epochs must be at least 1 and at most 1000000; received 0"),
    ("--epochs -3", "--epochs must be at least 1 and at most 1000000; received -3"),
    (f"--epochs {'9' * 400}", "--epochs must be at least 1 and at most 1000000; received 999"),
    (f"--epochs {'9' * 5000}", "--epochs must be a whole number; received '999"),
    ("--image-size 1000000", "--image-size must be at least 0 and at most 2048; received 1000000"),
    ("--data folder:", "--data folder:PATH must name a path; received 'folder:'"),
    ("--data=", "--data must be text; received ''"),
    ("--config nul.json", r"--data must hold no NUL; received 'folder:a\x00b'"),
    ("--config lone.json", r"--data must be text that can be encoded; received 'folder:\ud800'"),
    ("--epochs 1.5", "--epochs must be a whole number; received '1.5'"),
    ("--momentum much", "--momentum must be a number; received 'much'"),
    ("--momentum nan", "--momentum must be finite; received nan"),
    ("--peak-learning-rate=-inf", "--peak-learning-rate must be finite; received -inf"),
    ("--epochs", "argument --epochs: expected one argument"),
    ("--devices tpu", "--devices must be auto, cpu, cpu:N, gpu or gpu:N with N from 1 to 64; received 'tpu'"),
    ("--devices cpu:3", "--batch-size must be a multiple of the 3 devices; received 128"),
    ("--devices cpu:2 --clip-norm 1", "--clip-norm needs a single device"),
    ("--config missing.json", "a configuration file must be readable; missing.json: No such"),
    ("--config finished", "a configuration file must be readable; finished: Is a directory"),
    ("--config broken.json", "a configuration file must be JSON; broken.json: "),
    ("--config list.json", "must hold an object of sections; received list.json"),
    ("--config section.json", "unknown section in section.json: 'fitt'; did you mean 'fit'?"),
    ("--config setting.json", "unknown setting in setting.json: 'epoch'; did you mean 'epochs'?"),
    ("--config type.json", "--epochs must be a whole number; received '1'"),
    ("--config number.json", "--peak-learning-rate must be finite; received nan"),
    ("--run-dir=", "--run-dir must be a path; received ''"),
    ("--config=", "--config must be a path; received ''"),
    ("--weights=", "--weights must be text; received ''"),
    ("--config empty_data.json", "--data must be folder:PATH, digits or a name of TFDS; received ''"),
    ("--config deep.json", "a configuration file must be JSON; deep.json: it is nested too deep"),
    ("--config latin.json", "a configuration file must be JSON; latin.json: 'utf-8' codec"),
    ("--config fifo", "a configuration file must be readable; fifo: it is no regular file"),
    ("--config /dev/zero", "a configuration file must be readable; /dev/zero: it is no regular file"),
    ("--resume --run-dir with_fifo", "with_fifo/config.json: it is no regular file"),
    ("--run-dir file", "--run-dir must be writable; file: file is no directory"),
    ("--run-dir /dev/null", "--run-dir must be writable; /dev/null: /dev/null is no directory"),
    ("--run-dir file/deeper/run", "--run-dir must be writable; file/deeper/run: "),
    ("--data folder:missing", "--data folder:PATH must name a folder; received folder:missing"),
    ("--data folder:file", "--data folder:PATH must name a folder; received folder:file"),
    ("--data ./images", "--data must name a folder that is there; received ./images"),
    ("--data /images", "--data must name a folder that is there; received /images"),
    ("digits --weights missing.pth", "--weights must exist; received missing.pth"),
    ("digits --weights some/run", "--weights must exist; received some/run"),
    ("digits --weights file", "--weights must be a file of .keras, .pth, .pt, "),
    (
        "digits --weights imagenet --model resnet8",
        "resnet18, resnet34, resnet50, resnet101, resnet18d, resnet50d, resnext50, as there are none of "
        "resnet8 (give a file, .safetensors or .pth, a KerasHub preset to download, or --weights none; ",
    ),
    (
        "digits --weights imagenet --width 16",
        "--width must be 64 with --weights imagenet, as those of resnet18 are published; received 16",
    ),
    (
        "digits --weights imagenet --model resnet50d --stem imagenet",
        "--stem must be deep with --weights imagenet, as those of resnet50d are published; received imagenet",
    ),
    (
        "digits --weights imagenet --model resnet34 --shortcut zero_padding",
        "--shortcut must be projection with --weights imagenet, as those of resnet34 are published; ",
    ),
    (
        "--model efficientnet_lite0 --width 17",
        "--width of efficientnet_lite0 must be a multiple of 2, so that",
    ),
    ("--data cifar11", "or what TFDS can open in "),
    ("--data cifar11", "; received 'cifar11'; did you mean 'cifar10"),
    ("--data folder:folds", "'one', 'two' in"),
    ("digits --weights fifo", "--weights must be a regular file, a directory or a preset; received fifo"),
    ("digits --weights unfinished", "a run must be finished; received unfinished"),
    ("digits --weights empty", "a run directory must hold a finished run; received empty"),
    ("--resume", "--resume needs --run-dir DIR, the run to go on with; received none"),
    ("--resume --run-dir empty", "--resume needs a directory with a run in it; received empty"),
    ("--resume --run-dir missing", "needs a directory with a run in it; received missing"),
    ("--resume --run-dir cut", "a configuration file must be JSON; cut/config.json"),
    (
        "--resume --run-dir unfinished --width 8",
        "must not change the settings of a run; received --width 16 -> 8 (a new run that has them: "
        "python train.py --config unfinished/config.json --width 8)",
    ),
    (
        "--resume --run-dir finished --epochs 7",
        "(a new run that starts from its weights: python train.py --config finished/config.json "
        "--weights finished --epochs 7)",
    ),
    ("--resume --run-dir unfinished cifar10_small", "received --data digits -> cifar10, "),
    ("--resume --run-dir unfinished cifar11", "unknown preset or folder 'cifar11'; did you mean 'cifar10"),
    ("--run-dir finished", "--run-dir must not hold a finished run; received finished"),
    ("--run-dir unfinished", "must not hold an unfinished run; received unfinished (add --resume"),
    (f"--run-dir {LONG}", "--run-dir must be"),
    (f"--resume --run-dir {LONG}", LONG),
]


@pytest.mark.parametrize(("arguments", "message"), BAD_INPUTS)
def test_bad_input_is_answered_with_one_line(arguments, message, bad_things, capsys):
    before = contents(bad_things)
    assert train.main(arguments.split()) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("error: ")
    assert message in err
    assert err.count("\n") == 1
    assert err.endswith("\n")
    assert contents(bad_things) == before


def test_an_empty_word_is_no_preset():
    with pytest.raises(UserError, match=r"^unknown preset or folder ''; known: "):
        parse_training_request(["", "--epochs", "1"])


REFUSED_AT_ONCE = (
    "--run-dir /dev/null",
    "--data folder:missing",
    "--data folder:empty",
    "--data folder:folds",
    "--data cifar11",
    "--data cifar11:3.0.2",
    "--weights missing.pth",
    "--weights imagenet",
    "--weights imagenet --model resnet8",
    "--weights empty",
    "--teacher missing",
    "--config fifo",
)


def test_what_needs_no_tensorflow_is_refused_before_it_loads(bad_things, tmp_path):
    # A hub where nobody answers, and nothing that was kept.
    no_hub = {"HF_ENDPOINT": "http://127.0.0.1:9", "HF_HOME": str(tmp_path)}
    code = (
        "import sys, train; codes = [train.main(line.split()) for line in sys.argv[1:]]; "
        "print(codes, 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *REFUSED_AT_ONCE],
        env={**os.environ, "PYTHONPATH": str(ROOT), **no_hub},
        capture_output=True,
        text=True,
    )
    assert "http://127.0.0.1:9/timm/resnet18.a1_in1k/resolve/main/model.safetensors: " in done.stderr
    assert done.stdout == f"{[2] * len(REFUSED_AT_ONCE)} False\n"


def test_every_complaint_of_the_parser_is_a_user_error():
    with pytest.raises(UserError):
        parse_training_request(["--zero-init=3"])


@pytest.mark.parametrize(
    ("arguments", "width"),
    [
        ("digits", 16),
        ("digits --model resnet18", 16),
        ("digits --model wrn_28_10", 160),
        ("digits --model resnet50 --width 32", 32),
        ("--data digits --model resnet34", 64),
        ("cifar10", 64),
        ("cifar10 --model resnet20", 16),
        ("cifar10 --model wrn_16_4", 64),
        ("cifar10_small --model convnet", 32),
    ],
)
def test_a_network_has_its_papers_width_unless_one_is_named(arguments, width):
    """He et al. 2015 (64; 16 for CIFAR), Zagoruyko & Komodakis 2016 (16 K), McMahan et al. (32)."""
    assert chosen_by(*arguments.split()).build_config().model.width == width


@pytest.mark.parametrize(
    ("arguments", "size"),
    [
        ("--weights imagenet --model efficientnet_lite0", 224),
        ("folder_scratch --weights imagenet --model efficientnet_lite0", 224),
        ("folder --weights imagenet --model efficientnet_lite0 --image-size 128", 128),
        ("--weights imagenet --model efficientnet_lite0 --image-size 0", 0),
        ("folder", 224),
        ("folder_scratch --model efficientnet_lite0", 160),
        ("folder_scratch --weights run --model efficientnet_lite0", 160),
        ("folder_scratch --weights imagenet", 224),
        ("folder_scratch --weights imagenet --model resnet8", 160),
    ],
)
def test_imagenets_weights_bring_the_size_of_their_images_unless_one_is_named(arguments, size):
    config = chosen_by(*arguments.split()).build_config()
    assert config.data.image_size == size


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("digits --weights imagenet", ("resnet18", 64, "imagenet")),
        ("cifar10_small --weights imagenet --model resnet50d", ("resnet50d", 64, "deep")),
        ("cifar10_small --weights imagenet --model mobilenetv2", ("mobilenetv2", 16, "auto")),
        ("--weights imagenet --data folder:images", ("efficientnet_lite0", 16, "auto")),
        ("digits --weights imagenet --width 16 --stem cifar", ("resnet18", 16, "cifar")),
    ],
)
def test_imagenets_weights_bring_the_network_that_they_are_of(arguments, expected):
    model = chosen_by(*arguments.split()).build_config().model
    assert (model.model, model.width, model.stem) == expected


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ("cifar10_small --weights run", ("resnet8", 12, "cifar", 24)),
        ("cifar10_small --weights run/model.keras", ("resnet8", 12, "cifar", 24)),
        ("cifar10_small --weights run --image-size 48 --model resnet20", ("resnet20", 12, "cifar", 48)),
        ("cifar10_small --weights unfinished", ("resnet18", 16, "auto", 0)),
    ],
)
def test_a_runs_weights_bring_its_network_and_size(arguments, expected, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = {"model": "resnet8", "width": 12, "stem": "cifar", "image_size": 24, "epochs": 77}
    for name in ("run", "unfinished"):
        Path(name).mkdir()
        Path(name, "config.json").write_text(Config().with_values(settings).to_json())
    Path("run", "metrics.json").write_text("{}")
    config = chosen_by(*arguments.split()).build_config()
    model = config.model
    assert (model.model, model.width, model.stem, config.data.image_size) == expected
    assert config.fit.epochs == 10


def test_a_folder_goes_on_from_a_run_of_any_network(tmp_path):
    for name, settings in (("small", {"model": "resnet8", "width": 12}), ("own", PRESETS["folder"])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.json").write_text(Config().with_values(settings).to_json())
        (tmp_path / name / "metrics.json").write_text("{}")
    small, own = (
        chosen_by("--data", "folder:images", "--weights", str(tmp_path / name)).build_config()
        for name in ("small", "own")
    )
    assert (small.model.model, small.model.width, small.transfer.freeze) == ("resnet8", 12, "none")
    assert (own.model.model, own.transfer.freeze) == ("efficientnet_lite0", "stage6")


def test_what_a_preset_brings_is_not_asked_for_when_a_run_is_resumed(tmp_path):
    run = RunDirectory(tmp_path)
    config = chosen_by("--data", "folder:images", "--image-size", "64").build_config()
    run.config.write_text(config.to_json())
    assert run.load_unfinished(chosen_by("--data", "folder:images").explicit_values()) == config


def test_no_weights_are_the_same_as_none():
    assert chosen_by("--weights", "none").build_config() == chosen_by().build_config()
    folder = ("--data", "folder:images")
    assert chosen_by(*folder, "--weights", "none").build_config() == preset("folder_scratch")


@pytest.mark.parametrize("name", ["wrn_29_10", "wrn_4_1", "wrn_28_0", "wrn_1006_1", "wrn_10_65"])
def test_impossible_wide_networks_are_refused(name):
    chosen = chosen_by("--model", name)
    with pytest.raises(UserError, match=f"--model wrn_N_K must have .*; received {name}$"):
        chosen.build_config()
