"""The directory of a search: who may use it, and what is in it."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.errors import UserError
from tests.commands import ROOT
from tests.tuning.samples import SPACE, make_plan
from tuning.search_directory import SearchDirectory
from tuning.space.limits import Limits

PLAN = make_plan()


def contents(folder: Path) -> dict[str, str | None]:
    return {
        str(path.relative_to(folder)): path.read_text() if path.is_file() else None
        for path in folder.rglob("*")
        if path.name != ".lock"
    }


def open_and_leave(path: Path, plan=PLAN) -> None:
    with SearchDirectory(path).open(plan.identity()):
        pass


def refusal(path: Path, plan=PLAN) -> str:
    """The one line that `open` is refused with."""
    with pytest.raises(UserError) as caught:
        open_and_leave(path, plan)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("exists", [False, True])
def test_a_new_or_empty_directory_becomes_a_search(exists, tmp_path):
    path = tmp_path / "some/where"
    if exists:
        path.mkdir(parents=True)
    open_and_leave(path)
    assert contents(path).keys() == {"search.json", "trials", "plots"}
    assert json.loads((path / "search.json").read_text())["tuner"] == PLAN.tuner


def test_what_a_kill_left_of_the_first_file_is_in_nobodys_way(tmp_path):
    # As where a kill or a power cut comes before the file is moved into place.
    for name in (".lock", ".aside-search.json"):
        (tmp_path / name).touch()
    SearchDirectory(tmp_path).check_place(PLAN.identity())
    open_and_leave(tmp_path)
    assert contents(tmp_path).keys() == {"search.json", "trials", "plots"}


def test_the_same_search_goes_on_also_with_more_trials(tmp_path):
    open_and_leave(tmp_path)
    (tmp_path / "trials/0000").mkdir()
    before = contents(tmp_path)
    open_and_leave(tmp_path)
    open_and_leave(tmp_path, make_plan(max_trials=500))
    open_and_leave(tmp_path, make_plan(max_trials=1))
    assert contents(tmp_path) == before


@pytest.mark.parametrize("place", ["", "trials", "plots", "keras_tuner", "logs", "tensorboard"])
def test_a_link_is_refused_where_a_folder_of_the_search_belongs(place, tmp_path):
    elsewhere, search = tmp_path / "elsewhere", tmp_path / "search"
    elsewhere.mkdir()
    if place:
        search.mkdir()
    (search / place).symlink_to(elsewhere)
    assert refusal(search) == f"what is written must be no link; {search / place} leads to {elsewhere}"
    assert not any(elsewhere.iterdir())


def test_a_search_of_an_earlier_version_had_its_later_settings_at_their_defaults(tmp_path):
    open_and_leave(tmp_path)
    known = json.loads((tmp_path / "search.json").read_text())
    del known["config"]["transfer"], known["config"]["fit"]["ema_decay"], known["limits"]["max_mac"]
    (tmp_path / "search.json").write_text(json.dumps(known))
    open_and_leave(tmp_path)
    other = make_plan(config=PLAN.config.with_values({"ema_decay": 0.9}), limits=Limits(max_mac=1))
    assert refusal(tmp_path, other).endswith("which differs in its config, limits")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"tuner": "grid"}, "tuner"),
        ({"config": PLAN.config.with_values({"epochs": 11})}, "config"),
        ({"config": PLAN.config.with_values({"seed": 1})}, "config"),
        ({"space": SPACE[:1]}, "space"),
        ({"limits": Limits(max_mac=1)}, "limits"),
        ({"finalists": 1}, "finalists"),
        ({"seeds": 1, "stop_weak": False}, "seeds, stop_weak"),
    ],
)
def test_another_search_is_refused(change, named, tmp_path):
    open_and_leave(tmp_path)
    before = contents(tmp_path)
    assert refusal(tmp_path, make_plan(**change)) == (
        f"--out must be new or hold this very search; {tmp_path} holds another one, "
        f"which differs in its {named}"
    )
    assert contents(tmp_path) == before
    open_and_leave(tmp_path)  # nobody holds it any more


@pytest.mark.parametrize("foreign", ["notes.txt", "config.json", "trials/0000/result.json"])
def test_a_foreign_folder_is_refused_and_left_alone(foreign, tmp_path):
    (tmp_path / foreign).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / foreign).write_text("mine")
    before = contents(tmp_path)
    assert refusal(tmp_path) == f"--out must be new, empty or hold a search; received {tmp_path}"
    assert contents(tmp_path) == before
    assert not (tmp_path / ".lock").exists()


NESTED = "[" * 100_000 + "]" * 100_000


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", "7", "\xff", NESTED, '{"limits": 3}', '{"config": "small"}']
)
def test_a_damaged_search_is_refused(text, tmp_path):
    (tmp_path / "search.json").write_text(text, encoding="latin-1")
    message = refusal(tmp_path)
    assert message.startswith("a search must have a whole search.json; ")


@pytest.mark.parametrize(
    "place",
    # The last is one where nobody may write, root neither.
    ["file", "file/below", "x" * 300, "/proc/nowhere/search"],
)
def test_where_nothing_can_be_written_is_refused(place, tmp_path):
    (tmp_path / "file").write_text("mine")
    message = refusal(tmp_path / place)
    assert message.startswith(f"--out must be writable; {tmp_path / place}: ")
    assert contents(tmp_path) == {"file": "mine"}


@pytest.mark.parametrize("name", ["trials", "plots"])
def test_a_file_in_the_place_of_a_folder_is_refused(name, tmp_path):
    open_and_leave(tmp_path)
    (tmp_path / name).rmdir()
    (tmp_path / name).write_text("in the way")
    assert "must be" in refusal(tmp_path)


OPEN = """
import pathlib, sys
from tuning.search_directory import SearchDirectory
with SearchDirectory(pathlib.Path(sys.argv[1])).open({}):
    print("open", flush=True)
    sys.stdin.read()
"""


def test_one_process_at_a_time(tmp_path):
    other = subprocess.Popen(
        [sys.executable, "-c", OPEN, str(tmp_path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout.readline() == "open\n"
        assert refusal(tmp_path) == (f"a search takes one command at a time; another one is using {tmp_path}")
        # Though killed, it leaves no lock behind.
        other.kill()
        other.wait()
        with SearchDirectory(tmp_path).open({}):
            pass
    finally:
        other.kill()
        other.communicate()


@pytest.mark.parametrize("error", [ZeroDivisionError, UserError])
def test_an_error_within_lets_go_of_the_directory(error, tmp_path):
    with pytest.raises(error), SearchDirectory(tmp_path).open(PLAN.identity()):
        raise error
    open_and_leave(tmp_path)


@pytest.mark.parametrize("exists", [False, True])
def test_a_search_that_cannot_begin_leaves_nothing(exists, tmp_path):
    path = tmp_path / "search"
    if exists:
        path.mkdir()
    with pytest.raises(UserError), SearchDirectory(path).open(PLAN.identity()):
        raise UserError("no such data")
    assert [str(entry.name) for entry in tmp_path.rglob("*")] == (["search"] if exists else [])


def test_a_search_that_has_begun_is_kept(tmp_path):
    opening = SearchDirectory(tmp_path).open(PLAN.identity())
    opening.__enter__()
    (tmp_path / "trials/0000").mkdir()
    before = contents(tmp_path)
    assert not opening.__exit__(UserError, UserError("the disk is full"), None)
    assert contents(tmp_path) == before
    assert "search.json" in before


def test_a_search_that_goes_on_is_kept_though_it_has_no_trial(tmp_path):
    open_and_leave(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(UserError), SearchDirectory(tmp_path).open(PLAN.identity()):
        raise UserError("no such data")
    assert contents(tmp_path) == before


def test_a_hyperparameter_in_other_words_is_the_same(tmp_path):
    open_and_leave(tmp_path)
    open_and_leave(tmp_path, make_plan(space=tuple(dataclasses.replace(d, meaning="") for d in SPACE)))


def test_the_images_of_a_search_stay_the_same(tmp_path):
    directory = SearchDirectory(tmp_path)
    begun = {"source": "made up", "splits": {"train": {"fingerprint": "a"}}}
    directory.check_images(begun)
    directory.check_images(begun)
    with pytest.raises(UserError, match="made up no longer has the fingerprints in"):
        directory.check_images({"source": "made up", "splits": {"train": {"fingerprint": "b"}}})


def test_a_strangers_folder_of_the_states_name_is_left_alone(tmp_path):
    stranger = tmp_path / "keras_tuner" / "oracle.json"
    stranger.parent.mkdir()
    stranger.write_text("mine")
    assert "must be new, empty or hold a search" in refusal(tmp_path)
    assert stranger.read_text() == "mine"
