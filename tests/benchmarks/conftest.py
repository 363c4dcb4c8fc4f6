"""A benchmark in this process, which has TensorFlow loaded: in one of its own that takes seconds."""

import pickle
import sys
from collections.abc import Callable
from concurrent.futures import Future
from typing import Self

import pytest

from benchmarks import measure, networks


class ThisProcess:
    """Stand in for `own_process`; in the main thread, where training takes signals."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def submit(self, function: Callable, *arguments: object) -> Future:
        future = Future()
        future.set_result(function(*arguments))
        return future


def take_turns_here(contenders, rounds):
    """Stand in for `measure_in_turns`; what it takes must find its way into a process all the same."""
    contenders = pickle.loads(pickle.dumps(contenders))
    measures = {name: build(*given) for name, (build, given) in contenders.items()}
    return {name: [measure() for _ in range(rounds)] for name, measure in measures.items()}


@pytest.fixture
def same_torch_threads():
    """Leave PyTorch the threads that it had."""
    if not measure.find_spec("torch"):
        yield
        return
    import torch

    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


@pytest.fixture
def run_here(monkeypatch, capsys, same_torch_threads) -> Callable[..., tuple[int, str, str]]:
    """Run a benchmark here; return its exit code, stdout and stderr."""

    def run(benchmark, arguments, take_turns=take_turns_here):
        words = arguments.split()
        monkeypatch.setattr(benchmark, "measure_in_turns", take_turns)
        monkeypatch.setattr(benchmark, "own_process", ThisProcess, raising=False)
        monkeypatch.setattr(sys, "argv", [benchmark.__name__, *words])
        try:
            code = benchmark.main(words) if benchmark is networks else benchmark.main()
        except SystemExit as ended:
            code = ended.code
        return code or 0, *capsys.readouterr()

    return run
