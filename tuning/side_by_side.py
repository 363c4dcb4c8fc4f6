"""Work with TensorFlow in several processes at once, for what leaves most of the cores idle.

A process that is forked from one that has TensorFlow may hang, so they are spawned, and each loads it.
The spawned import the top of the caller's main module, which must be light.
"""

import contextlib
import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, TypeVar

Job = TypeVar("Job")
Answer = TypeVar("Answer")


@contextlib.contextmanager
def side_by_side(
    function: Callable[[Job], Answer], processes: int
) -> Iterator[Callable[[Sequence[Job]], list[Answer | None]]]:
    """Start processes that call `function`, on no GPU; they end with the block, or after a kill of this one.

    Args:
        function: one that can be pickled, as can what it takes and returns.
        processes: how many; 1: this one itself.

    Yields:
        From at most so many jobs to their answers, in the same order, once all are there: from then on
        the processes wait and take no time. None for a job that failed or ended its process; called
        here, it tells why.
    """
    if processes == 1:
        yield lambda jobs: [_attempt(function, job) for job in jobs]
        return
    spawn = multiprocessing.get_context("spawn")
    with contextlib.ExitStack() as stack:
        connections = []
        for _ in range(processes):
            connection, theirs = spawn.Pipe()
            process = spawn.Process(target=_serve, args=(theirs,))
            process.start()
            stack.callback(process.join)
            theirs.close()
            # Before it is joined: where there is nothing more to read it ends, here and after a kill.
            stack.callback(connection.close)
            connections.append(connection)
        for connection in connections:
            _send(connection, function)

        def call(jobs: Sequence[Job]) -> list[Answer | None]:
            used = list(zip(connections, jobs, strict=False))
            for connection, job in used:
                _send(connection, job)
            return [_receive(connection) for connection, _ in used]

        yield call


def _send(connection: Connection, item: Any) -> None:
    # One that is gone does not answer either.
    with contextlib.suppress(OSError):
        connection.send(item)


def _receive(connection: Connection) -> Any:
    try:
        return connection.recv()
    except (EOFError, OSError):
        return None


# What follows runs in the other processes.


def _serve(connection: Connection) -> None:
    # Ctrl-C reaches every process of a terminal; only the one that waits is to explain.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from pipeline.console.quiet_start import load_tensorflow_quietly

    load_tensorflow_quietly()
    import tensorflow as tf

    # What the first process needs of a GPU is its own.
    tf.config.set_visible_devices([], "GPU")
    with contextlib.suppress(EOFError, OSError):
        function = connection.recv()
        while True:
            connection.send(_attempt(function, connection.recv()))


def _attempt(function: Callable[[Job], Answer], job: Job) -> Answer | None:
    try:
        return function(job)
    except Exception:
        return None
