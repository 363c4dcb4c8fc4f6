"""Messages between two hosts over one TCP connection: a kind, a length and so many bytes."""

import contextlib
import json
import select
import socket
import struct
import threading
import time
from typing import Any

ALIVE, VALUE, FILES, STOP, END = b"a", b"v", b"f", b"s", b"e"
"""Kinds: nothing but a sign of life; a value as JSON; the bytes of files; a request to stop after this step;
the sender ends, and why."""

HEAD = struct.Struct("!cQ")
CHUNK = 1 << 20
MAX_GREETING = 1 << 20
"""Longest first message, bytes: it may come from whoever found the port."""


class Closed(Exception):
    """The other side has gone, or what it says is no message."""


class Connection:
    """One end of a connection; several threads may send, one receives.

    Args:
        link: connected.

    Attributes:
        heard_at: when bytes last came, by `time.monotonic`.
    """

    def __init__(self, link: socket.socket) -> None:
        self._link = link
        self._sending = threading.Lock()
        self.heard_at = time.monotonic()
        link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self, kind: bytes, content: bytes = b"") -> None:
        """Send a message; one that the other side can no longer take is dropped, as its silence tells."""
        with self._sending, contextlib.suppress(OSError):
            self._link.sendall(HEAD.pack(kind, len(content)))
            self._link.sendall(content)

    def send_value(self, kind: bytes, value: Any) -> None:
        """Send what JSON can hold."""
        self.send(kind, json.dumps(value).encode())

    def show_life(self) -> None:
        """Send a sign of life, unless a message is under way, which is one."""
        if self._sending.acquire(blocking=False):
            try:
                with contextlib.suppress(OSError):
                    self._link.sendall(HEAD.pack(ALIVE, 0))
            finally:
                self._sending.release()

    def receive(self, most: int | None = None) -> tuple[bytes, bytes]:
        """Wait for a message; return its kind and content.

        Args:
            most: longest content that is taken, bytes; None: any.

        Raises:
            Closed: there will be none.
        """
        kind, length = HEAD.unpack(self._read(HEAD.size))
        if kind not in (ALIVE, VALUE, FILES, STOP, END) or (most is not None and length > most):
            raise Closed("no message of a host of this project")
        return kind, self._read(length)

    def _read(self, length: int) -> bytes:
        content = bytearray()
        while len(content) < length:
            try:
                part = self._link.recv(min(length - len(content), CHUNK))
            except OSError as error:
                raise Closed(error.strerror or str(error)) from None
            if not part:
                raise Closed("the connection was closed")
            content += part
            self.heard_at = time.monotonic()
        return bytes(content)

    def wait_at_most(self, seconds: float | None) -> None:
        """Limit how long `receive` waits for bytes; None: not at all."""
        self._link.settimeout(seconds)

    def has_gone(self) -> bool:
        """Whether the other side has closed, whatever of it is still to be received (known on Linux only)."""
        look = select.poll()
        look.register(self._link, getattr(select, "POLLRDHUP", 0))
        return bool(look.poll(0))

    def close(self) -> None:
        """Close both ways, which also ends a `receive` that waits."""
        with contextlib.suppress(OSError):
            self._link.shutdown(socket.SHUT_RDWR)
        self._link.close()
