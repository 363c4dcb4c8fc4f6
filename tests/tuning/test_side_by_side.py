"""Processes with TensorFlow: what they answer, and that they end."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tests.commands import ROOT
from tuning.side_by_side import side_by_side

LONGEST_SECONDS = 300
"""After which a process hangs, on however busy a machine."""


SLEEP_SECONDS = 3


def work(job: str) -> tuple[str, int]:
    """Return the job and the process that did it; fail, die or sleep where that is the job."""
    if job == "fail":
        raise ValueError(job)
    if job == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if job == "sleep":
        time.sleep(SLEEP_SECONDS)
    return job, os.getpid()


def test_answers_come_in_the_order_of_the_jobs_and_none_of_what_failed():
    with side_by_side(work, 2) as call:
        (first, one), (second, other) = call(["a", "b"])
        assert (first, second) == ("a", "b")
        assert len({one, other, os.getpid()}) == 3
        assert call(["fail", "b"]) == [None, ("b", other)]
        assert call(["a"]) == [("a", one)]
        # The first answer is there at once, and is given with the last.
        begun = time.monotonic()
        assert next(iter(call(["a", "sleep"]))) == ("a", one)
        assert time.monotonic() - begun >= SLEEP_SECONDS
        assert call(["die", "b"]) == [None, ("b", other)]
        assert call(["a", "b"]) == [None, ("b", other)]
    assert multiprocessing.active_children() == []


def test_one_process_is_this_one():
    with side_by_side(work, 1) as call:
        assert call(["a"]) == [("a", os.getpid())]
        assert call(["fail"]) == [None]
    assert multiprocessing.active_children() == []


def test_the_processes_end_after_a_kill_of_their_owner():
    owner = subprocess.Popen(
        [sys.executable, __file__],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert owner.stdout
    processes = list(map(int, owner.stdout.readline().split()))
    owner.kill()
    owner.wait()
    owner.stdout.close()
    assert len(processes) == 2
    deadline = time.monotonic() + LONGEST_SECONDS
    while any(is_running(process) for process in processes):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def is_running(process: int) -> bool:
    """Whether a process is there and no zombie, which waits for whoever took over from its owner."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


if __name__ == "__main__":
    with side_by_side(work, 2) as call_them:
        print(*(answer[1] for answer in call_them(["a", "b"]) if answer), flush=True)
        time.sleep(LONGEST_SECONDS)
