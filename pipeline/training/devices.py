"""Which devices train, with which tf.distribute strategy and in which precision."""

import functools
import platform
import signal
from pathlib import Path

import tensorflow as tf

from pipeline.config.config import Config
from pipeline.config.settings import parse_devices
from pipeline.errors import UserError
from pipeline.hosts.hosts import Hosts

BFLOAT16_MIN_WIDTH = 32
"""Below this many channels, conversions cost a CPU more than bfloat16 saves."""


def build_strategy(devices: str, hosts: Hosts | None = None) -> tf.distribute.Strategy:
    """Build the strategy for `--devices`: mirrored over several devices, else the default one.

    Devices that are not asked for are hidden from TensorFlow.

    Args:
        devices: as `--devices` writes them, of all hosts together.
        hosts: that share them; None: this one has them all.

    Raises:
        UserError: more GPUs than there are, or hosts that cannot share the devices.
    """
    hosts = hosts or Hosts()
    kind, count = parse_devices(devices)
    gpus = tf.config.list_physical_devices("GPU")
    if kind == "auto":
        kind, count = ("gpu", len(gpus)) if gpus else ("cpu", 1)
    else:
        count = _share(kind, count, hosts.count)
    if kind == "gpu" and count > len(gpus):
        raise UserError(
            f"--devices must name no more GPUs than TensorFlow sees, {len(gpus) * hosts.count}; "
            f"received {devices!r}"
        )
    tf.config.set_visible_devices(gpus[:count] if kind == "gpu" else [], "GPU")
    if hosts.count > 1:
        own = count if kind == "gpu" else 0
        hosts.agree({"number of GPUs": own})
        return _mirrored_over_hosts(hosts.cluster, hosts.index, own)
    if kind == "cpu":
        _split_cpu(count)
    if count == 1:
        return tf.distribute.get_strategy()
    return _mirrored(tuple(f"/{kind}:{index}" for index in range(count)))


@functools.cache
def _mirrored(devices: tuple[str, ...]) -> tf.distribute.MirroredStrategy:
    """Mirror over `devices`, by one strategy a process.

    A second one would number its collective operations from the start again, and TensorFlow
    takes operations of one number for the same.
    """
    return tf.distribute.MirroredStrategy(list(devices))


@functools.cache
def _mirrored_over_hosts(
    cluster: tuple[str, ...], index: int, gpus: int
) -> tf.distribute.MultiWorkerMirroredStrategy:
    """Mirror over all devices of the hosts at the addresses `cluster`, `gpus` on each or its CPU."""
    before = signal.getsignal(signal.SIGTERM)
    strategy = tf.distribute.MultiWorkerMirroredStrategy(
        tf.distribute.cluster_resolver.SimpleClusterResolver(
            tf.train.ClusterSpec({"worker": list(cluster)}),
            task_type="worker",
            task_id=index,
            num_accelerators={"GPU": gpus},
            rpc_layer="grpc",
        )
    )
    # TensorFlow's servers take SIGTERM for the notice of a machine that is taken away, and swallow it.
    signal.signal(signal.SIGTERM, before)
    return strategy


def _share(kind: str, count: int, hosts: int) -> int:
    """Return how many of `count` devices each host has.

    Raises:
        UserError: they do not divide, or a host of several would have more than one CPU.
    """
    if count % hosts:
        raise UserError(
            f"--devices must be a multiple of the {hosts} hosts; received {kind}:{count} for all of them"
        )
    if kind == "cpu" and 1 < hosts != count:
        raise UserError(
            f"--devices must be cpu:{hosts} where {hosts} hosts train on their CPUs; received cpu:{count}"
        )
    return count // hosts


def _split_cpu(count: int) -> None:
    """Present the CPU as `count` logical devices, so that mirroring can be tried without GPUs."""
    cpu = tf.config.list_physical_devices("CPU")[0]
    if len(tf.config.get_logical_device_configuration(cpu) or [None]) < count:
        devices = [tf.config.LogicalDeviceConfiguration() for _ in range(count)]
        tf.config.set_logical_device_configuration(cpu, devices)


def describe_devices(strategy: tf.distribute.Strategy) -> str:
    """Write the devices of a strategy as `--devices` takes them."""
    kind = "gpu" if tf.config.get_visible_devices("GPU") else "cpu"
    return f"{kind}:{strategy.num_replicas_in_sync}"


def choose_precision(config: Config, strategy: tf.distribute.Strategy) -> tuple[str, str]:
    """Return the Keras dtype policy for `--precision` and the reason.

    Raises:
        UserError: float16 over several devices, where an overflow on one goes unnoticed.
    """
    replicas = strategy.num_replicas_in_sync
    if config.run.precision != "auto":
        if config.run.precision == "mixed_float16" and replicas > 1:
            raise UserError(
                "--precision mixed_float16 needs a single device, because loss scaling watches "
                f"only the first; received {replicas} devices (use mixed_bfloat16)"
            )
        return config.run.precision, "as asked"
    gpus = tf.config.get_visible_devices("GPU")
    if gpus:
        if gpu_computes_bfloat16(gpus[0]):
            return "mixed_bfloat16", "the GPU computes bfloat16"
        return "float32", "the GPU does not compute bfloat16"
    if not cpu_computes_bfloat16():
        return "float32", "the CPU does not compute bfloat16"
    if config.model.width < BFLOAT16_MIN_WIDTH:
        return "float32", f"bfloat16 pays on a CPU from width {BFLOAT16_MIN_WIDTH}"
    return "mixed_bfloat16", "the CPU computes bfloat16"


def choose_teacher_precision(config: Config) -> str:
    """Return the Keras dtype policy for `--teacher-precision`.

    A network that only answers is faster in bfloat16 at any width, where the device computes it.
    """
    asked = config.transfer.teacher_precision
    if asked != "auto":
        return asked
    gpus = tf.config.get_visible_devices("GPU")
    computes = gpu_computes_bfloat16(gpus[0]) if gpus else cpu_computes_bfloat16()
    return "mixed_bfloat16" if computes else "float32"


def gpu_computes_bfloat16(gpu: tf.config.PhysicalDevice) -> bool:
    """Whether the GPU is of compute capability 8 or later."""
    capability = tf.config.experimental.get_device_details(gpu).get("compute_capability", (0,))
    return capability[0] >= 8


def cpu_computes_bfloat16() -> bool:
    """Whether the processor has AMX or AVX-512 instructions for bfloat16 (known on Linux only)."""
    cpu_info = Path("/proc/cpuinfo")
    if platform.system() != "Linux" or not cpu_info.exists():
        return False
    words = set(cpu_info.read_text().split())
    return bool(words & {"amx_bf16", "avx512_bf16"})
