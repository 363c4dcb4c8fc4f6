"""Which hosts train a run, and which of them this process is: from flags, TF_CONFIG or Slurm."""

import json
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pipeline.config.settings import parse_devices
from pipeline.errors import UserError, received

SLURM = "slurm"
"""What `--hosts` takes in place of addresses: those that Slurm's variables tell."""

MAX_HOSTS = 1024

FIRST_PORT = 8888
"""On each node that Slurm names, and those after it where a node has several hosts."""


@dataclass(frozen=True)
class Addresses:
    """Where the hosts of a run listen.

    Attributes:
        hosts: `name:port` of each; the first is the chief's, which alone writes the run directory.
        index: this process's place among them.
    """

    hosts: tuple[str, ...]
    index: int

    def __post_init__(self) -> None:
        for address in self.hosts:
            name, _, port = address.rpartition(":")
            # The digits are counted first: Python refuses to read thousands of them.
            if not name or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) < 2**16:
                raise UserError(
                    "--hosts must be NAME:PORT of each host, with commas between them, or slurm; "
                    f"received {received(address)}"
                )
        if len(set(self.hosts)) < len(self.hosts):
            twice = next(host for host in self.hosts if self.hosts.count(host) > 1)
            raise UserError(f"--hosts must name each host once; received {twice} twice")
        if not 1 <= len(self.hosts) <= MAX_HOSTS:
            raise UserError(f"--hosts must be 1 to {MAX_HOSTS:,} hosts; received {len(self.hosts):,}")
        if not 0 <= self.index < len(self.hosts):
            raise UserError(
                f"--host-index must be the place of this host among the {len(self.hosts)}, from 0; "
                f"received {self.index}"
            )


def spread_devices(devices: str, hosts: int) -> str:
    """Return what a run that goes on takes of several hosts: as many devices as before, where that can be."""
    kind, count = parse_devices(devices)
    if kind == "cpu":
        return f"cpu:{hosts}"
    return "auto" if count % hosts else devices


def find_addresses(hosts: str | None, index: int | None) -> Addresses | None:
    """Find the hosts that flags name, else TF_CONFIG; None where this process trains alone.

    Args:
        hosts: of `--hosts`, where it is given.
        index: of `--host-index`, where it is given.

    Raises:
        UserError: they cannot be understood, or something is missing.
    """
    if hosts is None:
        if index is not None:
            raise UserError(f"--host-index needs --hosts; received --host-index {index}")
        found = _from_tf_config(os.environ.get("TF_CONFIG", ""))
    elif hosts == SLURM:
        if index is not None:
            raise UserError(f"--hosts slurm knows the index; received --host-index {index}")
        found = _from_slurm(os.environ)
    elif index is None:
        raise UserError(
            "--hosts needs --host-index, the place of this host among them, from 0; received none"
        )
    else:
        found = Addresses(tuple(host.strip() for host in hosts.split(",")), index)
    return found if found and len(found.hosts) > 1 else None


def _from_tf_config(text: str) -> Addresses | None:
    """Read TensorFlow's own variable: a cluster of a chief and workers, and this process's task.

    Source: "Distributed training with Keras", tensorflow.org, section "Multi-worker configuration".
    """
    if not text.strip():
        return None
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chief, workers = cluster.get("chief", []), cluster.get("worker", [])
        others = sorted(cluster.keys() - {"chief", "worker"})
        hosts = (*chief, *workers)
        if not all(isinstance(host, str) for host in hosts):
            raise TypeError
        place = int(task.get("index", 0)) + (len(chief) if task.get("type") == "worker" else 0)
    except (ValueError, TypeError, AttributeError):
        raise UserError(
            'TF_CONFIG must be {"cluster": {"worker": ["NAME:PORT", ...]}, "task": {"type": "worker", '
            f'"index": I}}}}; received {received(text)}'
        ) from None
    if len(hosts) < 2:
        return None
    if others or task.get("type") not in ("chief", "worker"):
        what = f"the jobs {', '.join(others)}" if others else f"a task of type {received(task.get('type'))}"
        raise UserError(
            f"TF_CONFIG must have a chief and workers alone, of which this is one; received {what}"
        )
    return Addresses(hosts, place)


def _from_slurm(variables: Mapping[str, str]) -> Addresses:
    """Ask TensorFlow what Slurm's variables mean, which describe a step that `srun` began."""
    needed = ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_STEP_NODELIST", "SLURM_STEP_TASKS_PER_NODE")
    if missing := [name for name in needed if not variables.get(name)]:
        raise UserError(f"--hosts slurm must be started by srun; received no {missing[0]}")
    import tensorflow as tf

    tasks = int(variables["SLURM_STEP_NUM_TASKS"])
    try:
        # With as many "GPUs" as tasks, lest it divides by none on nodes that have none.
        resolver = tf.distribute.cluster_resolver.SlurmClusterResolver(
            port_base=FIRST_PORT, gpus_per_node=tasks, gpus_per_task=1, auto_set_gpu=False
        )
        found = Addresses(tuple(resolver.cluster_spec().as_dict()["worker"]), resolver.get_task_info()[1])
    except (ValueError, RuntimeError, AssertionError) as error:
        raise UserError(f"Slurm's variables must describe a step of srun; {error}") from None
    node = variables.get("SLURMD_NODENAME")
    resolved = found.hosts[found.index].rpartition(":")[0]
    if node and node != resolved:
        # The resolver sorts names as text: node10 comes before node9.
        raise UserError(
            f"--hosts slurm needs nodes whose names sort as Slurm numbers them; task {found.index} is on "
            f"{node}, not on {resolved} (name them by --hosts and --host-index $SLURM_PROCID)"
        )
    return found
