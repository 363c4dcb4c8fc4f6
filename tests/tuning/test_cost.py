"""Costs and limits against He's table by hand, on the embedded digits."""

import dataclasses
import functools
import json
import multiprocessing
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from pipeline.config.config import Config
from pipeline.data.prepare import PixelStatistics
from pipeline.errors import UserError
from pipeline.tflite.file import TFLiteFile
from pipeline.training.networks import build_deployed_network
from pipeline.training.resolve import Ground, prepare_ground
from tests.commands import ROOT
from tuning import cost
from tuning.cost import IMAGES, Architecture, Cost, Costs
from tuning.space.limits import Limits

CLASSES = 10
CONFIG = Config().with_values({"data": "digits", "width": 4, "devices": "cpu"})
BYTES, LATENCY = 2345, 1.5
"""What the doubles of conversion and clock say."""

BUILD = functools.cache(build_deployed_network)
"""Nothing here changes a network, and building takes a while."""


@pytest.fixture(scope="module")
def ground() -> Ground:
    return prepare_ground(CONFIG)


@pytest.fixture
def path(tmp_path) -> Path:
    return tmp_path / "costs.json"


@pytest.fixture
def measured(monkeypatch) -> list[SimpleNamespace]:
    """Put doubles in place of conversion and clock; list what they were asked for."""
    monkeypatch.setattr(cost, "build_deployed_network", BUILD)
    calls = []

    def preview(network, images):
        calls.append(SimpleNamespace(network=network, images=images))
        return TFLiteFile(bytes(BYTES))

    def measure(file, images, threads):
        assert file.size == BYTES
        calls[-1].timed = images, threads
        # Each measurement of a real clock gives another figure.
        return SimpleNamespace(p50_ms=LATENCY + len(calls) - 1)

    monkeypatch.setattr(cost, "preview_int8", preview)
    monkeypatch.setattr(cost, "measure_file", measure)
    return calls


def counts_by_table(width: int, pixels: int = 8) -> tuple[int, int]:
    """ResNet-18 behind a 3x3 stem on 8 x 8 or other pixels (He et al. 2015, table 1).

    Returns:
        Parameters and multiply-adds.
    """
    convolutions = [(3, 3, width, pixels)]  # kernel size, channels in, channels out, size out
    for stage, size in enumerate((pixels, pixels // 2, pixels // 4, pixels // 8)):
        out = width * 2**stage
        convolutions += [(3, out, out, size)] * (4 if stage == 0 else 3)
        if stage:
            convolutions += [(3, out // 2, out, size), (1, out // 2, out, size)]
    kernels = [kernel**2 * c_in * c_out for kernel, c_in, c_out, _ in convolutions]
    norms = sum(2 * c_out for _, _, c_out, _ in convolutions)
    head = 8 * width * CLASSES
    adds = sum(k * size**2 for k, (*_, size) in zip(kernels, convolutions, strict=True))
    return sum(kernels) + norms + head + CLASSES, adds + head


def test_a_real_network_is_counted_converted_and_timed(ground, path):
    found = Costs(path, ground).of(CONFIG)
    parameters, adds = counts_by_table(width=4)
    assert (found.parameters, found.multiply_adds) == (parameters, adds)
    # A byte a weight at least; beside them 84 tensors, each with its name of at most 200 bytes, a
    # header of fewer than 200, and for each of at most 32 channels a scale and a zero point.
    assert parameters < found.int8_bytes < parameters + 84 * (200 + 200 + 32 * (4 + 8))
    # Nobody asked for the arena, whose measurement takes a process.
    assert found.arena_kib is None
    # Faster than a multiply-add a nanosecond on any machine, slower than a thousand.
    assert adds / 1000 < found.latency_ms * 1e6 < 1000 * adds


def test_real_images_of_train_are_used_on_one_thread(ground, path, measured):
    found = Costs(path, ground).of(CONFIG)
    (call,) = measured
    rows = ground.data.splits.train[:IMAGES]
    expected = ground.data.source.images.images[rows]
    np.testing.assert_array_equal(call.images, expected)
    np.testing.assert_array_equal(call.timed[0], expected)
    assert call.timed[1] == 1
    assert call.network.input_shape == (None, 8, 8, 3)
    assert found == Cost(*counts_by_table(width=4), BYTES, LATENCY)


SAME = {"dropout": 0.5, "zero_init": True, "stem": "cifar", "image_size": 8, "seed": 3, "epochs": 7}


def test_an_architecture_is_measured_once(ground, path, measured):
    costs = Costs(path, ground)
    first = costs.of(CONFIG)
    for name, value in SAME.items():
        assert costs.of(CONFIG.with_values({name: value})) == first
    assert len(measured) == 1
    wider = costs.of(CONFIG.with_values({"width": 5}))
    assert len(measured) == 2
    assert (wider.parameters, wider.multiply_adds) == counts_by_table(width=5)


def test_each_size_of_the_images_has_its_own_costs(ground, path, measured):
    costs, larger = Costs(path, ground), CONFIG.with_values({"image_size": 16})
    counts = counts_by_table(width=4, pixels=16)
    assert counts[1] > counts_by_table(width=4)[1]
    costs.of(CONFIG)
    assert costs.of(larger) == Cost(*counts, BYTES, LATENCY + 1)
    assert [call.images.shape for call in measured] == [(IMAGES, size, size, 3) for size in (8, 16)]
    assert [call.network.input_shape for call in measured] == [(None, size, size, 3) for size in (8, 16)]
    assert measured[1].timed[0] is measured[1].images
    limits = Limits(max_mac=counts[1] - 1)
    assert costs.exceeded(CONFIG, limits) is None
    assert costs.exceeded(larger, limits) == (
        f"{counts[1]:,} multiply-adds, more than --max-mac {counts[1] - 1:,}"
    )


def test_all_are_measured_once_and_written_one_by_one(ground, path, measured, monkeypatch):
    configs = [CONFIG.with_values({"width": width}) for width in (4, 5, 6, 6)]
    costs, measure = Costs(path, ground), cost.measure_file
    costs.of(configs[1])

    def killed_at_the_third(file, images, threads):
        if len(measured) == 3:
            raise KeyboardInterrupt
        return measure(file, images, threads)

    with monkeypatch.context() as dying:
        dying.setattr(cost, "measure_file", killed_at_the_third)
        with pytest.raises(KeyboardInterrupt):
            costs.measure_all(configs, 1)
    assert len(json.loads(path.read_text())) == 2
    again = Costs(path, ground)
    again.measure_all(configs, 1)
    # Widths 5, 4 and 6, this one twice, as it was not written down.
    assert [call.network.name for call in measured] == ["resnet18"] * 4
    assert len(json.loads(path.read_text())) == 3
    assert again.of(configs[0]).latency_ms == LATENCY + 1
    again.measure_all(configs, 1)
    assert len(measured) == 4


def test_what_cannot_be_measured_is_told_by_whoever_asks_for_it(ground, path, measured, monkeypatch):
    monkeypatch.setattr(cost, "measure_arena", lambda file: "no kernel for FILL")
    costs = Costs(path, ground, with_arena=True)
    costs.measure_all([CONFIG], 1)
    with pytest.raises(UserError, match="received no kernel for FILL"):
        costs.of(CONFIG)


def cpu_ticks(process: multiprocessing.Process) -> int:
    """User and system time of a process, in the system's ticks (proc(5), fields 14 and 15)."""
    return sum(map(int, Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[11:13]))


def test_files_are_made_side_by_side_and_timed_alone(ground, path, monkeypatch):
    widths, timed = range(2, 2 + 2 * cost.FILES_A_PROCESS), []
    configs = [CONFIG.with_values({"model": "mlp", "width": width}) for width in widths]

    def measure(file, images, threads):
        others = multiprocessing.active_children()
        before = list(map(cpu_ticks, others))
        time.sleep(0.5)
        timed.append([now - then for now, then in zip(map(cpu_ticks, others), before, strict=True)])
        return SimpleNamespace(p50_ms=LATENCY)

    monkeypatch.setattr(cost, "measure_file", measure)
    costs = Costs(path, ground)
    costs.measure_all(configs, 2)
    # A file of two threads that compute would take 50 ticks; a thread that only wakes up takes none.
    assert len(timed) == len(widths)
    assert all(len(ticks) == 2 and max(ticks) <= 2 for ticks in timed)
    assert multiprocessing.active_children() == []
    assert len(json.loads(path.read_text())) == len(widths)
    alone = Costs(path.with_name("alone.json"), ground)
    assert alone.of(configs[-1]) == costs.of(configs[-1])


def test_every_other_setting_of_the_model_tells_architectures_apart():
    settings = {field.name for field in dataclasses.fields(CONFIG.model)} - {"dropout", "zero_init"}
    names = Architecture(CONFIG, CLASSES, PixelStatistics((0, 0, 0), (1, 1, 1))).name
    assert all(f"{name} {CONFIG.values()[name]}" in names for name in {*settings, "image_size"})
    assert "dropout" not in names
    assert "zero_init" not in names


def test_a_search_goes_on_with_the_same_figures(ground, path, measured):
    configs = [CONFIG, CONFIG.with_values({"width": 5})]
    first = [Costs(path, ground).of(config) for config in configs]
    assert first[0] != first[1]
    again = Costs(path, ground)
    assert [again.of(config) for config in configs] == first
    assert len(measured) == 2


@pytest.mark.parametrize(
    "content", ["", '{"a": {"param', "[]", "3", '{"a": 1}', '{"a": {"parameters": 1}}', "\xff"]
)
def test_a_damaged_file_is_measured_anew(content, ground, path, measured):
    path.write_text(content, encoding="latin-1")
    found = Costs(path, ground).of(CONFIG)
    assert found.int8_bytes == BYTES
    assert Costs(path, ground).of(CONFIG) == found
    assert len(measured) == 1
    assert list(json.loads(path.read_text()).values()) == [dataclasses.asdict(found)]


PARAMETERS, ADDS = counts_by_table(width=4)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Limits(max_parameters=1000), f"{PARAMETERS:,} parameters, more than --max-parameters 1,000"),
        (Limits(max_mac=ADDS - 1), f"{ADDS:,} multiply-adds, more than --max-mac {ADDS - 1:,}"),
        (Limits(max_bytes_int8=2344), "2,345 bytes in int8, more than --max-bytes-int8 2,344"),
        (Limits(max_latency_ms=0.1), "1.5 ms an image, more than --max-latency-ms 0.1"),
        (Limits(max_latency_ms=1.4), "1.5 ms an image, more than --max-latency-ms 1.4"),
    ],
)
def test_a_broken_limit_is_told_with_both_figures(limits, expected, ground, path, measured):
    assert Costs(path, ground).exceeded(CONFIG, limits) == expected


def test_the_arena_is_measured_where_it_has_a_limit(ground, path, measured, monkeypatch):
    Costs(path, ground).of(CONFIG)
    monkeypatch.setattr(cost, "measure_arena", lambda file: 20 * 1024)
    # What was known without it is measured again.
    costs = Costs(path, ground, with_arena=True)
    assert costs.of(CONFIG).arena_kib == 20
    assert costs.exceeded(CONFIG, Limits(max_arena_kib=20)) is None
    assert costs.exceeded(CONFIG, Limits(max_arena_kib=19.5)) == (
        "20.0 KiB of arena, more than --max-arena-kib 19.5"
    )
    assert len(measured) == 2


def test_a_file_that_does_not_run_there_is_refused_with_the_reason(ground, path, measured, monkeypatch):
    monkeypatch.setattr(cost, "measure_arena", lambda file: "no kernel for FILL")
    with pytest.raises(UserError, match=r"^--max-arena-kib needs a file .* received no kernel for FILL$"):
        Costs(path, ground, with_arena=True).of(CONFIG)


def test_a_limit_that_is_met_exactly_is_kept(ground, path, measured):
    limits = Limits(PARAMETERS, ADDS, BYTES, LATENCY)
    assert Costs(path, ground).exceeded(CONFIG, limits) is None
    assert len(measured) == 1


@pytest.mark.parametrize(
    "limits",
    [
        Limits(),
        Limits(max_parameters=PARAMETERS, max_mac=ADDS),
        Limits(max_parameters=PARAMETERS - 1, max_bytes_int8=1),
        Limits(max_mac=ADDS - 1, max_latency_ms=0.001),
    ],
    ids=["none", "others not set", "parameters decide", "multiply-adds decide"],
)
def test_nothing_is_converted_in_vain(limits, ground, path, measured):
    Costs(path, ground).exceeded(CONFIG, limits)
    assert measured == []
    assert not path.exists()


def test_a_network_is_counted_once(ground, path, measured):
    costs, before = Costs(path, ground), BUILD.cache_info()
    for _ in range(3):
        costs.exceeded(CONFIG, Limits(max_parameters=1))
    now = BUILD.cache_info()
    assert now.hits + now.misses == before.hits + before.misses + 1


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_any_limit_is_one(name):
    assert not Limits().is_set
    assert Limits(**{name: 1}).is_set


def test_limits_are_known_without_tensorflow():
    code = "import tuning.space.limits, sys; print({'tensorflow', 'keras', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
