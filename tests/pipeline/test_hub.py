"""Downloads from a hub: one on this machine that answers as the real one does, or fails in some way."""

import hashlib
import http.server
import threading
import time
from collections.abc import Iterator

import pytest
from huggingface_hub import constants

from pipeline.errors import UserError
from pipeline.hub import fetch, hub_url, is_kept
from pipeline.reachable import SECONDS, find_fault

REPOSITORY, REVISION = "timm/some.a1_in1k", "0123456789abcdef0123456789abcdef01234567"
FILES = {
    "model.safetensors": b"arrays" * 1000,
    "config.json": b"{}",
    "README.md": b"---\nlicense: apache-2.0\n---\n# A card\n",
}


class Hub(http.server.BaseHTTPRequestHandler):
    """Large files are called by their SHA-256, as Git LFS does, small ones by Git's SHA-1."""

    protocol_version = "HTTP/1.1"

    def do_HEAD(self):
        self.answer(body=False)

    def do_GET(self):
        self.answer(body=True)

    def answer(self, *, body: bool):
        self.server.asked.append((self.command, self.path))
        fault, name = self.server.fault, self.path.rpartition("/")[2]
        if fault == "hangs":
            self.server.released.wait(20)
        if fault == "stores elsewhere" and not self.path.startswith("/stored/"):
            self.send_response(302)
            self.send_header("Location", f"/stored/{name}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        if isinstance(fault, int) or name not in self.server.files:
            self.send_error(fault or 404)
            return
        content = self.server.files[name]
        large = name.endswith("safetensors")
        digest = (hashlib.sha256 if large else hashlib.sha1)(content).hexdigest()
        first = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")[0])
        self.send_response(206 if first else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", REVISION)
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        if not body:
            return
        if large and fault == "lies":
            content = content[::-1]
        if large and fault == "breaks off":
            self.server.fault = self.server.then
            self.wfile.write(content[: len(content) // 2])
            self.close_connection = True
            return
        self.wfile.write(content[first:])

    def log_message(self, format, *values: object):
        """Keep quiet."""


@pytest.fixture
def hub(tmp_path, monkeypatch) -> Iterator[http.server.HTTPServer]:
    """A hub, its faults, what it was asked for, and an empty folder of what is kept."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hub) as server:
        server.files, server.fault, server.then, server.asked = dict(FILES), None, None, []
        server.released = threading.Event()
        endpoint = f"http://127.0.0.1:{server.server_port}"
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


def test_a_download_tells_what_it_is_and_is_kept(hub):
    assert not is_kept(REPOSITORY)
    found = fetch(REPOSITORY)
    assert found.weights.read_bytes() == FILES["model.safetensors"]
    assert (found.weights.parent / "config.json").read_bytes() == b"{}"
    assert (found.revision, found.licence) == (REVISION, "apache-2.0")
    assert found.sha256 == hashlib.sha256(FILES["model.safetensors"]).hexdigest()
    assert is_kept(REPOSITORY)
    hub.asked.clear()
    hub.fault = 503
    assert fetch(REPOSITORY) == found
    assert hub.asked == []


def test_a_download_that_breaks_off_goes_on_where_it_was(hub):
    hub.fault = "breaks off"
    found = fetch(REPOSITORY)
    assert found.weights.read_bytes() == FILES["model.safetensors"]


def test_what_is_not_what_the_hub_says_is_refused(hub):
    hub.fault = "lies"
    with pytest.raises(UserError, match=r"must be what the hub says, SHA-256 [0-9a-f]{64}; .* has ") as error:
        fetch(REPOSITORY)
    assert "\n" not in str(error.value)
    assert str(error.value).endswith("(once it is deleted, it is downloaded again)")


@pytest.mark.parametrize(("fault", "reason"), [(404, "HTTP 404 Not Found"), (503, "HTTP 503 Service Unav")])
def test_a_refusal_of_the_hub_is_told(fault, reason, hub):
    hub.fault = fault
    assert str(find_fault(hub_url(REPOSITORY))).startswith(reason)


def test_a_hub_that_hangs_is_waited_for_three_seconds(hub, monkeypatch):
    assert SECONDS == 3
    monkeypatch.setattr("pipeline.reachable.SECONDS", 0.3)
    hub.fault, began = "hangs", time.monotonic()
    assert find_fault(hub_url(REPOSITORY)) in ("no answer within 0.3 s", "timed out")
    assert time.monotonic() - began < 1


def test_a_redirect_is_an_answer(hub):
    """The real hub sends whoever asks for a large file to where it is stored."""
    hub.fault = "stores elsewhere"
    assert find_fault(hub_url(REPOSITORY)) is None
    # And is not followed: urllib would ask for the whole file there.
    assert [command for command, _ in hub.asked] == ["HEAD"]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/", "http://[::1/", "no address", "http://a b/"])
def test_an_address_where_nobody_is_has_a_fault(url):
    assert find_fault(url)
