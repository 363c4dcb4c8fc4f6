"""Devices, strategies and precision, on hardware that is made up."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.errors import UserError
from pipeline.hosts.hosts import Hosts
from pipeline.training import devices as distribution
from pipeline.training.devices import (
    build_strategy,
    choose_precision,
    choose_teacher_precision,
    cpu_computes_bfloat16,
    describe_devices,
)
from tests.commands import ROOT


@pytest.fixture
def processor(tmp_path, monkeypatch):
    """Make up a processor: its system, and the flags that Linux tells, None where it tells nothing."""

    def make(system: str, flags: str | None) -> None:
        cpu_info = tmp_path / "cpuinfo"
        if flags is not None:
            cpu_info.write_text(f"model name\t: some processor\nflags\t\t: {flags}\n")
        monkeypatch.setattr(distribution, "Path", lambda path: cpu_info)
        monkeypatch.setattr(distribution.platform, "system", lambda: system)

    return make


@pytest.fixture
def hardware(monkeypatch, processor):
    """Make up a machine as TensorFlow sees it: its GPUs and what they and the CPU compute."""
    made = SimpleNamespace(gpus=[], details={}, visible=None, mirrored=None)

    def hide(devices, kind):
        assert kind == "GPU"
        made.visible = devices

    def mirror(devices):
        made.mirrored = devices
        return SimpleNamespace(num_replicas_in_sync=len(devices))

    config = SimpleNamespace(
        list_physical_devices=lambda kind: made.gpus if kind == "GPU" else ["CPU"],
        get_logical_device_configuration=lambda cpu: [None, None],
        set_visible_devices=hide,
        get_visible_devices=lambda kind: made.gpus if made.visible is None else made.visible,
        experimental=SimpleNamespace(get_device_details=lambda gpu: made.details),
    )
    distribute = SimpleNamespace(MirroredStrategy=mirror, get_strategy=tf.distribute.get_strategy)
    monkeypatch.setattr(distribution, "tf", SimpleNamespace(config=config, distribute=distribute))
    # Made-up strategies must not stay in the cache for other tests.
    monkeypatch.setattr(distribution, "_mirrored", distribution._mirrored.__wrapped__)

    def make(gpus: int = 0, capability: tuple[int, int] | None = (8, 0), cpu_bfloat16: bool = False):
        made.gpus = [f"GPU {index}" for index in range(gpus)]
        made.details = {"compute_capability": capability} if capability else {}
        processor("Linux", "amx_bf16" if cpu_bfloat16 else "avx2")
        return made

    return make


@pytest.mark.parametrize(
    ("devices", "gpus", "visible", "mirrored", "described"),
    [
        ("auto", 0, 0, None, "cpu:1"),
        ("auto", 1, 1, None, "gpu:1"),
        ("auto", 3, 3, ["/gpu:0", "/gpu:1", "/gpu:2"], "gpu:3"),
        ("gpu", 3, 1, None, "gpu:1"),
        ("gpu:2", 3, 2, ["/gpu:0", "/gpu:1"], "gpu:2"),
        ("cpu", 3, 0, None, "cpu:1"),
        ("cpu:1", 0, 0, None, "cpu:1"),
        ("cpu:2", 3, 0, ["/cpu:0", "/cpu:1"], "cpu:2"),
    ],
)
def test_strategies(hardware, devices, gpus, visible, mirrored, described):
    machine = hardware(gpus)
    strategy = build_strategy(devices)
    assert machine.visible == machine.gpus[:visible]
    assert machine.mirrored == mirrored
    if mirrored is None:
        assert strategy is tf.distribute.get_strategy()
    assert describe_devices(strategy) == described
    machine.mirrored = None
    # What is recorded builds the same again, on a resume.
    assert build_strategy(described).num_replicas_in_sync == strategy.num_replicas_in_sync
    assert machine.mirrored == mirrored


@pytest.mark.parametrize(("devices", "gpus"), [("gpu", 0), ("gpu:2", 1), ("gpu:4", 3)])
def test_more_gpus_than_there_are(hardware, devices, gpus):
    hardware(gpus)
    with pytest.raises(UserError) as error:
        build_strategy(devices)
    assert str(error.value) == (
        f"--devices must name no more GPUs than TensorFlow sees, {gpus}; received {devices!r}"
    )


@pytest.mark.parametrize(
    ("devices", "rule"),
    [
        ("cpu:3", "--devices must be a multiple of the 2 hosts; received cpu:3 for all of them"),
        ("cpu:4", "--devices must be cpu:2 where 2 hosts train on their CPUs; received cpu:4"),
        ("gpu:4", "--devices must name no more GPUs than TensorFlow sees, 2; received 'gpu:4'"),
    ],
)
def test_devices_that_hosts_cannot_share(hardware, devices, rule):
    hardware(1)
    with pytest.raises(UserError) as error:
        build_strategy(devices, Hosts(("a:1", "b:1")))
    assert str(error.value) == rule


THREE_CPUS = """
from pipeline.console.quiet_start import load_tensorflow_quietly
load_tensorflow_quietly()
import tensorflow as tf
from pipeline.training.devices import build_strategy
strategy = build_strategy("cpu:3")
print(strategy.num_replicas_in_sync, *(cpu.name for cpu in tf.config.list_logical_devices("CPU")))
"""


def test_a_cpu_becomes_as_many_devices_as_asked():
    done = subprocess.run(
        [sys.executable, "-c", THREE_CPUS], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3 /device:CPU:0 /device:CPU:1 /device:CPU:2\n"


@pytest.mark.parametrize(
    ("asked", "width", "machine", "policy", "reason"),
    [
        ("float32", 64, {"gpus": 1}, "float32", "as asked"),
        ("mixed_float16", 64, {"gpus": 1}, "mixed_float16", "as asked"),
        ("mixed_bfloat16", 16, {}, "mixed_bfloat16", "as asked"),
        ("auto", 64, {"gpus": 1}, "mixed_bfloat16", "the GPU computes bfloat16"),
        ("auto", 16, {"gpus": 1, "capability": (9, 0)}, "mixed_bfloat16", "the GPU computes"),
        ("auto", 64, {"gpus": 1, "capability": (7, 5)}, "float32", "the GPU does not compute"),
        ("auto", 64, {"gpus": 1, "capability": None}, "float32", "the GPU does not compute"),
        ("auto", 64, {}, "float32", "the CPU does not compute bfloat16"),
        ("auto", 32, {"cpu_bfloat16": True}, "mixed_bfloat16", "the CPU computes bfloat16"),
        ("auto", 31, {"cpu_bfloat16": True}, "float32", "bfloat16 pays on a CPU from width 32"),
        ("auto", 64, {"gpus": 1, "capability": (7, 0), "cpu_bfloat16": True}, "float32", "the GPU"),
    ],
)
def test_precision(hardware, asked, width, machine, policy, reason):
    hardware(**machine)
    config = Config().with_values({"precision": asked, "width": width})
    received = choose_precision(config, SimpleNamespace(num_replicas_in_sync=1))
    assert received[0] == policy
    assert received[1].startswith(reason)


@pytest.mark.parametrize(
    ("asked", "machine", "policy"),
    [
        ("auto", {"cpu_bfloat16": True}, "mixed_bfloat16"),
        ("auto", {}, "float32"),
        ("auto", {"gpus": 1}, "mixed_bfloat16"),
        ("auto", {"gpus": 1, "capability": (7, 5), "cpu_bfloat16": True}, "float32"),
        ("float32", {"cpu_bfloat16": True}, "float32"),
    ],
)
def test_precision_of_a_teacher(hardware, asked, machine, policy):
    hardware(**machine)
    config = Config().with_values({"teacher": "run", "teacher_precision": asked, "width": 8})
    assert choose_teacher_precision(config) == policy


def test_float16_needs_a_single_device(hardware):
    hardware(2)
    config = Config().with_values({"precision": "mixed_float16"})
    with pytest.raises(UserError, match=r"needs a single device, .* received 2 devices"):
        choose_precision(config, SimpleNamespace(num_replicas_in_sync=2))


@pytest.mark.parametrize(
    ("system", "flags", "expected"),
    [
        ("Linux", "fpu amx_bf16 avx2", True),
        ("Linux", "fpu avx512_bf16", True),
        ("Linux", "fpu avx2 avx512f not_avx512_bf16", False),
        ("Linux", None, False),
        ("Darwin", "fpu amx_bf16", False),
    ],
)
def test_which_processors_compute_bfloat16(processor, system, flags, expected):
    processor(system, flags)
    assert cpu_computes_bfloat16() is expected
