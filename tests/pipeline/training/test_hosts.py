"""Two hosts, here processes, train as one with two replicas, die, and go on, bit for bit."""

import csv
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import train
from tests.commands import ROOT, run_command
from tests.ports import free_ports

EPOCHS, STEPS_PER_EPOCH, KILLED_AT = 2, 19, 4
SETTINGS = (
    f"digits --model convnet --width 4 --epochs {EPOCHS} --batch-size 64 --devices cpu:2 "
    "--checkpoint-steps 1 --dropout 0.1 --ema-decay 0.9 --mixup 0.2 --flip alternating --optimizer adamw "
    "--peak-learning-rate 0.01"
).split()
"""What carries state, and what mixes the images of one host with those of the other."""

LONGEST_SECONDS = 300
"""Enough on a machine with other work."""


@pytest.fixture(scope="module")
def one_host(tmp_path_factory) -> Path:
    run_dir = tmp_path_factory.mktemp("one") / "run"
    assert run_command(train.main, *SETTINGS, "--run-dir", run_dir).code == 0
    return run_dir


def start(index: int, ports: list[int], folder: Path, *arguments: str) -> subprocess.Popen:
    """Start a host whose own files lie in `folder`; the chief's run in `folder/run`."""
    addresses = ",".join(f"127.0.0.1:{port}" for port in ports)
    named = ("--hosts", addresses, "--host-index", str(index), "--run-dir", str(folder / "run"))
    return subprocess.Popen(
        [sys.executable, "train.py", *arguments, *named],
        cwd=ROOT,
        env={**os.environ, "TMPDIR": str(folder)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def end_of(process: subprocess.Popen) -> tuple[int, str, str]:
    printed, error = process.communicate(timeout=LONGEST_SECONDS)
    return process.returncode, printed, error


def last_step(run_dir: Path) -> int:
    return max((int(path.stem[5:]) for path in run_dir.glob("checkpoints/step_*.npz")), default=0)


def arrays_of(path: Path) -> dict[str, bytes]:
    with np.load(path) as file:
        return {name: file[name].tobytes() for name in file.files if name != "progression"}


def history_of(run_dir: Path) -> list[dict[str, str]]:
    with (run_dir / "history.csv").open() as file:
        timed = ("seconds", "images_per_second")
        return [{k: v for k, v in row.items() if k not in timed} for row in csv.DictReader(file)]


def test_two_hosts_die_go_on_and_end_as_one(one_host, tmp_path):
    chiefs, others = tmp_path / "chief", tmp_path / "other"
    for folder in (chiefs, others):
        folder.mkdir()
    ports = free_ports(3)[:2]
    hosts = [start(0, ports, chiefs, *SETTINGS), start(1, ports, others, *SETTINGS)]
    try:
        run_dir = chiefs / "run"
        until = time.monotonic() + LONGEST_SECONDS
        while last_step(run_dir) < KILLED_AT and time.monotonic() < until and hosts[0].poll() is None:
            time.sleep(0.01)
        hosts[1].send_signal(signal.SIGKILL)
        code, _, error = end_of(hosts[0])
        assert (code, error) == (
            1,
            f"stopped: host 1 (127.0.0.1:{ports[1]}) has ended; "
            "to go on, the same with --resume on every host\n",
        )
        assert KILLED_AT <= last_step(run_dir) < STEPS_PER_EPOCH
        hosts[1].communicate()

        hosts = [start(0, ports, chiefs, "--resume"), start(1, ports, others, "--resume")]
        for process in hosts:
            code, printed, error = end_of(process)
            assert (code, error) == (0, ""), printed
        assert printed == f"host 1 (127.0.0.1:{ports[1]}) trains with 1 other; the chief tells how\n"
    finally:
        for process in hosts:
            process.kill()
    # Nothing but what the kill left of its first life.
    assert not (others / "run").exists()
    assert len(list(others.glob("train-host-*"))) == 1

    for name in (f"step_{EPOCHS * STEPS_PER_EPOCH:09d}.npz", "best.npz"):
        assert arrays_of(run_dir / "checkpoints" / name) == arrays_of(one_host / "checkpoints" / name)
    for name in ("metrics.json", "splits.json", "config.json"):
        assert (run_dir / name).read_text() == (one_host / name).read_text()
    assert history_of(run_dir) == history_of(one_host)
    assert len(history_of(run_dir)) == EPOCHS
