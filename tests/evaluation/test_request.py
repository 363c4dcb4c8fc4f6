"""From the flags of `python -m evaluation` to a request, and what bad input is answered with."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from evaluation.request import Request, parse_evaluation_request
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from tests.commands import ROOT

EARLIER = ROOT / "tests/fixtures/earlier/run"

DEFAULTS = Request(
    runs=(RunDirectory(Path("runs/one")),),
    out=Path("runs/one/evaluation"),
    formats=None,
    flip=False,
    cross_validate=0,
    corrupted=1000,
    data=None,
)
"""What `python -m evaluation runs/one` asks for."""


def parse(*arguments: str) -> Request:
    return parse_evaluation_request(["runs/one", *arguments])


def refusal(*arguments: str) -> str:
    with pytest.raises(UserError) as raised:
        parse_evaluation_request(arguments)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_nothing_asked_is_the_default():
    assert parse() == DEFAULTS


@pytest.mark.parametrize(
    ("flag", "text", "value"),
    [
        ("--out", "there/report", Path("there/report")),
        ("--formats", "int8", ("int8",)),
        ("--formats", "float32, int8,float32", ("float32", "int8")),
        ("--formats", "int16,dynamic,float16", ("int16", "dynamic", "float16")),
        ("--cross-validate", "0", 0),
        ("--cross-validate", "5", 5),
        ("--corrupted", "0", 0),
        ("--corrupted", "1", 1),
        ("--corrupted", "10000", 10_000),
    ],
)
def test_each_flag_reaches_its_field_and_no_other(flag, text, value):
    expected = {**vars(DEFAULTS), flag.removeprefix("--").replace("-", "_"): value}
    for arguments in ([flag, text], [f"{flag}={text}"]):
        assert vars(parse(*arguments)) == expected
        assert vars(parse_evaluation_request([*arguments, "runs/one"])) == expected


def test_flags_may_stand_between_runs():
    request = parse_evaluation_request(["runs/one", "--flip", "runs/two", "--corrupted", "5"])
    assert [run.path for run in request.runs] == [Path("runs/one"), Path("runs/two")]
    assert (request.flip, request.corrupted) == (True, 5)


@pytest.mark.parametrize(
    ("first", "expected"),
    [("runs/one", "runs/comparison"), (".", "../comparison"), ("..", "../../comparison")],
)
def test_a_comparison_lies_beside_the_first_run(first, expected):
    assert parse_evaluation_request([first, "elsewhere/two"]).out == Path(expected)


@pytest.mark.parametrize("data", ["folder:elsewhere/new", "elsewhere/new/", "elsewhere/x/../new"])
def test_a_report_on_other_images_lies_beside_that_on_test(data):
    request = parse("--data", data)
    assert request.out == Path("runs/one/evaluation_new")
    assert request.new_folder == Path(data.removeprefix("folder:"))
    assert parse("runs/two", "--data", data).out == Path("runs/comparison_new")
    assert parse("--data", data, "--out", "there").out == Path("there")
    assert request.place_of(RunDirectory(Path("runs/two"))) == Path("runs/two/evaluation_new")


def test_flip_is_a_switch():
    assert vars(parse("--flip")) == {**vars(DEFAULTS), "flip": True}


def test_several_runs_are_compared_beside_the_first():
    request = parse("runs/two", "elsewhere/three", "--flip")
    assert [run.path for run in request.runs] == [Path("runs/one"), Path("runs/two"), Path("elsewhere/three")]
    assert request.out == Path("runs/comparison")
    assert request.flip
    assert parse("runs/two", "--out", "there").out == Path("there")


def test_the_report_of_a_ready_model_among_several_runs_is_not_written_into_its_folder():
    request = parse("digits_resnet8")
    places = [request.place_among_several(run) for run in request.runs]
    assert places == [Path("runs/one/evaluation"), Path("runs/comparison/digits_resnet8")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--corrupted", "argument --corrupted: expected one argument"),
        ("--cross-validate=1", "--cross-validate must be 0 or at least 2; received 1"),
        (
            "--cross-validate 5 --data new",
            "--cross-validate judges the images that a run has; received --cross-validate 5 and --data new",
        ),
        ("--cross-validate=101", "--cross-validate must be at least 0 and at most 100; received 101"),
        (
            "--formats int9",
            "unknown --formats 'int9'; did you mean 'int8'? known: dynamic, float16, float32, int16, int8",
        ),
        ("--formats int8,", "unknown --formats ''; known: dynamic, float16, float32, int16, int8"),
        (
            "--formats saved_model",
            "unknown --formats 'saved_model'; known: dynamic, float16, float32, int16, int8",
        ),
        ("--format int8", "unknown flag '--format'; did you mean '--formats'? see --help"),
        ("--corrupt=3", "unknown flag '--corrupt'; did you mean '--corrupted'? see --help"),
        ("--flips", "unknown flag '--flips'; did you mean '--flip'? see --help"),
        ("--no-flip", "unknown flag '--no-flip'; did you mean '--flip'? see --help"),
        ("--flip=yes", "argument --flip: ignored explicit argument 'yes'"),
    ],
)
def test_input_that_cannot_be_understood(arguments, message):
    assert refusal("runs/one", *arguments.split()) == message


@pytest.mark.parametrize("text", ["1e3", "all", "²", "1.5", ""])
def test_corrupted_is_a_count(text):
    assert (
        refusal("runs/one", "--corrupted", text) == f"--corrupted must be a whole number; received {text!r}"
    )
    assert refusal("runs/one", "--corrupted=-1") == (
        "--corrupted must be at least 0 and at most 1000000; received -1"
    )


@pytest.mark.parametrize(("arguments", "name"), [([""], "RUN_DIR"), (["runs/one", "--out="], "--out")])
def test_nothing_is_no_path(arguments, name):
    assert refusal(*arguments) == f"{name} must be a path; received ''"


def test_a_run_must_be_named():
    expected = "a run directory must be given; received none, see --help"
    assert refusal() == refusal("--flip") == refusal("--corrupted", "3") == expected


@pytest.mark.parametrize("again", ["runs/one", "runs/one/", "runs/../runs/one", "./runs/one"])
def test_a_run_is_not_compared_with_itself(again):
    message = refusal("runs/one", "runs/two", again)
    assert message == "runs to compare must be different; received runs/one twice"


def test_a_run_is_not_compared_with_itself_through_a_link(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "link").symlink_to("run")
    message = refusal(str(tmp_path / "link"), str(tmp_path / "run"))
    assert message == f"runs to compare must be different; received {tmp_path}/link twice"


def test_help_names_every_flag_and_format(capsys):
    with pytest.raises(SystemExit) as ended:
        parse("--help")
    assert ended.value.code == 0
    shown = " ".join(capsys.readouterr().out.split())
    for name in vars(DEFAULTS).keys() - {"runs"}:
        assert f"--{name.replace('_', '-')}" in shown
    assert "RUN_DIR" in shown
    assert "float32, float16, dynamic, int8, int16" in shown
    assert "(default: 1,000)" in shown


WITHOUT_TENSORFLOW = """
import sys
from evaluation.__main__ import main
try:
    code = main(sys.argv[1:])
finally:
    loaded = {"tensorflow", "keras", "ai_edge_litert", "matplotlib", "sklearn"} & set(sys.modules)
    print("loaded:", *loaded)
sys.exit(code)
"""


def start(*arguments: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments], cwd=ROOT, capture_output=True, text=True
    )


def test_bad_input_is_answered_without_tensorflow_in_one_line(tmp_path):
    missing = f"error: a run directory must hold a finished run; received {tmp_path}\n"
    flag = "error: unknown flag '--flop'; did you mean '--flip'? see --help\n"
    for arguments, error in ([str(tmp_path)], missing), ([str(tmp_path), "--flop"], flag):
        answer = start(*arguments)
        assert (answer.returncode, answer.stdout, answer.stderr) == (2, "loaded:\n", error)


def test_a_place_that_cannot_be_the_reports_is_refused_before_tensorflow_loads(tmp_path):
    (tmp_path / "predictions.csv").write_text("mine")
    (tmp_path / "comparison.html").write_text("mine")
    other = shutil.copytree(EARLIER, tmp_path / "other", ignore=shutil.ignore_patterns("export"))
    code = (
        "import sys; from evaluation.__main__ import main; "
        "codes = [main(line.split()) for line in sys.argv[1:]]; print(codes, 'tensorflow' in sys.modules)"
    )
    lines = [
        f"{EARLIER} --out {tmp_path}",
        f"{EARLIER} {other} --out {tmp_path}",
        f"{EARLIER} --out /dev/null",
        f"{EARLIER} --out {tmp_path}/predictions.csv/below",
    ]
    done = subprocess.run([sys.executable, "-c", code, *lines], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[2, 2, 2, 2] False\n", done.stderr
    ends = (
        "predictions.csv",
        "comparison.html",
        "/dev/null is no directory",
        "predictions.csv is no directory",
    )
    # What the earlier run's settings lack is said beside them.
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: --out must be ")]
    for line, end in zip(errors, ends, strict=True):
        assert line.endswith(end)


def test_a_folder_of_other_classes_is_refused_before_tensorflow_loads(tmp_path):
    for name in ("new/0", "new/cat", "new/train", "empty"):
        (tmp_path / name).mkdir(parents=True)
    known = "called as classes of the run, '0', '1', '2', '3', '4', ...; received"
    for folder, reason in {
        "new": f"{known} 'cat', 'train' in '{tmp_path}/new' "
        f"(a split of a folder is --data {tmp_path}/new/train)",
        "empty": f"{known} none in '{tmp_path}/empty'",
    }.items():
        answer = start(str(EARLIER), "--data", str(tmp_path / folder))
        assert (answer.returncode, answer.stdout) == (2, "loaded:\n")
        assert answer.stderr.splitlines()[-1] == f"error: --data must hold class folders {reason}"
    answer = start(str(EARLIER), "--data", str(tmp_path / "none"))
    assert answer.stderr.endswith(f"must be readable; '{tmp_path}/none': No such file or directory\n")


def test_help_is_answered_without_tensorflow():
    answer = start("--help")
    assert (answer.returncode, answer.stderr) == (0, "")
    assert answer.stdout.startswith("usage: python -m evaluation RUN_DIR")
    assert answer.stdout.endswith("\nloaded:\n")
