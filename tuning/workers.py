"""Trials side by side: one chief that proposes, workers that train, as KerasTuner has them.

A process is what KerasTuner's own variables make it: `KERASTUNER_TUNER_ID` (`chief` or any other
name), `KERASTUNER_ORACLE_IP` and `KERASTUNER_ORACLE_PORT`. Set by hand they join several machines;
`run_workers` sets them for processes of this one, before TensorFlow is loaded anywhere.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

from pipeline.console.run_command import FAILED
from pipeline.environment import available_cores
from pipeline.errors import UserError
from tuning.request import Request
from tuning.search_directory import SearchDirectory

SUPERVISED = "TUNING_SUPERVISED"
"""Set for processes that end when the one that started them does."""

VARIABLES = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")
"""KerasTuner's own."""

MAX_DEATHS = 10
"""Times that a worker is started again before a trial ends: one that ends its process does so thrice."""

LONGEST_FOLDER = 80
"""Bytes of the path of a socket's folder; of a socket's own the system allows about 100."""

LOOK_SECONDS = 0.2
"""Between two looks at the processes."""


def role() -> str:
    """Return what KerasTuner's variables make of this process: `alone`, `chief` or `worker`.

    Raises:
        UserError: there is an address, but not all that belongs to it.
    """
    if "KERASTUNER_ORACLE_IP" not in os.environ:
        return "alone"
    if missing := [name for name in VARIABLES if name not in os.environ]:
        raise UserError(f"{', '.join(VARIABLES)} must be set together; received no {missing[0]}")
    return "chief" if "chief" in os.environ["KERASTUNER_TUNER_ID"] else "worker"


def watch_supervisor() -> None:
    """End this process, as by SIGTERM, once the one that started it is gone."""
    if SUPERVISED not in os.environ:
        return

    def watch() -> None:
        sys.stdin.read()
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def run_workers(request: Request, arguments: Sequence[str]) -> int:
    """Run a chief and workers until the search is over; return the exit code of the chief.

    A worker that dies is started again under its name, whereupon the chief gives it the trial that
    it was at.
    """
    return Supervisor(request, arguments).run()


class Supervisor:
    """Starts, watches and stops the processes of one search.

    Args:
        request: what to search.
        arguments: the command line, which every process gets.
    """

    def __init__(self, request: Request, arguments: Sequence[str]) -> None:
        self.command = [sys.executable, "-m", "tuning", *arguments]
        self.directory = SearchDirectory(request.out)
        self.logs = self.directory.logs
        self.shared: dict[str, str] = {}
        self.shares = divide_machine(request.workers)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.deaths = dict.fromkeys(self.shares, 0)
        self.newest_result = 0

    def run(self) -> int:
        """Run until the chief has ended."""
        folder = private_folder()
        # To gRPC the two are `unix:PATH`: a socket that no other user can reach. A port on the
        # loopback is open to all of them, and whoever asks there for a trial is waited for.
        self.shared = {
            SUPERVISED: "1",
            "KERASTUNER_ORACLE_IP": "unix",
            "KERASTUNER_ORACLE_PORT": str(folder / "oracle"),
        }
        try:
            # It computes little, but must see what a worker sees.
            chief = self._start("chief", self.shares["worker1"], None)
            while not self.logs.exists() and chief.poll() is None:
                time.sleep(LOOK_SECONDS)
            while chief.poll() is None:
                self._look_after_workers()
                if max(self.deaths.values()) > MAX_DEATHS:
                    print("a worker died too often; the same command goes on", file=sys.stderr)
                    return FAILED
                time.sleep(LOOK_SECONDS)
            if chief.returncode < 0:
                print(
                    f"the chief was ended by signal {-chief.returncode}; the same command goes on",
                    file=sys.stderr,
                )
                return FAILED
            return chief.returncode
        finally:
            self._stop()
            shutil.rmtree(folder, ignore_errors=True)

    def _start(self, name: str, share: dict[str, str], log: Path | None) -> subprocess.Popen[bytes]:
        environment = {**os.environ, **self.shared, **share, "KERASTUNER_TUNER_ID": name}
        output = log.open("a") if log else None
        try:
            self.processes[name] = subprocess.Popen(
                self.command,
                env=environment,
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT if log else None,
                # Ctrl-C reaches the supervisor alone, which passes it on once.
                start_new_session=True,
            )
        finally:
            if output:
                output.close()
        return self.processes[name]

    def _look_after_workers(self) -> None:
        for name, share in self.shares.items():
            process = self.processes.get(name)
            if process is not None and process.poll() in (None, 0):
                continue
            if process is not None:
                self._count_death(name)
                print(f"{name} ended with {process.returncode}; see {self._log(name)}", flush=True)
            self._start(name, share, self._log(name))

    def _count_death(self, name: str) -> None:
        """Count anew where a trial has ended since the last one."""
        results = self.directory.trials.glob("*/result.json")
        newest = max((path.stat().st_mtime_ns for path in results), default=0)
        if newest != self.newest_result:
            self.newest_result, self.deaths = newest, dict.fromkeys(self.shares, 0)
        self.deaths[name] += 1

    def _log(self, name: str) -> Path:
        return self.logs / f"{name}.log"

    def _stop(self) -> None:
        """Ask all to save and end, the chief last, and wait for them."""
        chief = self.processes.pop("chief", None)
        for group in (list(self.processes.values()), [chief] if chief else []):
            for process in group:
                process.terminate()
            for process in group:
                process.wait()


def private_folder() -> Path:
    """Make a folder for a socket that is this user's alone, with a path short enough for one."""
    folder = tempfile.mkdtemp(prefix="tuning-")
    if len(os.fsencode(folder)) > LONGEST_FOLDER:
        os.rmdir(folder)
        folder = tempfile.mkdtemp(prefix="tuning-", dir="/tmp")
    return Path(folder)


def divide_machine(workers: int) -> dict[str, dict[str, str]]:
    """Divide cores and GPUs: name of each worker -> its environment variables."""
    threads = str(max(available_cores() // workers, 1))
    gpus = visible_gpus()
    shares = {}
    for index in range(workers):
        share = {
            name: threads for name in ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
        }
        if gpus:
            own = gpus[index::workers] or [gpus[index % len(gpus)]]
            share["CUDA_VISIBLE_DEVICES"] = ",".join(own)
            # Where two share a GPU, neither takes all of its memory.
            share["TF_FORCE_GPU_ALLOW_GROWTH"] = "true"
        shares[f"worker{index + 1}"] = share
    return shares


def visible_gpus() -> list[str]:
    """List NVIDIA GPUs by their numbers, without loading TensorFlow."""
    if (chosen := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [gpu for gpu in chosen.split(",") if gpu]
    # CUDA counts those that it sees from 0, whatever numbers the devices have.
    return [str(index) for index, _ in enumerate(Path("/dev").glob("nvidia[0-9]*"))]
