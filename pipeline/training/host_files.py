"""What the chief's run directory holds of an unfinished run, told to the other hosts; and who is missing."""

import contextlib
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import tensorflow as tf

from pipeline.files.whole import write_whole
from pipeline.hosts.hosts import Hosts
from pipeline.run_directory import RunDirectory


def share_files(directory: RunDirectory, hosts: Hosts) -> None:
    """Copy what a run goes on from into the directories of the other hosts.

    Raises:
        HostLost: the chief has gone.
    """
    if hosts.count == 1:
        return
    files = [directory.config, directory.splits, directory.weights, directory.teacher, directory.metrics]
    names = [str(path.relative_to(directory.path)) for path in files if path.exists()]
    names += [str(path.relative_to(directory.path)) for path in directory.checkpoints.glob("*.npz")]
    for name in hosts.tell(names):
        path = directory.path / name
        content = hosts.tell_bytes(path.read_bytes() if hosts.is_chief else b"")
        if not hosts.is_chief:
            write_whole(path, partial(Path.write_bytes, data=content))


@contextlib.contextmanager
def lost_hosts_explained(hosts: Hosts) -> Iterator[None]:
    """Name the host whose end made TensorFlow's operations fail.

    Raises:
        HostLost: in place of TensorFlow's own error, where a host has ended.
    """
    try:
        yield
    except tf.errors.OpError:
        hosts.explain()
        raise
