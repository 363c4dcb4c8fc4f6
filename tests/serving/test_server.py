"""The server: this machine's browsers and nobody else, bounded, one answer at a time."""

import contextlib
import http.client
import io
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from pipeline.errors import UserError
from pipeline.page.answering import MAX_IMAGE_BYTES
from serving.server import HOST, Content, PageServer, address_of, listen

PAGE = b"<!DOCTYPE html>"
TOGETHER = 16


class Answers:
    """Answers with what came, and tells how many answers were made at once, at most."""

    def __init__(self) -> None:
        self.running = self.most = self.made = 0

    def __call__(self, content: bytes) -> Content:
        self.made += 1
        self.running += 1
        self.most = max(self.most, self.running)
        time.sleep(0.005)
        self.running -= 1
        if content == b"no image":
            raise UserError("an image must be readable;\nthis is none")
        if content == b"a fault":
            raise ZeroDivisionError
        return Content("application/json", content.hex().encode())


@contextlib.contextmanager
def serving(answer):
    """Serve, and yield the port."""
    listening = listen(0)
    port = listening.getsockname()[1]
    with PageServer(listening, {"/": Content("text/html; charset=utf-8", PAGE)}, answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield port
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture(scope="module")
def port(answers):
    with serving(answers) as port:
        yield port


def ask(port, method="GET", path="/", body=None, **headers: str) -> tuple[int, str, http.client.HTTPMessage]:
    """Return status, body and headers."""
    with contextlib.closing(http.client.HTTPConnection(HOST, port, timeout=60)) as connection:
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        return response.status, response.read().decode(), response.headers


def exchange(port, request: str) -> str:
    """Send what no library would, and nothing after it; return all that comes back."""
    with socket.create_connection((HOST, port), timeout=60) as connection:
        connection.sendall(request.format(port=port).replace("\n", "\r\n").encode())
        return b"".join(iter(lambda: connection.recv(2**16), b"")).decode()


def test_a_page_takes_nothing_from_elsewhere_and_is_in_nobody_elses(port):
    status, page, headers = ask(port)
    assert (status, page) == (200, PAGE.decode())
    policy = dict(rule.split(" ", 1) for rule in headers["Content-Security-Policy"].split("; "))
    assert policy["default-src"] == policy["frame-ancestors"] == policy["form-action"] == "'none'"
    own = {"'none'", "'self'", "blob:", "data:"}
    assert {source for sources in policy.values() for source in sources.split()} == own
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert ask(port, path="/../predict.py")[:2] == (404, "there is no such page\n")


def test_an_image_is_answered_and_what_is_none_takes_one_line(port):
    assert ask(port, "POST", "/answer", b"an image")[:2] == (200, b"an image".hex())
    assert ask(port, "POST", "/answer", b"no image")[:2] == (
        422,
        "an image must be readable;\\nthis is none\n",
    )


@pytest.mark.parametrize(
    "hosts",
    [
        "Host: images.example:{port}\n",  # a name of somebody else's that leads here
        "Host: 127.0.0.1.images.example:{port}\n",
        "Host: 127.0.0.1\n",
        "Host: 127.0.0.1:{port}\nHost: images.example:{port}\n",
        "",
    ],
)
def test_who_asks_for_another_host_is_refused(port, answers, hosts):
    before = answers.made
    for line in ("GET / HTTP/1.1\n", "POST /answer HTTP/1.1\nContent-Length: 1\n", "GET /\n"):
        reply = exchange(port, f"{line}{hosts}\n")
        assert "HTTP/1.1 421 " in reply or line == "GET /\n"
        assert reply.endswith(f"this page is 127.0.0.1:{port} and nothing else\n")
    assert answers.made == before


def test_only_the_page_itself_may_ask(port, answers):
    before = answers.made
    for origin in (
        "http://images.example",
        "null",
        f"http://localhost:{port}",
        f"https://{HOST}:{port}",
        f"http://{HOST}:{port + 1}",
    ):
        refused = ask(port, "POST", "/answer", b"an image", Origin=origin)
        assert refused[:2] == (403, "only the page itself may ask\n")
    assert answers.made == before
    assert ask(port, "POST", "/answer", b"an image", Origin=f"http://{HOST}:{port}")[0] == 200
    by_name = {"Host": f"localhost:{port}", "Origin": f"http://localhost:{port}"}
    assert ask(port, "POST", "/answer", b"an image", **by_name)[0] == 200


def test_a_large_image_is_refused_before_it_comes(port, answers):
    before = answers.made
    for expecting in ("", "Expect: 100-continue\n"):
        reply = exchange(
            port,
            f"POST /answer HTTP/1.1\nHost: 127.0.0.1:{{port}}\nContent-Length: {MAX_IMAGE_BYTES + 1}\n"
            f"{expecting}\n",
        )
        assert reply.startswith("HTTP/1.1 413 ")
        assert reply.endswith("\r\n\r\nan image must have at most 32 MiB; received 33,554,433 bytes\n")
    # The line arrives also where the image is sent all the same.
    assert ask(port, "POST", "/answer", bytes(MAX_IMAGE_BYTES + 1))[0] == 413
    assert answers.made == before


@pytest.mark.parametrize(
    "size",
    [
        "",
        "Content-Length: -1\n",
        "Content-Length: 0x10\n",
        "Content-Length: 1\nContent-Length: 2\n",
        "Transfer-Encoding: chunked\nContent-Length: 1\n",
    ],
)
def test_the_size_must_be_told(port, size):
    reply = exchange(port, f"POST /answer HTTP/1.1\nHost: 127.0.0.1:{{port}}\n{size}\n")
    assert reply.startswith("HTTP/1.1 411 ")


def test_who_asks_at_once_gets_each_the_own_answer_made_alone(port, answers):
    images = [bytes([place]) * 1000 for place in range(TOGETHER)]
    with ThreadPoolExecutor(TOGETHER) as pool:
        found = list(pool.map(lambda image: ask(port, "POST", "/answer", image)[:2], images))
    assert found == [(200, image.hex()) for image in images]
    assert answers.most == 1


def test_a_fault_has_its_traceback_and_a_browser_that_goes_away_has_none(port, answers, capfd):
    before = answers.made
    with socket.create_connection((HOST, port)) as connection:
        connection.sendall(
            b"POST /answer HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nContent-Length: 9\r\n\r\nhalf" % port
        )
    assert ask(port)[0] == 200
    assert capfd.readouterr() == ("", "")
    assert answers.made == before
    # capfd loses what another thread prints between its reading and its truncating.
    with contextlib.redirect_stderr(io.StringIO()) as printed:
        status, line, _ = ask(port, "POST", "/answer", b"a fault")
        assert (status, line) == (500, "the server failed; its terminal tells why\n")
        # The answer goes out first; the traceback comes line by line.
        deadline = time.monotonic() + 30
        while "ZeroDivisionError" not in printed.getvalue():
            assert time.monotonic() < deadline, printed.getvalue()
            time.sleep(0.01)


def test_only_this_machine_is_listened_to_and_at_the_end_nobody():
    with serving(Answers()) as port:
        # An address of this machine as well, but another one.
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.2", port))
        message = f"--serve must name a free port of 127.0.0.1; received {port}: Address already in use"
        with pytest.raises(UserError, match=re.escape(message)):
            listen(port)
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((HOST, port))
    with listen(port) as again:
        assert address_of(again) == f"http://127.0.0.1:{port}"
