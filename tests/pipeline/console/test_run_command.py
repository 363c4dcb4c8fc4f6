"""Every command's frame: it goes on where nobody reads, and a signal interrupts it."""

import os
import signal
import subprocess
import sys

import pytest

from tests.commands import ROOT

COMMAND = """
import sys, time
from pathlib import Path
from pipeline.console.run_command import run_command
from pipeline.errors import UserError

def command(arguments):
    print("first", flush=True)
    for line in range(20_000):
        print("a line", line)
        sys.stdout.isatty()
    print("to stderr", file=sys.stderr, flush=True)
    {then}
    Path(sys.argv[1]).write_text("done")
    return 0

sys.exit(run_command(command, [], "interrupted"))
"""


def run(tmp_path, shell: str, then: str = "") -> tuple[int, str, str]:
    """Run the command in a shell; return its exit code, what stderr got, and the file it leaves."""
    (tmp_path / "command.py").write_text(COMMAND.format(then=then))
    left = tmp_path / "left"
    line = f"{sys.executable} command.py {left}"
    # What is not flushed stays in Python's buffer, unless a variable has it otherwise.
    buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    result = subprocess.run(
        ["bash", "-c", shell.format(command=line)],
        cwd=tmp_path,
        env={**buffered, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    return result.returncode, result.stderr, left.read_text() if left.exists() else ""


@pytest.mark.parametrize(
    ("shell", "stderr"),
    [
        ("set -o pipefail; {command} | head -1", "to stderr\n"),
        ("{command} >&-", "to stderr\n"),
        ("{command} > /dev/full", "to stderr\n"),
        ("{command} 2>&- >/dev/null", ""),
        ("{command} 2>/dev/full >/dev/null", ""),
        ("{command} <&- >&- 2>&-", ""),
    ],
)
def test_work_goes_on_where_nobody_reads_what_it_prints(tmp_path, shell, stderr):
    assert run(tmp_path, shell) == (0, stderr, "done")


@pytest.mark.parametrize("shell", ["{command} >&-", "{command} <&- >&-"])
def test_a_file_that_is_opened_does_not_get_what_is_printed_to_a_closed_stream(tmp_path, shell):
    then = "import os; file = open(sys.argv[1] + '.log', 'w'); os.write(1, b'native'); file.close()"
    assert run(tmp_path, shell, then) == (0, "to stderr\n", "done")
    assert (tmp_path / "left.log").read_text() == ""


@pytest.mark.parametrize("shell", ["{command} > /dev/full", "{command} >&-"])
def test_a_user_error_has_its_exit_code_there_too(tmp_path, shell):
    error = "to stderr\nerror: a rule\n"
    assert run(tmp_path, shell, "raise UserError('a rule')") == (2, error, "")
    assert run(tmp_path, shell + " 2>/dev/full", "raise UserError('a rule')") == (2, "", "")


@pytest.mark.parametrize(
    ("then", "where"),
    [
        (
            "with open('/dev/full', 'w') as file: file.write('much')",
            "where the command writes, or where TMPDIR",
        ),
        ("raise OSError(122, 'Disk quota exceeded', '/data/much')", "/data/much: Disk quota exceeded\n"),
    ],
)
def test_a_full_disk_is_a_user_error_wherever_it_is(tmp_path, then, where):
    code, error, _ = run(tmp_path, "{command} > /dev/null", then)
    assert code == 2
    assert error.startswith(f"to stderr\nerror: a disk must have room; {where}")
    assert error.count("\n") == 2


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_what_a_terminal_cannot_show_is_escaped(tmp_path, encoding):
    then = "print('K\\xe4fer \\u72ac \\udce9')"
    shell = f"PYTHONIOENCODING={encoding} {{command}} > printed"
    assert run(tmp_path, shell, then) == (0, "to stderr\n", "done")
    line = (tmp_path / "printed").read_bytes().splitlines()[-1]
    # Whatever is left as it is: a reader of backslashes gets the name back.
    shown = (
        "Käfer 犬" if encoding == "utf-8" else r"K\xe4fer \u72ac" if encoding == "ascii" else r"Käfer \u72ac"
    )
    assert line == shown.encode(encoding) + rb" \udce9"


def test_a_bug_keeps_its_traceback(tmp_path):
    code, error, _ = run(tmp_path, "{command} > /dev/null", "open('/nowhere/at/all')")
    assert code == 1
    assert "Traceback" in error


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_interrupts(tmp_path, name):
    then = f"import os, signal; os.kill(os.getpid(), signal.{name}); time.sleep(5)"
    assert run(tmp_path, "{command} >/dev/null", then) == (130, "to stderr\ninterrupted\n", "")


def test_nohup_is_heard(tmp_path):
    then = "import os, signal; os.kill(os.getpid(), signal.SIGHUP)"
    assert run(tmp_path, "trap '' HUP; {command} >/dev/null", then) == (0, "to stderr\n", "done")
    assert signal.getsignal(signal.SIGHUP) != signal.SIG_IGN
