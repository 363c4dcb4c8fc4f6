"""Small searches for the tests; run as a program, `python -m tuning` without its report.

The report has tests of its own and takes as long as all of the trials.

A program may be told to send itself a signal the moment that a certain file is in place, so that
a kill comes at a known step of a known trial.
"""

import csv
import dataclasses
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]

STEPS_PER_EPOCH, EPOCHS = 9, 3
SETTINGS = (
    f"digits --model mlp --width 2 --batch-size 128 --epochs {EPOCHS} --devices cpu --checkpoint-steps 4 "
    "--only peak_learning_rate,weight_decay --confirm 1x1"
).split()
"""1,274 images of train make 9 steps an epoch; states are saved at steps 4, 8, 9, 13, ..."""

LONGEST_SECONDS = 300
"""After which a process hangs, on however busy a machine."""

SIGNAL_AT = "TUNING_TEST_SIGNAL_AT"
"""`NUMBER ENDING`: the signal to send, and the end of the path of the file to send it at."""


def start(out: Path, *arguments: str, **environment: str) -> subprocess.Popen:
    """Start a search."""
    return subprocess.Popen(
        [sys.executable, __file__, *SETTINGS, *arguments, "--out", str(out)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def without_report(monkeypatch: pytest.MonkeyPatch) -> None:
    """For searches in process."""
    monkeypatch.setattr("tuning.search.write_report", lambda *arguments: [])


def signal_at(number: signal.Signals, ending: str) -> dict[str, str]:
    """Return the environment of a process that sends itself a signal at a file."""
    return {SIGNAL_AT: f"{int(number)} {ending}"}


def end_of(process: subprocess.Popen) -> tuple[int, str, str]:
    """Wait for a process; return its exit code and what it printed."""
    out, error = process.communicate(timeout=LONGEST_SECONDS)
    return process.returncode, out, error


def wait_until(process: subprocess.Popen, holds: Callable[[], bool]) -> None:
    """Wait until something holds, which only a running process can bring about."""
    while not holds():
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)


def comparable(results: list[Any]) -> list[dict[str, Any]]:
    """Return results without what the clock says."""
    return [{**dataclasses.asdict(result), "seconds": None} for result in results]


def timeless_history(path: Path) -> list[dict[str, str]]:
    """Return a run's history without what the clock says."""
    with path.open() as file:
        rows = list(csv.DictReader(file))
    timed = ("seconds", "images_per_second")
    return [{name: value for name, value in row.items() if name not in timed} for row in rows]


def after_each_file(call: Callable[[Path], None]) -> Callable[[Path, Path], Path]:
    """Return a `Path.replace` that calls `call` with each file that it has put into place."""
    replace = Path.replace

    def replace_and_call(self: Path, target: Path) -> Path:
        moved = replace(self, target)
        call(Path(target))
        return moved

    return replace_and_call


def main() -> int:
    """Run `python -m tuning`, in workers as well, without report and with the signal."""
    from tuning import __main__, workers

    if "--workers" in sys.argv and workers.role() == "alone":
        start_supervisor = workers.Supervisor.__init__

        def start_this(self: Any, request: Any, arguments: list[str]) -> None:
            start_supervisor(self, request, arguments)
            self.command = [sys.executable, __file__, *arguments]

        workers.Supervisor.__init__ = start_this
    else:
        from pipeline.console.quiet_start import load_tensorflow_quietly

        load_tensorflow_quietly()
        from tuning import search

        search.write_report = lambda *arguments: []
        number, _, ending = os.environ.get(SIGNAL_AT, "").partition(" ")
        if ending:
            Path.replace = after_each_file(
                lambda path: str(path).endswith(ending) and os.kill(os.getpid(), int(number))
            )
    return __main__.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
