"""How a .tflite file is measured: clock, process, memory, and what the delegate takes."""

import subprocess
import sys
from itertools import count, cycle, islice
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from pipeline.tflite import interpreter as engine
from pipeline.tflite import latency as benchmark
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import measure_file, measure_here, time_in_turns, time_runs
from tests.commands import ROOT

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 8, 3), np.uint8)
UNITS = 4096


@pytest.fixture(scope="module")
def interrupted(converter_of) -> TFLiteFile:
    """A network with two operations, a flip and a sum, that XNNPACK leaves to others."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    stem = layers.Conv2D(4, 3, padding="same", name="stem_conv")(pixels)
    x = keras.ops.flip(stem, 1)
    x = layers.Conv2D(4, 3, padding="same", name="block_conv")(x)
    x = keras.ops.cumsum(layers.Add(name="add")([x, stem]), -1)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    network = keras.Model(pixels, layers.Dense(5, name="head")(x), name="net")
    return converter_of(network).float32()


@pytest.fixture
def file(interrupted, tmp_path) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(interrupted.content)
    return path


@pytest.fixture(scope="module")
def heavy(converter_of) -> TFLiteFile:
    """A network of 3 MiB of weights and nothing else."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = layers.Dense(UNITS, name="head")(layers.Flatten(name="flatten")(pixels))
    return converter_of(keras.Model(pixels, x, name="net")).float32()


class Clock:
    """Time that passes only while the network runs; powers of two, so that sums are exact."""

    def __init__(self, monkeypatch, seconds) -> None:
        self.now, self.seconds, self.seen = 0.0, seconds, []
        monkeypatch.setattr(benchmark.time, "perf_counter", lambda: self.now)

    def run(self, encoded) -> None:
        self.now += next(self.seconds)
        self.seen.append(encoded)


@pytest.mark.parametrize(
    ("duration", "runs"),
    # Ended by 1 s, by 200 runs, by 10 s, by 50 runs, by 30 s.
    [(2**-10, 1024), (2**-7, 200), (2**-3, 80), (2**-1, 50), (4.0, 8)],
)
def test_a_measurement_ends_when_runs_suffice(duration, runs, monkeypatch):
    clock = Clock(monkeypatch, cycle([duration]))
    assert time_runs(clock.run, count(), seconds=1.0) == [duration] * runs


def test_warm_up_is_not_timed_and_inputs_take_turns(monkeypatch):
    warm_up = [8.0] * benchmark.WARM_UP_RUNS
    clock = Clock(monkeypatch, iter([*warm_up, *[0.25, 0.5] * 100]))
    inputs = cycle("abc")
    times = time_runs(clock.run, inputs, seconds=2.0)
    assert times == ([0.25, 0.5] * 100)[: len(times)]
    assert clock.seen == list(islice(cycle("abc"), len(clock.seen)))
    assert len(clock.seen) == len(warm_up) + len(times)


def test_figures_are_of_the_runs(file, monkeypatch):
    milliseconds = np.arange(1, 101)[::-1]
    monkeypatch.setattr(benchmark, "time_runs", lambda *_: list(milliseconds / 1000))
    latency = measure_here(file, IMAGES, threads=1, seconds=1.0)
    figures = latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms
    # Between the 100 values 1 .. 100 a share p lies at 1 + 99 p; rounding is all that differs.
    assert figures == pytest.approx((50.5, 90.1, 95.05, 99.01), rel=1e-12)
    # Their sum is 100 x 101 / 2 ms.
    assert latency.images_per_second == pytest.approx(100 / 5.050, rel=1e-12)
    assert (latency.runs, latency.threads) == (100, 1)


def test_images_take_turns_as_the_file_takes_them(file, monkeypatch):
    seen = []

    def take_four(run, inputs, seconds):
        seen.extend(islice(inputs, 4))
        return [1.0]

    monkeypatch.setattr(benchmark, "time_runs", take_four)
    measure_here(file, IMAGES, threads=1, seconds=1.0)
    expected = IMAGES[[0, 1, 2, 0]][:, None].astype(np.float32)
    np.testing.assert_array_equal(seen, expected)


def holds_no_data(interpreter, tensor) -> bool:
    """Tell a tensor inside a delegate, which LiteRT gives no memory."""
    try:
        interpreter.get_tensor(tensor)
    except ValueError:
        return True
    return False


def test_delegated_operations_are_those_whose_results_litert_does_not_hold(interrupted):
    graph = interrupted.graph
    interpreter = Interpreter(model_content=interrupted.content)
    interpreter.allocate_tensors()
    interpreter.invoke()
    inside = [holds_no_data(interpreter, step.output.index) for step in graph.operations]
    # Conv | flip | conv, add | cumsum | mean, head: three parts, and each gives one result.
    operations = len(graph.operations)
    assert engine.Interpreter(interrupted.content).count_delegated() == (sum(inside) + 3, operations)
    assert sum(inside) + 3 == operations - 2


def test_without_a_delegate_none_is_delegated(interrupted):
    loaded = engine.Interpreter(interrupted.content, keep_tensors=True)
    assert loaded.count_delegated() == (0, len(interrupted.graph.operations))


def test_a_file_is_measured_in_a_fresh_process(heavy):
    weights = 8 * 8 * 3 * UNITS * 4
    latency = measure_file(heavy, IMAGES, threads=2, seconds=0.01)
    assert latency.threads == 2
    assert latency.runs >= 50
    assert 0 < latency.p50_ms <= latency.p90_ms <= latency.p95_ms <= latency.p99_ms
    assert latency.cold_start_ms > 0
    assert (latency.delegated, latency.operations) == (len(heavy.graph.operations),) * 2
    if latency.peak_memory_bytes is not None:
        # The file and the copy that XNNPACK packs; code of LiteRT that is first used, a few MiB.
        # TensorFlow, which this process holds, would be hundreds.
        assert weights < latency.peak_memory_bytes < 2 * weights + 16 * 2**20


def test_files_are_timed_in_turns(interrupted, heavy, monkeypatch):
    monkeypatch.setattr(benchmark, "ROUNDS", 3)
    rounds = list(time_in_turns([(interrupted, IMAGES), (heavy, IMAGES)], threads=1, seconds=0.01))
    assert len(rounds) == 3
    # Three MiB of weights beside a few hundred, forwards and backwards.
    assert all(small < large for small, large in rounds)


def test_peak_memory_is_unknown_where_the_system_does_not_tell(file, monkeypatch):
    monkeypatch.setattr(benchmark, "STATUS", file.with_name("none"))
    monkeypatch.setattr(benchmark, "time_runs", lambda *_: [1.0])
    assert measure_here(file, IMAGES, threads=1, seconds=1.0).peak_memory_bytes is None


def test_the_fresh_process_starts_without_tensorflow():
    code = "import pipeline.tflite.latency, sys; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
