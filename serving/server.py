"""An HTTP server of one page and its answers, for browsers on this machine alone."""

import contextlib
import functools
import os
import re
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple

from pipeline.errors import UserError, printable
from pipeline.page.answering import MAX_IMAGE_BYTES

HOST = "127.0.0.1"

PATIENCE = 30
"""Seconds that a browser may send nothing."""

LINGERING = 2
"""Seconds in which what is not wanted may still arrive."""

HEADERS = {
    # Nothing comes from elsewhere, and nobody else's page holds this one.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
}


class Content(NamedTuple):
    """What a browser gets: bytes, and their media type."""

    media_type: str
    content: bytes


Answer = Callable[[bytes], Content]
"""From the content of an image file to what the page shows; raises `UserError` of what is no image."""


def listen(port: int) -> socket.socket:
    """Take a port of the loopback address; 0 takes one that is free.

    Raises:
        UserError: it is in use, or not this user's to take.
    """
    try:
        return socket.create_server((HOST, port), backlog=64)
    except OSError as error:
        raise UserError(
            f"--serve must name a free port of {HOST}; received {port}: "
            f"{os.strerror(error.errno or 0)} (--serve 0 takes any that is free)"
        ) from None


def address_of(listening: socket.socket) -> str:
    """Return what a browser opens: `http://127.0.0.1:8000`."""
    return f"http://{HOST}:{listening.getsockname()[1]}"


class PageServer(socketserver.ThreadingTCPServer):
    """Serves a page at / and takes images at /answer, one at a time, whoever asks at once.

    Every request must be for this machine by name, lest a name of somebody else's that leads here
    (DNS rebinding) does, and come from the page itself where a browser tells its origin, which it
    does of every POST. An upload is held in memory alone.

    Args:
        listening: what `listen` returned; closed at the end.
        files: path -> what a browser gets.
        answer: called by one thread at a time.
    """

    daemon_threads = True

    def __init__(self, listening: socket.socket, files: Mapping[str, Content], answer: Answer) -> None:
        self._busy = threading.Lock()

        def answer_alone(content: bytes) -> Content:
            with self._busy:
                return answer(content)

        handler = functools.partial(_Handler, files, answer_alone)
        super().__init__(listening.getsockname(), handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listening

    def server_close(self) -> None:
        """Close the port, and let the answer that is being made be the last one."""
        super().server_close()
        # Never released: a thread inside native code must not meet the end of the interpreter.
        self._busy.acquire()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print the traceback of a fault; a browser that went away is none."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"
    timeout = PATIENCE

    def __init__(self, files: Mapping[str, Content], answer: Answer, *connection: Any) -> None:
        self._files = files
        self._answer = answer
        super().__init__(*connection)

    def do_GET(self) -> None:
        """Send a file of the page."""
        file = self._files.get(self.path.partition("?")[0])
        if file is None:
            self.send_error(HTTPStatus.NOT_FOUND, "there is no such page")
        else:
            self._send(HTTPStatus.OK, file)

    def do_POST(self) -> None:
        """Take an image and answer."""
        size = int(self.headers["Content-Length"])
        content = self.rfile.read(size)
        if len(content) < size:
            return  # the browser went away
        try:
            answer = self._answer(content)
        except UserError as error:
            self.send_error(HTTPStatus.UNPROCESSABLE_ENTITY, str(error))
        except Exception:
            self.send_error(HTTPStatus.INTERNAL_SERVER_ERROR, "the server failed; its terminal tells why")
            raise
        else:
            self._send(HTTPStatus.OK, answer)

    def parse_request(self) -> bool:
        """Read a request up to its headers; refuse what is not meant for this page."""
        return super().parse_request() and self._admit()

    def handle_expect_100(self) -> bool:
        """Refuse before the body is sent, where a client waits to be told."""
        return self._admit() and super().handle_expect_100()

    def _admit(self) -> bool:
        refusal = self._refusal()
        if refusal:
            self.send_error(*refusal)
            self._let_pass()
        return refusal is None

    def _refusal(self) -> tuple[HTTPStatus, str] | None:
        """Tell from the headers alone why a request is refused."""
        port = self.connection.getsockname()[1]
        hosts = [f"{name}:{port}" for name in (HOST, "localhost")]
        if port == 80:  # which browsers leave out
            hosts += [HOST, "localhost"]
        host, origin = (self.headers.get_all(name, []) for name in ("Host", "Origin"))
        if len(host) != 1 or host[0].lower() not in hosts:
            return HTTPStatus.MISDIRECTED_REQUEST, f"this page is {hosts[0]} and nothing else"
        if origin not in ([], [f"http://{host[0].lower()}"]):
            return HTTPStatus.FORBIDDEN, "only the page itself may ask"
        if self.command != "POST":
            return None
        if self.path != "/answer":
            return HTTPStatus.NOT_FOUND, "images go to /answer"
        sizes, is_told = self.headers.get_all("Content-Length", []), "Transfer-Encoding" not in self.headers
        if not is_told or len(sizes) != 1 or not re.fullmatch("[0-9]{1,18}", sizes[0]):
            return HTTPStatus.LENGTH_REQUIRED, "the size of an image must be told before it comes"
        if int(sizes[0]) > MAX_IMAGE_BYTES:
            most = f"an image must have at most {MAX_IMAGE_BYTES // 2**20} MiB"
            return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"{most}; received {int(sizes[0]):,} bytes"
        return None

    def _let_pass(self) -> None:
        """Drop what is still sent: closed before, the connection would be reset and the answer lost."""
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(LINGERING)
            end = time.monotonic() + LINGERING
            while self.connection.recv(2**16) and time.monotonic() < end:
                pass

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Send one line."""
        line = printable(message or HTTPStatus(code).phrase) + "\n"
        self._send(HTTPStatus(code), Content("text/plain; charset=utf-8", line.encode()))

    def _send(self, status: HTTPStatus, content: Content) -> None:
        self.close_connection = True
        self.send_response(status)
        headers = {"Content-Type": content.media_type, "Content-Length": len(content.content)}
        for name, value in {**headers, **HEADERS, "Connection": "close"}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content.content)

    def version_string(self) -> str:
        """Say nothing of versions."""
        return "predict.py"

    def log_message(self, format: str, *arguments: Any) -> None:
        """Print nothing: what is wrong is told on the page, and faults have their traceback."""
