"""When a state is saved, and what a resumed epoch gets back."""

import contextlib
import signal
import time
from collections.abc import Iterator
from types import FrameType
from typing import Any

import keras

from pipeline.console.run_command import stopping_signals
from pipeline.hosts.hosts import Hosts
from pipeline.training.checkpoint import Checkpoints, Progression
from pipeline.training.variables import parts_of_sum


class Interrupted(Exception):
    """A signal stopped the run; its state is saved."""


class RestoreEpochMetrics(keras.callbacks.Callback):
    """Give the running means of a half-done epoch back to it, after `fit` has reset some of them.

    (Keras resets its own mean of the loss, but not metrics that no step has used yet.)

    Args:
        metrics: the running means; what they hold now is what is given back, once.
    """

    def __init__(self, metrics: list[keras.metrics.Metric]) -> None:
        super().__init__()
        variables = [variable for metric in metrics for variable in metric.variables]
        self.parts = [part for variable in variables for part in parts_of_sum(variable)]
        self.values = [part.numpy() for part in self.parts]

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Restore at the first epoch's begin."""
        for part, value in zip(self.parts, self.values, strict=False):
            part.assign(value)
        self.values = []


class SaveCheckpoints(keras.callbacks.Callback):
    """Save the state every so many seconds or steps, at each epoch's end and on a signal.

    In the middle of an epoch it is written while training goes on. Must be the last callback, so that
    what it saves includes what the others did.

    Args:
        checkpoints: where to save.
        progression: the run's, advanced here.
        steps_per_epoch: the last step of an epoch is saved with the epoch's end, not before it.
        every_seconds: longest time between two checkpoints.
        every_steps: most steps between two checkpoints; 0 for no such limit.
        hosts: that train together; they save and stop after the same step.
    """

    def __init__(
        self,
        checkpoints: Checkpoints,
        progression: Progression,
        *,
        steps_per_epoch: int,
        every_seconds: float,
        every_steps: int,
        hosts: Hosts,
    ) -> None:
        super().__init__()
        self.checkpoints, self.progression, self.hosts = checkpoints, progression, hosts
        self.steps_per_epoch = steps_per_epoch
        self.every_seconds, self.every_steps = every_seconds, every_steps
        self.signal: int | None = None
        self._saved_at = time.monotonic()
        self._saved_step = progression.step

    @contextlib.contextmanager
    def listening(self) -> Iterator[None]:
        """Turn SIGINT, SIGTERM and SIGHUP into a request to save and stop; a second one stops at once.

        A terminal that closes sends SIGHUP more than once, so that it is never the second.
        """
        numbers = (signal.SIGINT, *stopping_signals())
        before = [signal.signal(number, self._request_stop) for number in numbers]
        try:
            yield
        finally:
            for number, handler in zip(numbers, before, strict=True):
                signal.signal(number, handler)

    def _request_stop(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGHUP:
            return
        if self.signal is not None:
            raise KeyboardInterrupt
        self.signal = number
        # A signal that comes while a line is being written cannot write one as well.
        with contextlib.suppress(RuntimeError):
            print("\nstopping after this step or validation; once more to stop at once", flush=True)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Save in the middle of an epoch."""
        self.progression.step += 1
        self.checkpoints.check()
        if self.progression.step % self.steps_per_epoch == 0:
            return
        steps = self.progression.step - self._saved_step
        due = time.monotonic() - self._saved_at >= self.every_seconds
        self._save_if(due or (self.every_steps > 0 and steps >= self.every_steps))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Save the finished epoch."""
        self._save_if(True)
        # Before the next best weights, so that they are never two epochs ahead of the newest state.
        self.checkpoints.wait()

    def _save_if(self, due: bool) -> None:
        """Save where it is due or a signal came; what the chief's clock and all hosts' signals say."""
        if self.signal is not None:
            self.hosts.ask_to_stop()
        due, stop = self.hosts.tell([due, self.signal is not None or self.hosts.stop_asked])
        if due or stop:
            # On every host: metrics are summed over all of them when they are read.
            self.checkpoints.begin_to_save(self.progression)
            self._saved_at, self._saved_step = time.monotonic(), self.progression.step
        if stop:
            raise Interrupted
