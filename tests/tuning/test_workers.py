"""Workers side by side do each trial once, whichever of the processes dies."""

import contextlib
import fnmatch
import json
import os
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from keras_tuner.src.distribute.oracle_client import OracleClient

from pipeline.errors import UserError
from tests.tuning.search_samples import (
    LONGEST_SECONDS,
    ROOT,
    SETTINGS,
    end_of,
    signal_at,
    start,
    wait_until,
    without_report,
)
from tuning import workers
from tuning.cost import Costs
from tuning.oracles.oracles import ORACLES
from tuning.request import parse_tuning_request
from tuning.search import build_tuner, prepare_search
from tuning.search_directory import SearchDirectory
from tuning.trials.results import FAILED, SEARCH, load_results
from tuning.tuner import SearchTuner

TRIALS = ("--tuner", "random", "--max-trials", "4")
BY_HAND = ("KERASTUNER_TUNER_ID", "KERASTUNER_ORACLE_IP", "KERASTUNER_ORACLE_PORT")


@pytest.fixture(autouse=True)
def _no_variables_of_keras_tuner(monkeypatch):
    for name in BY_HAND:
        monkeypatch.delenv(name, raising=False)


def processes_at(out: Path) -> list[int]:
    """Return the processes that search in a directory."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        # It may end meanwhile.
        with contextlib.suppress(OSError):
            if os.fsencode(out) in path.read_bytes().split(b"\0"):
                found.append(int(path.parent.name))
    return found


@pytest.fixture
def directory(tmp_path) -> Iterator[SearchDirectory]:
    """Where a search runs, whose processes do not outlive a test that fails."""
    directory = SearchDirectory(tmp_path / "search")
    yield directory
    for process in processes_at(directory.path):
        os.kill(process, signal.SIGKILL)


def assert_complete(directory: SearchDirectory, tables: str) -> None:
    """Each trial has a result and, in what the chiefs printed, one line."""
    results = load_results(directory.trials)
    assert [result.trial for result in results] == [f"{n:04d}" for n in range(len(results))]
    assert sum(result.purpose == SEARCH for result in results) == 4
    assert len(results) > 4
    assert not [result.reason for result in results if result.status == FAILED]
    lines = re.findall(r"^ (\d{4})  ", tables, re.MULTILINE)
    assert sorted(lines) == [result.trial for result in results]


def assert_all_end(directory: SearchDirectory) -> None:
    deadline = time.monotonic() + 60
    while processes_at(directory.path):
        assert time.monotonic() < deadline, processes_at(directory.path)
        time.sleep(0.1)


def assert_no_other_user_can_ask(processes: list[int]) -> None:
    """The processes talk through a socket in a folder that is this user's alone, and no port."""
    variables = [
        dict(line.split("=", 1) for line in Path(f"/proc/{process}/environ").read_text().split("\0") if line)
        for process in processes
    ]
    joined = [named for named in variables if "KERASTUNER_ORACLE_IP" in named]
    assert len(joined) == 3
    assert {named["KERASTUNER_ORACLE_IP"] for named in joined} == {"unix"}
    (path,) = {Path(named["KERASTUNER_ORACLE_PORT"]) for named in joined}
    assert path.is_socket()
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_the_folder_of_the_socket_has_a_short_path(tmp_path, monkeypatch) -> None:
    deep = tmp_path / ("x" * 90)
    deep.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(deep))
    folder = workers.private_folder()
    assert folder.parent == Path("/tmp")
    folder.rmdir()
    assert list(deep.iterdir()) == []


needs_proc = pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="finds processes in /proc")


@needs_proc
def test_whichever_process_is_killed_each_trial_is_done_once(directory) -> None:
    # Whoever has trial 0001 dies in the middle of its second epoch, after a state was saved.
    death = signal_at(signal.SIGKILL, "trials/0001/checkpoints/step_000000013.npz")
    supervisor = start(directory.path, *TRIALS, "--workers", "2", **death)
    attempts = directory.run("0001").path / "attempts.json"
    known = {"step": 13, "attempts": 1}
    wait_until(supervisor, lambda: attempts.exists() and json.loads(attempts.read_text()) == known)
    assert len(processes_at(directory.path)) == 4
    assert_no_other_user_can_ask(processes_at(directory.path))
    supervisor.kill()
    # The chief has the same output: this waits for its end as well.
    code, first, error = end_of(supervisor)
    assert code == -signal.SIGKILL, first + error
    assert len(re.findall(r"^worker[12] ended with -9; see .*\.log$", first, re.MULTILINE)) == 1
    assert "Traceback" not in first + error
    assert_all_end(directory)
    assert not directory.best_config.exists()

    # A chief and a worker that are joined by hand finish the search.
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])

    def join(name: str) -> subprocess.Popen:
        return start(directory.path, *TRIALS, **dict(zip(BY_HAND, (name, "127.0.0.1", port), strict=True)))

    ends = [end_of(process) for process in [join("chief"), join("worker1")]]
    assert [code for code, _, _ in ends] == [0, 0], ends
    assert_complete(directory, first + ends[0][1])
    assert directory.best_config.exists()


PROCESS = """
import os, sys, time
from pathlib import Path
from tuning.workers import watch_supervisor
watch_supervisor()
folder, name = Path(sys.argv[1]), os.environ["KERASTUNER_TUNER_ID"]
before = len(list(folder.glob(name + "-*")))
(folder / f"{name}-{before}").touch()
(folder / "logs").mkdir(exist_ok=True)
if name == "worker2" and not before:
    sys.exit(3)
while name != "chief" or not (folder / "found").exists():
    time.sleep(0.01)
sys.exit(4)
"""
"""Stands in for a search: its second worker dies once, and the chief ends when all is found."""

SUPERVISOR = """
import sys
from tuning.request import parse_tuning_request
from tuning.workers import Supervisor
supervisor = Supervisor(parse_tuning_request(["digits", "--workers", "2", "--out", sys.argv[1]]), [])
supervisor.command = [sys.executable, "-c", sys.argv[2], sys.argv[1]]
sys.exit(supervisor.run())
"""


@needs_proc
@pytest.mark.parametrize("end", ["found", "killed"])
def test_a_supervisor_looks_after_its_processes(directory, end) -> None:
    directory.path.mkdir()
    supervisor = subprocess.Popen(
        [sys.executable, "-c", SUPERVISOR, directory.path, PROCESS],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
    )
    wait_until(supervisor, lambda: (directory.path / "worker2-1").exists())
    if end == "found":
        (directory.path / "found").touch()
        code = 4
    else:
        supervisor.kill()
        code = -signal.SIGKILL
    # All have the same output: this waits for the end of all.
    printed, _ = supervisor.communicate(timeout=LONGEST_SECONDS)
    assert supervisor.returncode == code
    assert printed == f"worker2 ended with 3; see {directory.logs / 'worker2.log'}\n"
    assert_all_end(directory)
    assert {path.name for path in directory.path.glob("*-*")} == {
        "chief-0",
        "worker1-0",
        "worker2-0",
        "worker2-1",
    }


MORTAL = """
import os, sys, time
from pathlib import Path
folder, name = Path(sys.argv[1]), os.environ["KERASTUNER_TUNER_ID"]
ends = sys.argv[2] == "trials end"
(folder / "logs").mkdir(exist_ok=True)
if name == "worker1":
    before = len(list(folder.glob("death-*")))
    (folder / f"death-{before}").touch()
    if ends:
        trial = folder / "trials" / f"{before:04d}"
        trial.mkdir(parents=True)
        (trial / "result.json").touch()
    sys.exit(3)
while name != "chief" or not (folder / "death-12").exists():
    time.sleep(0.01)
sys.exit(0)
"""
"""Stands in for a search whose first worker dies again and again; its chief ends at the 13th death."""


@needs_proc
@pytest.mark.parametrize(("what", "code", "deaths"), [("trials end", 0, 13), ("nothing ends", 1, 11)])
def test_a_worker_dies_too_often_where_no_trial_ends_meanwhile(directory, what, code, deaths) -> None:
    directory.path.mkdir()
    program = SUPERVISOR.replace("sys.argv[1]]\n", f"sys.argv[1], {what!r}]\n")
    supervisor = subprocess.run(
        [sys.executable, "-c", program, directory.path, MORTAL],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LONGEST_SECONDS,
    )
    assert supervisor.returncode == code, supervisor
    assert supervisor.stdout.count("worker1 ended with 3") in (deaths - 1, deaths)
    assert ("a worker died too often" in supervisor.stderr) is (code == 1)


def test_what_goes_wrong_with_the_chief_ends_it_with_that(tmp_path, monkeypatch) -> None:
    plan = parse_tuning_request([*SETTINGS, *TRIALS]).plan

    def allowed(values: object) -> bool:
        raise UserError("a disk must have room")

    folder = workers.private_folder()
    for name, value in zip(BY_HAND, ("chief", "unix", str(folder / "oracle")), strict=True):
        monkeypatch.setenv(name, value)
    oracle = ORACLES[plan.tuner](plan, allowed, list, lambda trial: None)
    chief = SearchTuner(oracle, lambda hp: None, tmp_path / "state")
    main, over = threading.main_thread().ident, threading.Event()

    def work() -> None:
        with contextlib.suppress(grpc.RpcError):
            OracleClient(None).create_trial("worker1")
        # A chief that is waited for in vain is asked to end, and again where it does not.
        while not over.wait(20):
            signal.pthread_kill(main, signal.SIGTERM)

    handler = signal.signal(signal.SIGTERM, signal.default_int_handler)
    worker = threading.Thread(target=work)
    worker.start()
    try:
        with pytest.raises((UserError, KeyboardInterrupt)) as caught:
            chief.search()
    finally:
        over.set()
        worker.join()
        signal.signal(signal.SIGTERM, handler)
        shutil.rmtree(folder)
    assert (caught.type, str(caught.value)) == (UserError, "a disk must have room")


def test_a_worker_may_start_before_the_chief(tmp_path, monkeypatch) -> None:
    without_report(monkeypatch)
    arguments = [*SETTINGS, *TRIALS, "--out", str(tmp_path / "search")]
    request = parse_tuning_request(arguments)
    directory = SearchDirectory(request.out)
    with monkeypatch.context() as worker:
        for name, value in zip(BY_HAND, ("worker1", "127.0.0.1", "1"), strict=True):
            worker.setenv(name, value)
        ground = prepare_search(request.plan, directory, begin=False)
        build_tuner(request.plan, directory, ground, Costs(directory.costs, ground))
    with directory.open(request.plan.identity()):
        # Nor while its chief begins the search: of two that write one file at once, one fails.
        prepare_search(request.plan, directory, begin=False)
        assert directory.search.exists()
        assert not directory.splits.exists()


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "alone"),
        # KerasTuner's own rule: no address, no chief to ask.
        ({"KERASTUNER_TUNER_ID": "chief"}, "alone"),
        (dict(zip(BY_HAND, ("chief", "127.0.0.1", "1"), strict=True)), "chief"),
        (dict(zip(BY_HAND, ("worker1", "127.0.0.1", "1"), strict=True)), "worker"),
    ],
)
def test_role(variables, expected, monkeypatch) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert workers.role() == expected


@pytest.mark.parametrize(("count", "threads"), [(1, "8"), (2, "4"), (3, "2"), (9, "1")])
def test_workers_share_the_cores(count, threads, monkeypatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(8)), raising=False)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    names = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS")
    share = dict.fromkeys(names, threads)
    expected = {f"worker{number}": share for number in range(1, count + 1)}
    assert workers.divide_machine(count) == expected


@pytest.mark.parametrize(
    ("visible", "count", "expected"),
    [
        ("0,1", 2, ["0", "1"]),
        ("0,1,2,3", 2, ["0,2", "1,3"]),
        ("4,5,6", 2, ["4,6", "5"]),
        ("GPU-8932f937,GPU-91a2c3d4", 2, ["GPU-8932f937", "GPU-91a2c3d4"]),
        # Fewer GPUs than workers: they take turns.
        ("3", 2, ["3", "3"]),
        ("0,1", 3, ["0", "1", "0"]),
        ("", 2, [None, None]),
    ],
)
def test_workers_share_the_gpus_that_are_visible(visible, count, expected, monkeypatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    shares = list(workers.divide_machine(count).values())
    assert [share.get("CUDA_VISIBLE_DEVICES") for share in shares] == expected
    growing = {share.get("TF_FORCE_GPU_ALLOW_GROWTH") for share in shares}
    assert growing == ({"true"} if visible else {None})


def test_all_gpus_of_the_machine_are_visible_by_default(monkeypatch) -> None:
    names = ("nvidia0", "nvidia10", "nvidia2", "nvidiactl", "nvidia-uvm", "null")

    def glob(self: Path, pattern: str) -> list[Path]:
        return [self / name for name in fnmatch.filter(names, pattern)]

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(workers.Path, "glob", glob)
    # CUDA counts the three from 0.
    assert workers.visible_gpus() == ["0", "1", "2"]


def test_half_of_kerastuners_variables_is_a_user_error(monkeypatch) -> None:
    monkeypatch.setenv("KERASTUNER_ORACLE_IP", "127.0.0.1")
    with pytest.raises(UserError, match="must be set together; received no KERASTUNER_TUNER_ID"):
        workers.role()
