"""The server of docs/deploy/server.md, as it stands there, under many clients and bad files."""

import http.client
import json
import logging
import re
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers

from export.convert.saved_model import export_saved_model
from pipeline.data.decoding.image_formats import PNG
from tests.commands import ROOT

uvicorn = pytest.importorskip("uvicorn", reason="uvicorn, of requirements-dev.txt, is not installed")
pytest.importorskip("fastapi", reason="fastapi, of requirements-dev.txt, is not installed")

PAGE = ROOT / "docs" / "deploy" / "server.md"
NAMES = ("dark", "light")
CLIENTS, REQUESTS = 200, 400


def write_bundle(folder) -> None:
    """A network that tells dark images from light ones."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    mean = layers.GlobalAveragePooling2D(name="pool")(
        layers.Rescaling(1 / 255, -0.5, name="normalization")(pixels)
    )
    head = layers.Dense(2, name="head")
    network = keras.Model(pixels, head(mean), name="net")
    head.set_weights([np.array([[-3.0, 3.0]] * 3), np.zeros(2)])
    export_saved_model(network, folder / "bundle" / "saved_model", NAMES)


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    """Where the page's server listens, in a folder that holds a bundle and nothing else."""
    folder = tmp_path_factory.mktemp("server")
    write_bundle(folder)
    (code,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module: dict = {"__name__": "server"}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        exec(compile(code, "server.py", "exec"), module)
    with socket.create_server(("127.0.0.1", 0), backlog=512) as listening:
        config = uvicorn.Config(module["app"], limit_concurrency=512, log_level="error")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, args=([listening],))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def post(port: int, content: bytes) -> tuple[int, object]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", "/classify", content)
    answer = connection.getresponse()
    status, body = answer.status, json.loads(answer.read())
    connection.close()
    return status, body


def of_level(level: int) -> bytes:
    return tf.io.encode_png(np.full((20, 30, 3), level, np.uint8)).numpy()


def test_two_hundred_clients_at_once_all_get_their_own_answer(port):
    files = {"dark": of_level(10), "light": of_level(240)}
    names = [NAMES[number % 2] for number in range(REQUESTS)]

    def ask(name: str) -> tuple[float, int, str]:
        start = time.perf_counter()
        status, answers = post(port, files[name])
        return time.perf_counter() - start, status, answers[0]["class"]

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as clients:
        times, statuses, classes = zip(*clients.map(ask, names), strict=True)
    seconds = time.perf_counter() - start
    print(
        f"{REQUESTS / seconds:.0f} images/s, p50 {np.median(times) * 1000:.0f} ms, "
        f"p99 {np.quantile(times, 0.99) * 1000:.0f} ms"
    )
    assert set(statuses) == {200}
    assert list(classes) == names


@pytest.mark.parametrize(
    ("content", "status"),
    [(b"", 400), (b"GIF89a", 400), (PNG, 400), (of_level(9)[:60], 400), (PNG + bytes(5 * 2**20), 413)],
    ids=["nothing", "a GIF", "a head", "half an image", "too large"],
)
def test_what_is_no_image_is_answered_with_4xx_and_the_next_is_served(content, status, port):
    assert post(port, content)[0] == status
    assert post(port, of_level(240))[0] == 200


def test_a_client_that_leaves_halfway_is_no_fault_of_the_server(port, caplog):
    log = logging.getLogger("uvicorn.error")
    log.addHandler(caplog.handler)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(b"POST /classify HTTP/1.1\r\nHost: here\r\nContent-Length: 1000\r\n\r\nhalf")
        assert post(port, of_level(240))[0] == 200  # so that the first request is being read
    assert post(port, of_level(240))[0] == 200
    log.removeHandler(caplog.handler)
    assert caplog.text == ""


def test_an_answer_has_every_class_and_its_probability(port):
    status, answers = post(port, of_level(255))
    assert status == 200
    # Logits are 3 times the sum of three channels of 0.5.
    light = 1 / (1 + np.exp(-9))
    assert [answer["class"] for answer in answers] == ["light", "dark"]
    np.testing.assert_allclose([a["probability"] for a in answers], [light, 1 - light], atol=1e-6)
