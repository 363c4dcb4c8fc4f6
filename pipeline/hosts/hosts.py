"""The hosts of one run as one of them sees the others: what the chief tells, and who has gone.

Every host runs the same program, in step with the others wherever TensorFlow sums over all of them. So
whatever could differ between them, since it hangs on a clock, a file or a signal, is decided by the
chief and told.
"""

import contextlib
import json
import os
import queue
import shutil
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from pipeline.console.run_command import DONE, FAILED, USER_ERROR
from pipeline.errors import UserError, printable
from pipeline.hosts.connection import END, FILES, STOP, VALUE, Closed, Connection

CHIEF = 0
"""The place of the host that decides and writes."""

BEATS = 8
"""Signs of life within the time after which a host counts as lost."""

LONGEST_BEAT = 1.0
"""Seconds."""

GRACE_SECONDS = 2.0
"""For the main thread to end by itself, where it is not waiting in native code."""

FAREWELL_SECONDS = 1.0
"""Within those, for the others to take why this host ends."""

GO_ON = "; to go on, the same with --resume on every host"


@dataclass(frozen=True)
class Loss:
    """Why a run cannot go on with all its hosts.

    Attributes:
        line: what is said.
        code: the exit code.
    """

    line: str
    code: int


class HostLost(Exception):
    """Another host has ended, or is silent."""


class Hosts:
    """One host and its connections: the chief's to all others, of the others one to the chief.

    Args:
        addresses: `name:port` of each host.
        index: this one's place.
        timeout: seconds of silence after which a host counts as lost.
        connections: place of another host -> connection.
        cluster: `name:port` at which TensorFlow's own servers listen.

    Attributes:
        scratch: a folder of this process that is removed with it, where it has one.
        stop_asked: of the chief by another host.
    """

    def __init__(
        self,
        addresses: tuple[str, ...] = ("alone",),
        index: int = CHIEF,
        timeout: float = 0.0,
        connections: Mapping[int, Connection] | None = None,
        cluster: tuple[str, ...] = (),
    ) -> None:
        self.addresses, self.index, self.timeout = addresses, index, timeout
        self.cluster = cluster
        self.scratch: Path | None = None
        self.stop_asked = False
        self._connections = dict(connections or {})
        self._messages: dict[int, queue.Queue[bytes]] = {other: queue.Queue() for other in self._connections}
        self._loss: Loss | None = None
        self._left: set[int] = set()
        self._ending = threading.Lock()
        self._closing = threading.Event()
        for other in self._connections:
            threading.Thread(target=self._listen, args=(other,), daemon=True).start()
        if self._connections:
            threading.Thread(target=self._watch, daemon=True).start()

    @property
    def count(self) -> int:
        """How many there are."""
        return len(self.addresses)

    @property
    def is_chief(self) -> bool:
        """Whether this one decides and writes."""
        return self.index == CHIEF

    def name(self, index: int) -> str:
        """Return how a line names a host."""
        return f"host {index} ({self.addresses[index]})"

    def tell(self, value: Any) -> Any:
        """Return the chief's value, which JSON can hold, on every host; the others' does not count.

        Raises:
            HostLost: a host that is waited for has gone.
        """
        if self.is_chief:
            for connection in self._connections.values():
                connection.send_value(VALUE, value)
            return value
        return json.loads(self._wait_for(CHIEF))

    def tell_bytes(self, content: bytes) -> bytes:
        """Return the chief's bytes on every host; the others' do not count.

        Raises:
            HostLost: a host that is waited for has gone.
        """
        if not self.is_chief:
            return self._wait_for(CHIEF)
        for connection in self._connections.values():
            connection.send(FILES, content)
        return content

    def gather(self, value: Any) -> list[Any] | None:
        """Return every host's value, which JSON can hold, on the chief; None on the others.

        Raises:
            HostLost: a host that is waited for has gone.
        """
        if not self.is_chief:
            self._connections[CHIEF].send_value(VALUE, value)
            return None
        return [value, *(json.loads(self._wait_for(other)) for other in sorted(self._connections))]

    def agree(self, facts: Mapping[str, Any]) -> None:
        """Hold what must be equal on every host to the chief's.

        Args:
            facts: name of each -> a value that JSON can hold.

        Raises:
            UserError: on every host, where one has something else.
            HostLost: a host that is waited for has gone.
        """
        if self.count == 1:
            return
        # As JSON has them: a tuple comes back as a list.
        gathered = self.gather(json.loads(json.dumps(facts)))
        if reason := self.tell(self._difference(gathered) if gathered else None):
            raise UserError(reason)

    def _difference(self, gathered: list[dict[str, Any]]) -> str | None:
        for index, facts in enumerate(gathered):
            for name in gathered[CHIEF] | facts:
                ours, theirs = (some.get(name, "none") for some in (gathered[CHIEF], facts))
                if ours != theirs:
                    return (
                        f"every host must have the same {name}; {self.name(index)} has {theirs}, "
                        f"host {CHIEF} has {ours}"
                    )
        return None

    def ask_to_stop(self) -> None:
        """Ask the chief that all stop; it decides after which step."""
        if not self.is_chief:
            self._connections[CHIEF].send(STOP)

    def _wait_for(self, other: int) -> bytes:
        while True:
            with contextlib.suppress(queue.Empty):
                return self._messages[other].get(timeout=0.2)
            if self._loss:
                raise HostLost(self._loss.line)
            # What it told before it ended has come by then.
            if other in self._left and self._messages[other].empty():
                raise HostLost(f"{self.name(other)} has ended")

    def _listen(self, other: int) -> None:
        """Take what a host sends, until it ends."""
        try:
            while True:
                kind, content = self._connections[other].receive()
                if kind in (VALUE, FILES):
                    self._messages[other].put(content)
                elif kind == STOP:
                    self.stop_asked = True
                elif kind == END:
                    end = json.loads(content)
                    self._left.add(other)
                    if end["code"] != DONE:
                        self._lose(Loss(end["line"], end["code"]))
                    return
        except Closed:
            self._lose(Loss(f"{self.name(other)} has ended", FAILED))

    def _watch(self) -> None:
        """Show that this host lives, and look whether the others do."""
        pause = min(self.timeout / BEATS, LONGEST_BEAT)
        before = time.monotonic()
        while not self._closing.wait(pause):
            now = time.monotonic()
            # Whoever was stopped himself has heard nobody meanwhile.
            slept, before = now - before - pause, now
            for other, connection in self._connections.items():
                connection.heard_at += max(slept, 0.0)
                connection.show_life()
                if other not in self._left and now - connection.heard_at > self.timeout:
                    self._lose(Loss(f"{self.name(other)} has been silent for {self.timeout:g} s", FAILED))
                    return

    def _lose(self, loss: Loss) -> None:
        """Tell all, and end this process, whatever its main thread is waiting for."""
        if self._closing.is_set() or self._loss:
            return
        self._loss = loss
        until = time.monotonic() + GRACE_SECONDS
        self._tell_end(loss, FAREWELL_SECONDS)
        if not self._closing.wait(until - time.monotonic()):
            self.end(loss)

    def _tell_end(self, loss: Loss, seconds: float) -> None:
        """Tell all at once; whoever does not take it in so many seconds is left without."""
        end = {"line": loss.line, "code": loss.code}
        # A host that hangs may have left the main thread in the middle of a message to it.
        tellers = [
            threading.Thread(target=connection.send_value, args=(END, end), daemon=True)
            for connection in self._connections.values()
        ]
        for teller in tellers:
            teller.start()
        until = time.monotonic() + seconds
        for teller in tellers:
            teller.join(max(until - time.monotonic(), 0.0))

    def explain(self) -> None:
        """Wait for the reason of an error that the end of another host may have caused.

        Raises:
            HostLost: there is one.
        """
        until = time.monotonic() + self.timeout + LONGEST_BEAT
        while self.count > 1 and time.monotonic() < until:
            if self._loss:
                raise HostLost(self._loss.line)
            time.sleep(0.1)

    def fail(self, line: str, code: int) -> None:
        """Have the others end as well, where this host cannot go on.

        Args:
            line: why, for them to say.
            code: for them to exit with.
        """
        if not self._loss:
            self._loss = Loss(line, code)
            self._tell_end(Loss(f"{self.name(self.index)} ended: {line}", code), FAREWELL_SECONDS)
        self.close()

    def leave(self, line: str) -> NoReturn:
        """End this process for a lost host."""
        self.end(self._loss or Loss(line, FAILED))

    def end(self, loss: Loss) -> NoReturn:
        """Say why, and end this process at once.

        No exception reaches a main thread that waits in TensorFlow for a host that has gone, and
        TensorFlow's own farewell waits for it as well.
        """
        with self._ending:
            begin, then = ("error", "") if loss.code == USER_ERROR else ("stopped", GO_ON)
            print(f"{begin}: {printable(loss.line)}{then}", file=sys.stderr, flush=True)
            with contextlib.suppress(Exception):
                sys.stdout.flush()
            if self.scratch:
                shutil.rmtree(self.scratch, ignore_errors=True)
            os._exit(loss.code)

    def close(self) -> None:
        """Leave the others, which go on or have ended as well."""
        self._closing.set()
        # Others may still be taking what came before; where this one failed, nobody needs it.
        self._tell_end(Loss("", DONE), FAREWELL_SECONDS if self._loss else self.timeout)
        for connection in self._connections.values():
            connection.close()
