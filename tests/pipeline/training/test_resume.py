"""Runs that are killed, stopped and starved end as the run that nobody touched, bit for bit."""

import csv
import os
import re
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

import train
from tests.commands import ROOT, run_command

EPOCHS, STEPS_PER_EPOCH = 3, 19
SETTINGS = (
    f"digits --model convnet --width 4 --epochs {EPOCHS} --batch-size 64 --devices cpu --checkpoint-steps 1 "
    "--dropout 0.1 --ema-decay 0.9 --mixup 0.2 --flip alternating --optimizer adamw --peak-learning-rate 0.01"
).split()
"""What carries state: Dropout's generator, the average, slots, the epoch's parity.

But for the statistics of normalised layers, whose resume `test_transfer_run.py` compares.
"""

DRIVER = """
import os, signal, sys, numpy as np

def savez_half(file, **arrays):
    if not file.name.endswith("step_{step:09d}.npz"):
        return savez(file, **arrays)
    file.write(b"PK" * 2000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

savez, np.savez = np.savez, savez_half
import train
sys.exit(train.main(sys.argv[1:]))
"""
"""A driver of train.py that dies by SIGKILL while it writes the checkpoint of a step."""


class Killed(BaseException):
    """Ends a run as a kill would: nothing in the product catches it."""


command = partial(run_command, train.main)


def last_step(run_dir: Path) -> int:
    steps = [int(path.stem.partition("_")[2]) for path in run_dir.glob("checkpoints/step_*.npz")]
    return max(steps, default=0)


def arrays_of(path: Path) -> dict[str, np.ndarray]:
    with np.load(path) as file:
        return {name: file[name] for name in file.files if name != "progression"}


def assert_same_end(run_dir: Path, reference: Path) -> None:
    for name in (f"step_{EPOCHS * STEPS_PER_EPOCH:09d}.npz", "best.npz"):
        ours, theirs = (arrays_of(d / "checkpoints" / name) for d in (run_dir, reference))
        assert ours.keys() == theirs.keys()
        for key, array in ours.items():
            assert array.tobytes() == theirs[key].tobytes(), key
    for name in ("metrics.json", "splits.json", "config.json"):
        assert (run_dir / name).read_bytes() == (reference / name).read_bytes()
    histories = []
    for directory in (run_dir, reference):
        with (directory / "history.csv").open() as file:
            rows = list(csv.DictReader(file))
        timeless = [
            {k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows
        ]
        histories.append(timeless)
    assert histories[0] == histories[1]
    assert len(histories[0]) == EPOCHS


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that nobody touched."""
    run_dir = tmp_path_factory.mktemp("reference") / "run"
    assert command(*SETTINGS, "--run-dir", run_dir).code == 0
    return run_dir


def interrupt_at(run_dir: Path, step: int) -> None:
    while last_step(run_dir) < step:
        time.sleep(0.002)
    os.kill(os.getpid(), signal.SIGINT)


def test_killed_stopped_and_starved_runs_end_the_same(
    reference: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_dir = tmp_path / "run"
    resume = ("--resume", "--run-dir", str(run_dir))

    # SIGKILL while a checkpoint is being written: the one before it serves.
    killed = [sys.executable, "-c", DRIVER.format(step=5), *SETTINGS, "--run-dir", str(run_dir)]
    process = subprocess.run(killed, cwd=ROOT, capture_output=True, text=True)
    assert process.returncode == -signal.SIGKILL, process.stdout + process.stderr
    assert last_step(run_dir) == 4
    assert list(run_dir.glob("checkpoints/.aside-*"))

    # A kill at the end of an epoch, behind its checkpoint.
    move = Path.replace

    def move_and_die(self: Path, target: Path) -> None:
        move(self, target)
        if target.name == f"step_{STEPS_PER_EPOCH:09d}.npz":
            raise Killed

    with monkeypatch.context() as dying:
        dying.setattr(Path, "replace", move_and_die)
        with pytest.raises(Killed):
            command(*resume)
    assert last_step(run_dir) == STEPS_PER_EPOCH

    # Ctrl-C: the state is saved and the line to go on is printed.
    threading.Thread(target=interrupt_at, args=(run_dir, STEPS_PER_EPOCH + 5), daemon=True).start()
    outcome = command(*resume)
    assert outcome.code == 130, outcome
    assert f"interrupted at step {last_step(run_dir)}" in outcome.printed
    assert f"python train.py --resume --run-dir {run_dir}" in outcome.printed
    assert "Traceback" not in outcome.error
    assert STEPS_PER_EPOCH + 5 <= last_step(run_dir) < EPOCHS * STEPS_PER_EPOCH

    # A full disk, here a limit that the history passes and a checkpoint does not.
    newest = max(run_dir.glob("checkpoints/step_*.npz"))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (newest.stat().st_size // 2, limits[1]))
    try:
        outcome = command(*resume)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert outcome.code == 2, outcome
    assert re.fullmatch(r"error: .* must be writable; File too large\n", outcome.error)
    assert max(run_dir.glob("checkpoints/step_*.npz")) == newest

    # A power cut may leave the newest file damaged: the one before it serves.
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    outcome = command(*resume)
    assert outcome.code == 0, outcome
    assert f"{newest} cannot be read" in outcome.printed
    assert_same_end(run_dir, reference)


def test_a_finished_run_is_neither_overwritten_nor_trained_again(
    reference: Path, contents: Callable[[Path], dict]
) -> None:
    before = contents(reference)
    assert "must not hold a finished run" in command(*SETTINGS, "--run-dir", reference).error
    outcome = command("--resume", "--run-dir", reference)
    assert outcome.code == 0, outcome
    assert "is finished already" in outcome.printed
    assert contents(reference) == before
