"""Runs that are killed, stopped and starved end as the run that nobody touched, bit for bit."""

import csv
import os
import re
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.commands import ROOT

EPOCHS, STEPS_PER_EPOCH = 5, 19
SETTINGS = (
    "digits",
    "--width",
    "4",
    "--epochs",
    str(EPOCHS),
    "--batch-size",
    "64",
    "--dropout",
    "0.1",
    "--ema-decay",
    "0.9",
    "--mixup",
    "0.2",
    "--flip",
    "alternating",
    "--optimizer",
    "adamw",
    "--peak-learning-rate",
    "0.01",
    "--checkpoint-steps",
    "1",
    "--devices",
    "cpu",
)
"""Everything that carries state: Dropout's generator, the average, slots, the epoch's parity."""

DRIVER = """
import os, signal, sys, numpy as np
from pathlib import Path

def savez_half(file, **arrays):
    if not file.name.endswith("step_{step:09d}.npz"):
        return savez(file, **arrays)
    file.write(b"PK" * 2000)
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

def replace_and_die(self, target):
    replace(self, target)
    if str(target).endswith("step_{step:09d}.npz"):
        os.kill(os.getpid(), signal.SIGKILL)

savez, replace = np.savez, Path.replace
if {while_writing}:
    np.savez = savez_half
else:
    Path.replace = replace_and_die
import train
sys.exit(train.main(sys.argv[1:]))
"""
"""A driver of train.py that dies by SIGKILL at the checkpoint of a step, or while writing it."""


def start(*arguments: str, limit_bytes: int | None = None, driver: str = "") -> subprocess.Popen:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, limit_bytes))

    program = ["-c", driver] if driver else ["train.py"]
    return subprocess.Popen(
        [sys.executable, *program, *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit if limit_bytes else None,
    )


def last_step(run_dir: Path) -> int:
    steps = [int(path.stem.partition("_")[2]) for path in run_dir.glob("checkpoints/step_*.npz")]
    return max(steps, default=0)


def wait_until(process: subprocess.Popen, holds: Callable[[], bool]) -> None:
    while not holds():
        assert process.poll() is None, process.communicate()
        time.sleep(0.002)


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
    process = start(*SETTINGS, "--run-dir", str(run_dir))
    out, error = process.communicate()
    assert process.returncode == 0, out + error
    return run_dir


def test_killed_stopped_and_starved_runs_end_the_same(reference: Path, tmp_path: Path) -> None:
    run_dir = tmp_path / "run"
    resume = ("--resume", "--run-dir", str(run_dir))

    # SIGKILL in the middle of an epoch and at its end, and while a checkpoint is being written:
    # then the one before it serves.
    new = (*SETTINGS, "--run-dir", str(run_dir))
    for arguments, step, while_writing in (
        (new, 5, False),
        (resume, STEPS_PER_EPOCH, False),
        (resume, STEPS_PER_EPOCH + 8, True),
    ):
        process = start(*arguments, driver=DRIVER.format(step=step, while_writing=while_writing))
        out, error = process.communicate()
        assert process.returncode == -signal.SIGKILL, out + error
        assert last_step(run_dir) == step - while_writing
        assert bool(list(run_dir.glob("checkpoints/.aside-*"))) == while_writing

    # SIGTERM and Ctrl-C: the state is saved and the line to go on is printed.
    for number in (signal.SIGTERM, signal.SIGINT):
        before = last_step(run_dir)
        process = start(*resume)
        wait_until(process, lambda before=before: last_step(run_dir) >= before + 5)
        process.send_signal(number)
        out, error = process.communicate()
        assert process.returncode == 130, out + error
        assert f"python train.py --resume --run-dir {run_dir}" in out
        assert "Traceback" not in error
        assert f"interrupted at step {last_step(run_dir)}" in out

    # A full disk, here a limit that the history passes and a checkpoint does not.
    before = last_step(run_dir)
    process = start(*resume, limit_bytes=100_000)
    out, error = process.communicate()
    assert process.returncode == 2, out + error
    assert re.fullmatch(r"error: .* must be writable; File too large\n", error)
    assert last_step(run_dir) == before

    # A power cut may leave the newest file damaged: the one before it serves.
    newest = max(run_dir.glob("checkpoints/step_*.npz"))
    newest.write_bytes(newest.read_bytes()[: newest.stat().st_size // 2])
    process = start(*resume)
    out, error = process.communicate()
    assert process.returncode == 0, out + error
    assert f"{newest} cannot be read" in out
    assert_same_end(run_dir, reference)


def test_a_second_run_with_the_same_seed_is_bit_identical(reference: Path, tmp_path: Path) -> None:
    process = start(*SETTINGS, "--run-dir", str(tmp_path / "run"))
    out, error = process.communicate()
    assert process.returncode == 0, out + error
    assert_same_end(tmp_path / "run", reference)


def test_a_finished_run_is_neither_overwritten_nor_trained_again(reference: Path) -> None:
    before = (reference / "model.keras").read_bytes()
    process = start(*SETTINGS, "--run-dir", str(reference))
    out, error = process.communicate()
    assert process.returncode == 2
    assert "must not hold a finished run" in error

    process = start("--resume", "--run-dir", str(reference))
    out, error = process.communicate()
    assert process.returncode == 0, out + error
    assert "is finished already" in out
    assert (reference / "model.keras").read_bytes() == before
    assert os.listdir(reference / "checkpoints")
