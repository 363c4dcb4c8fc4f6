"""From the flags of `python -m export` to a request, and what bad input is answered with."""

import subprocess
import sys
from pathlib import Path

import pytest

from export.request import Request, parse_export_request
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from tests.commands import ROOT

DEFAULTS = Request(
    run=RunDirectory(Path("runs/one")),
    out=Path("runs/one/export"),
    formats=("saved_model", "float32", "float16", "int8"),
    output="logits",
    temperature=1.0,
    input_type="int8",
    max_drop=0.5,
    repair=False,
    slim=True,
    finetune=None,
    benchmark=False,
    max_bytes=None,
    max_arena_kib=None,
    name=None,
)
"""What `python -m export runs/one` asks for."""


def parse(*arguments: str) -> Request:
    return parse_export_request(["runs/one", *arguments])


def test_nothing_asked_is_the_default():
    assert parse() == DEFAULTS


@pytest.mark.parametrize(
    ("flag", "text", "value"),
    [
        ("--out", "there/bundle", Path("there/bundle")),
        ("--formats", "int8", ("int8",)),
        ("--formats", "float32, int8,float32", ("float32", "int8")),
        ("--formats", "int16,dynamic", ("int16", "dynamic")),
        ("--formats", "all", ("saved_model", "float32", "float16", "dynamic", "int8", "int16")),
        ("--output", "logits", "logits"),
        ("--output", "probabilities", "probabilities"),
        ("--input-type", "int8", "int8"),
        ("--input-type", "uint8", "uint8"),
        ("--temperature", "0.01", 0.01),
        ("--temperature", "1.375", 1.375),
        ("--finetune", "1", 1),
        ("--finetune", "20", 20),
        ("--max-drop", "0", 0.0),
        ("--max-drop", "1.25", 1.25),
        ("--max-drop", "100", 100.0),
        ("--max-bytes", "1", 1),
        ("--max-bytes", "262144", 262144),
        ("--max-arena-kib", "1", 1.0),
        ("--max-arena-kib", "83.5", 83.5),
        ("--name", "front_door2", "front_door2"),
        ("--name", "int", "int"),
        ("--name", "net_1", "net_1"),
    ],
)
def test_each_flag_reaches_its_field_and_no_other(flag, text, value):
    field = flag.removeprefix("--").replace("-", "_")
    expected = {**vars(DEFAULTS), field: value}
    for arguments in ([flag, text], [f"{flag}={text}"]):
        request = parse(*arguments)
        assert vars(request) == expected
        assert type(getattr(request, field)) is type(value)


@pytest.mark.parametrize("flag", ["--repair", "--benchmark"])
def test_switches(flag):
    assert vars(parse(flag)) == {**vars(DEFAULTS), flag.removeprefix("--"): True}


def test_no_slim():
    assert vars(parse("--no-slim")) == {**vars(DEFAULTS), "slim": False}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--max-drop -0.1", "--max-drop must be at least 0 and at most 100; received -0.1"),
        ("--max-drop 100.1", "--max-drop must be at least 0 and at most 100; received 100.1"),
        ("--max-drop nan", "--max-drop must be finite; received nan"),
        ("--max-drop half", "--max-drop must be a number; received 'half'"),
        ("--temperature 0", "--temperature must be at least 0.01 and at most 100; received 0.0"),
        ("--finetune 0", "--finetune must be at least 1 and at most 1000; received 0"),
        ("--finetune 1.5", "--finetune must be a whole number; received '1.5'"),
        ("--finetune", "argument --finetune: expected one argument"),
        ("--max-bytes 0", "--max-bytes must be at least 1 and at most 2147483647; received 0"),
        ("--max-bytes 1e5", "--max-bytes must be a whole number; received '1e5'"),
        ("--max-arena-kib -1", "--max-arena-kib must be at least 1 and at most 2097151; received -1.0"),
        ("--max-arena-kib inf", "--max-arena-kib must be finite; received inf"),
        *(
            (f"--name={name}", f"--name must be words of lower-case letters and digits, .*received {name!r}")
            for name in ("Door", "2doors", "front-door", "a__b", "_a", "a_", "tür", "../a", "a.h")
        ),
        ("--name=", "--name must be text; received ''"),
        ("--out=", "--out must be a path; received ''"),
        ("--formats int9", "unknown --formats 'int9'; did you mean 'int8'? known: all, dynamic, float16,"),
        ("--formats int8,", "unknown --formats ''; known: all, dynamic"),
        ("--output logit", "unknown --output 'logit'; did you mean 'logits'? known: logits, prob"),
        ("--input-type uint9", "unknown --input-type 'uint9'; did you mean 'uint8'?"),
        ("--format int8", "unknown flag '--format'; did you mean '--formats'? see --help"),
        ("--max-drops=1", "unknown flag '--max-drops'; did you mean '--max-drop'? see --help"),
        ("--bench", "unknown flag '--bench'; did you mean '--benchmark'? see --help"),
        ("runs/two", "unexpected argument 'runs/two'; see --help"),
        ("--formats", "argument --formats: expected one argument"),
        ("--no-repair", "unknown flag '--no-repair'; did you mean '--repair'? see --help"),
    ],
)
def test_input_that_cannot_be_understood(arguments, message):
    with pytest.raises(UserError) as raised:
        parse(*arguments.split())
    rule, _, received = message.partition(".*")
    assert rule in str(raised.value)
    assert str(raised.value).endswith(received) or not received
    assert "\n" not in str(raised.value)


def test_a_run_must_be_named():
    with pytest.raises(UserError, match="RUN_DIR"):
        parse_export_request([])
    with pytest.raises(UserError, match=r"^RUN_DIR must be a path; received ''$"):
        parse_export_request([""])


@pytest.mark.parametrize(
    ("run", "name"),
    [
        ("runs/door", "door_int8"),
        ("runs/door/", "door_int8"),
        ("runs/digits-20261130-041212", "digits_20261130_041212_int8"),
        ("runs/Front Door.v2", "front_door_v2_int8"),
        ("runs/2doors", "run_2doors_int8"),
        ("runs/扉", "run_int8"),
        ("/", "run_int8"),
        (f"runs/{'a' * 200}", f"{'a' * 64}_int8"),
    ],
)
def test_the_array_has_the_name_of_the_run_unless_one_is_given(run, name):
    assert parse_export_request([run]).c_name == name
    assert parse_export_request([run, "--name", "cat"]).c_name == "cat_int8"


def test_the_run_that_one_stands_in_has_a_name_too(tmp_path, monkeypatch):
    (tmp_path / "door").mkdir()
    monkeypatch.chdir(tmp_path / "door")
    assert parse_export_request(["."]).c_name == "door_int8"


@pytest.mark.parametrize(
    ("arguments", "flag"),
    [
        (["--repair"], "--repair"),
        (["--finetune", "2"], "--finetune"),
        (["--max-bytes", "1000"], "--max-bytes"),
        (["--max-arena-kib", "1"], "--max-arena-kib"),
        (["--input-type", "uint8"], "--input-type"),
        (["--no-slim"], "--no-slim"),
        (["--name", "door"], "--name"),
    ],
)
def test_what_concerns_the_int8_file_needs_one(arguments, flag):
    with pytest.raises(UserError, match=rf"^{flag} .* received --formats float32,int16$"):
        parse("--formats", "float32,int16", *arguments)
    parse("--formats", "float32,int8", *arguments)


def test_help_names_every_flag_and_format(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in vars(DEFAULTS).keys() - {"run"}:
        assert f"--{name.replace('_', '-')}" in shown
    for name in ("saved_model", "float32", "float16", "dynamic", "int8", "int16"):
        assert f"{name}: " in shown


WITHOUT_TENSORFLOW = """
import sys
from export.__main__ import main
code = main(sys.argv[1:])
print({"tensorflow", "keras", "ai_edge_litert"} & set(sys.modules))
sys.exit(code)
"""


def test_bad_input_is_answered_without_tensorflow_in_one_line(tmp_path):
    for arguments in (["--max-drop", "lots"], [str(tmp_path)]):
        answer = subprocess.run(
            [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments], cwd=ROOT, capture_output=True, text=True
        )
        assert (answer.returncode, answer.stdout) == (2, "set()\n")
        assert answer.stderr.startswith("error: ")
        assert answer.stderr.count("\n") == 1
