"""The run directory: one process at a time, no overwriting, and the settings of its run."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.config.config import Config
from pipeline.config.presets import preset
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from tests.commands import ROOT


def names(folder: Path) -> list[str]:
    return sorted(child.name for child in folder.iterdir())


HOLDS_THE_LOCK = """
import sys, time
from pathlib import Path
from pipeline.run_directory import RunDirectory
with RunDirectory(Path(sys.argv[1])).open():
    print("held", flush=True)
    time.sleep(60)
"""


def test_one_process_at_a_time_and_a_kill_frees_the_directory(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDS_THE_LOCK, directory.path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    try:
        assert holder.stdout.readline() == "held\n"
        before = names(directory.path)
        with (
            pytest.raises(UserError, match=r"one process at a time; another one is using .*run$"),
            directory.open(),
        ):
            pytest.fail("two processes in one run directory")
        assert names(directory.path) == before
    finally:
        holder.send_signal(signal.SIGKILL)
        holder.communicate()
    with directory.open():
        assert directory.checkpoints.is_dir()


def refuse(reason: str, after_writing: Path | None = None) -> None:
    if after_writing:
        after_writing.write_text("{}")
    raise UserError(reason)


@pytest.mark.parametrize("there", [None, [], ["notes.txt"]])
def test_a_run_that_fails_before_it_has_settings_leaves_nothing(tmp_path, there):
    directory = RunDirectory(tmp_path / "run")
    if there is not None:
        directory.path.mkdir()
    for name in there or []:
        (directory.path / name).write_text("the user's own")
    with pytest.raises(UserError, match="no data"), directory.open():
        refuse("no data")
    assert (names(directory.path) if directory.path.exists() else None) == there


def test_a_run_with_settings_stays(tmp_path):
    directory = RunDirectory(tmp_path / "run")
    with pytest.raises(UserError, match="later"), directory.open():
        refuse("later", directory.config)
    assert {"config.json", "checkpoints", "plots"} <= set(names(directory.path))


@pytest.mark.parametrize(
    ("place", "reason"),
    [("file.txt/run", "Not a directory"), ("file.txt", "File exists"), ("x" * 300, "File name too long")],
)
def test_an_unwritable_directory_is_a_user_error(tmp_path, place, reason):
    (tmp_path / "file.txt").touch()
    with (
        pytest.raises(UserError, match=f"^--run-dir must be writable; .*{place}: {reason}$"),
        RunDirectory(tmp_path / place).open(),
    ):
        pytest.fail("opened")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ([], None),
        (["notes.txt"], None),
        (["config.json"], "must not hold an unfinished run; received .* .add --resume"),
        (["config.json", "metrics.json"], "must not hold a finished run; received"),
    ],
)
def test_a_new_run_overwrites_no_other(tmp_path, files, message):
    for name in files:
        (tmp_path / name).write_text("{}")
    if message is None:
        RunDirectory(tmp_path).check_is_new()
        return
    with pytest.raises(UserError, match=f"^--run-dir {message}"):
        RunDirectory(tmp_path).check_is_new()


@pytest.mark.parametrize(
    "name", ["model.keras", "history.csv", "checkpoints/best.pth", "plots/mine.png", "tensorboard/mine"]
)
def test_what_no_run_wrote_is_not_overwritten(tmp_path, name):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("mine")
    with pytest.raises(UserError, match=f"^--run-dir must be new .* holds no run, but {name.split('/')[0]}"):
        RunDirectory(tmp_path).check_is_new()


def test_what_a_run_began_with_may_lie_elsewhere_when_it_goes_on(tmp_path):
    """Whether it is the same, its fingerprint tells; whether there is any is a setting."""
    directory = RunDirectory(tmp_path)
    recorded = RECORDED.with_values({"weights": "runs/base", "teacher": "runs/large"})
    directory.config.write_text(recorded.to_json())
    moved = {"weights": "old/base", "teacher": "old/large"}
    assert directory.load_unfinished(moved) == recorded.with_values(moved)
    for name, value in (("weights", "none"), ("teacher", "")):
        with pytest.raises(
            UserError, match=rf"settings of a run; received --{name} {recorded.values()[name]} -> "
        ):
            directory.load_unfinished({name: value})
    directory.config.write_text(RECORDED.to_json())
    with pytest.raises(UserError, match=r"settings of a run; received --teacher  -> old/large"):
        directory.load_unfinished({"teacher": "old/large"})


RECORDED = preset("digits").with_values(
    {"devices": "cpu:1", "precision": "float32", "stem": "cifar", "image_size": 8}
)


@pytest.mark.parametrize(
    ("asked", "difference"),
    [
        ({}, None),
        ({"width": 16, "data": "digits"}, None),
        ({"devices": "auto", "precision": "auto", "stem": "auto"}, None),
        ({"devices": "cpu:1"}, None),
        ({"width": 8}, "--width 16 -> 8"),
        ({"width": 8, "devices": "cpu:2"}, "--width 16 -> 8, --devices cpu:1 -> cpu:2"),
        ({"image_size": 9}, "--image-size 8 -> 9"),
        ({"devices": "cpu"}, None),
        ({"image_size": 0}, None),
    ],
)
def test_settings_of_a_run_are_its_own(tmp_path, asked, difference):
    directory = RunDirectory(tmp_path)
    directory.config.write_text(RECORDED.to_json())
    if difference is None:
        assert directory.load_unfinished(asked) == RECORDED
        return
    with pytest.raises(
        UserError, match=rf"the settings of a run; received {difference} \(a new run that has them: "
    ):
        directory.load_unfinished(asked)


def test_no_run_to_resume(tmp_path):
    with pytest.raises(UserError, match="--resume needs a directory with a run in it; received"):
        RunDirectory(tmp_path).load_unfinished({})


@pytest.fixture
def finished(tmp_path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    directory.config.write_text(RECORDED.to_json())
    directory.metrics.write_text("{}")
    return directory


def test_settings_of_a_finished_run_are_its_own(finished):
    assert finished.load_finished() == RECORDED


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["config", "metrics"], r"^a run directory must hold a finished run; received {path}$"),
        (["config"], r"^a run directory must hold a finished run; received {path}$"),
        (
            ["metrics"],
            r"^a run must be finished; received {path} "
            r"\(to finish it: python train.py --resume --run-dir {path}\)$",
        ),
    ],
)
def test_what_is_no_finished_run_is_refused(finished, missing, message):
    for name in missing:
        getattr(finished, name).unlink()
    with pytest.raises(UserError, match=message.format(path=finished.path)):
        finished.load_finished()


def test_a_place_that_cannot_be_is_no_finished_run(tmp_path):
    (tmp_path / "file.txt").touch()
    for place in (tmp_path / "file.txt", tmp_path / "missing", tmp_path / "file.txt" / "below"):
        with pytest.raises(UserError, match=f"must hold a finished run; received {place}$"):
            RunDirectory(place).load_finished()


def load_changed(directory: RunDirectory, change: Callable[[dict], object], load: str) -> Config:
    """Change what config.json holds and load it, as one of the two ways does."""
    settings = json.loads(RECORDED.to_json())
    change(settings)
    directory.config.write_text(json.dumps(settings))
    return directory.load_finished() if load == "finished" else directory.load_unfinished({})


@pytest.mark.parametrize("load", ["finished", "unfinished"])
def test_a_setting_that_an_earlier_version_did_not_have_is_at_its_default(finished, load, capsys):
    def forget(settings: dict) -> None:
        settings["transfer"] = {"weights": "", "freeze": "none"}
        del settings["fit"]["label_smoothing"]

    config = load_changed(finished, forget, load)
    assert config == RECORDED.with_values({"label_smoothing": 0.0})
    assert finished.load_finished() == config
    # Once, however many times it is read.
    assert capsys.readouterr().err == (
        f"{finished.config} is of an earlier version: linear_head read as False, finetune_epochs read as 0, "
        "finetune_rate read as 0.1, stage_rate_decay read as 1.0, teacher read as '', "
        "teacher_share read as 0.9, temperature read as 4.0, teacher_precision read as 'auto', "
        "label_smoothing read as 0.0\n"
    )


@pytest.mark.parametrize("load", ["finished", "unfinished"])
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda settings: settings["model"].update(widht=3),
            "unknown setting in .*config.json: 'widht'; did you mean 'width'",
        ),
        (
            lambda settings: settings.update(modell={}),
            "unknown section in .*config.json: 'modell'; did you mean 'model'",
        ),
        (lambda settings: settings["model"].update(width=-1), "settings in .*config.json .*--width must be"),
        (
            lambda settings: settings["model"].update(width="16"),
            "settings in .*config.json .*--width must be",
        ),
    ],
)
def test_settings_that_are_not_understood_are_refused(finished, change, reason, load):
    with pytest.raises(UserError, match=reason):
        load_changed(finished, change, load)


def test_settings_that_are_no_json_are_a_user_error(finished):
    finished.config.write_text('{"model": ')
    with pytest.raises(UserError, match=r"config\.json"):
        finished.load_finished()


@pytest.mark.parametrize("name", ["checkpoints", "plots", "tensorboard", ".lock"])
def test_a_link_in_a_run_is_refused_and_what_it_leads_to_stays(tmp_path, name):
    directory = RunDirectory(tmp_path / "run")
    directory.path.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (directory.path / name).symlink_to("../elsewhere")
    rule = f"^what is written must be no link; .*/{name} leads to"
    with pytest.raises(UserError, match=rule), directory.open():
        pytest.fail("opened")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_what_a_killed_plan_of_epochs_left_is_removed(tmp_path):
    (tmp_path / "run" / ".probe-1" / "checkpoints").mkdir(parents=True)
    (tmp_path / "run" / ".probe-1" / "history.csv").touch()
    with RunDirectory(tmp_path / "run").open():
        assert not (tmp_path / "run" / ".probe-1").exists()
