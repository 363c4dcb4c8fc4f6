"""The page in a browser: images are chosen and dropped, a camera looks, and what is wrong is said."""

import base64
import contextlib
import dataclasses
import threading

import numpy as np
import pytest
from PIL import Image

from pipeline.data.folders.check import NO_IMAGE
from serving.answers import Network, build_answer
from serving.page_files import read_page_files
from serving.server import PageServer, address_of, listen
from tests.browser import DESKTOP, MISSING, PHONE, WHY_MISSING, faint, seen_of, set_view, start
from tests.prediction_samples import digits

pytest.importorskip("selenium", reason="selenium, of requirements-dev.txt, is missing")
pytestmark = pytest.mark.skipif(MISSING, reason=WHY_MISSING)

SECONDS = 20
"""Until an answer must be there."""


@contextlib.contextmanager
def serving(networks):
    """Serve networks, and yield the page's address."""
    answer = build_answer(networks, 3, 0.0)
    listening = listen(0)
    with PageServer(listening, read_page_files("runs/digits", networks), answer) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield address_of(listening)
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def address(networks):
    with serving(networks) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    fake = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
    driver = start(tmp_path_factory.mktemp("profile"), *fake)
    yield driver
    driver.quit()


@pytest.fixture
def page(browser, address):
    browser.get(address)
    return browser


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> list[str]:
    """A digit, and what is no image."""
    folder = tmp_path_factory.mktemp("files")
    Image.fromarray(digits()[0][4]).save(folder / "vier <b>ä.png")
    (folder / "notes.png").write_text("no image")
    return [str(folder / "vier <b>ä.png"), str(folder / "notes.png")]


def wait_for(page, condition: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(page, SECONDS, poll_frequency=0.02).until(
        lambda browser: browser.execute_script(f"return {condition}"), condition
    )


def wait_for_answers(page, count: int) -> None:
    wait_for(page, f"document.querySelectorAll('.answer:not([aria-busy])').length === {count}")


def text(page, selector: str) -> str:
    return page.execute_script(f"return document.querySelector('{selector}').textContent")


def drop(page, script: str) -> None:
    """Drop what the script puts into the `DataTransfer` called `dropped`."""
    page.execute_script(
        f"const dropped = new DataTransfer(); {script};"
        "document.getElementById('drop').dispatchEvent("
        "new DragEvent('drop', { dataTransfer: dropped, bubbles: true, cancelable: true }))"
    )


@pytest.mark.parametrize(("view", "scheme"), [(PHONE, "dark"), (DESKTOP, "light")], ids=str)
def test_chosen_images_are_answered_and_a_broken_one_says_so(page, address, files, networks, view, scheme):
    set_view(page, view, scheme)
    page.find_element("id", "files").send_keys("\n".join(files))
    wait_for_answers(page, 2)
    best = networks[0].classifier(files[0]).probabilities.max()
    assert text(page, ".answer h2") == f"4 {100 * best:.2f} %"
    assert text(page, ".answer .source") == "vier <b>ä.png"
    assert page.execute_script(
        "return [...document.querySelectorAll('.network')].map(n => "
        "[n.querySelector('.name').textContent, n.querySelectorAll('li').length])"
    ) == [["keras", 3], ["int8", 3]]
    shares = page.execute_script(
        "return [...document.querySelector('.network').querySelectorAll('.bar')].map(b => "
        "parseFloat(getComputedStyle(b, '::before').width) / b.clientWidth)"
    )
    expected = np.sort(networks[0].classifier(files[0]).probabilities[0])[:-4:-1]
    np.testing.assert_allclose(shares, expected, atol=0.01)
    # The image, as it is seen, and what speaks for each of three classes.
    wait_for(page, "[...document.images].every(image => image.complete)")
    assert page.execute_script("return [...document.images].map(i => i.naturalWidth)") == [8] * 5
    problem = f"an image must be readable; {NO_IMAGE}"
    assert text(page, ".answer.problem h2") == problem
    assert text(page, "[role=status]") == f"notes.png: {problem}"
    seen = seen_of(page, view, scheme)
    assert seen["inner"] == seen["asked"] >= seen["width"]
    assert seen["outside"] == []
    assert faint(seen) == {}
    assert min(text["size"] for text in seen["texts"]) >= 12
    assert seen["headings"] == [1, 2, 3, 3, 2]
    assert all(name.startswith((address, f"blob:{address}")) for name in seen["requests"])
    # The browser itself notes the answer to what is no image.
    assert ["422" in entry["message"] for entry in seen["log"]] == [True]


def test_what_another_network_answers_otherwise_stands_out(browser, networks, files):
    int8 = networks[1].classifier
    contrary = dataclasses.replace(int8, predict=lambda pixels: int8.predict(pixels)[:, ::-1])
    with serving([networks[1], Network("contrary", networks[1].path, contrary)]) as address:
        browser.get(address)
        browser.find_element("id", "files").send_keys(files[0])
        wait_for_answers(browser, 1)
        assert text(browser, ".answer .differs") == "contrary answers 5"
        assert text(browser, "[role=status]").endswith(": 4; contrary: 5")
        # Grad-CAM is of a Keras network.
        assert text(browser, ".answer .views") == "as the network sees it"


def test_dropped_images_are_answered_in_order(page, files):
    with open(files[0], "rb") as file:
        content = base64.b64encode(file.read()).decode()
    bytes_of = f"Uint8Array.from(atob('{content}'), c => c.charCodeAt(0))"
    drop(page, f"for (const n of ['a', 'b']) dropped.items.add(new File([{bytes_of}], n))")
    wait_for_answers(page, 2)
    drop(page, f"dropped.items.add(new File([{bytes_of}], 'c'))")
    wait_for_answers(page, 3)
    names = "return [...document.querySelectorAll('.answer .source')].map(s => s.textContent)"
    assert page.execute_script(names) == ["c", "a", "b"]
    assert text(page, "[role=status]") == "c: 4"
    drop(page, "dropped.setData('text/plain', 'a word')")
    assert text(page, "[role=alert]") == "Only files can be dropped here."


def test_what_is_too_large_and_an_ended_server_are_told(page):
    drop(page, "dropped.items.add(new File([new Uint8Array(2 ** 25 + 1)], 'large.bmp'))")
    wait_for_answers(page, 1)
    assert text(page, ".answer.problem h2") == "an image must have at most 32 MiB"
    assert page.get_log("browser") == []
    conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    page.execute_cdp_cmd("Network.enable", {})
    page.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": True, **conditions})
    drop(page, "dropped.items.add(new File(['x'], 'x.png'))")
    wait_for_answers(page, 2)
    page.execute_cdp_cmd("Network.emulateNetworkConditions", {"offline": False, **conditions})
    assert text(page, ".answer.problem h2").startswith("no answer: predict.py has ended")


def test_the_camera_is_answered_until_it_is_stopped(page):
    page.get_log("browser")
    camera = page.find_element("id", "camera")
    camera.click()
    wait_for_answers(page, 1)
    assert camera.accessible_name == "Stop the camera"
    assert page.execute_script("return document.querySelector('.shot video').videoWidth") > 0
    assert len(page.find_elements("css selector", ".network li")) == 6
    page.execute_script("window.tracks = document.querySelector('video').srcObject.getTracks()")
    camera.click()
    wait_for(page, "document.querySelector('.shot img')?.naturalWidth > 0")
    assert page.execute_script("return tracks.map(track => track.readyState)") == ["ended"]
    assert page.find_elements("css selector", "video") == []
    assert camera.accessible_name == "Use the camera"
    assert page.get_log("browser") == []


def test_where_there_is_no_camera_it_says_so(page):
    page.execute_script(
        "navigator.mediaDevices.getUserMedia = () => Promise.reject(new DOMException('', 'NotFoundError'))"
    )
    page.find_element("id", "camera").click()
    wait_for(page, "document.querySelector('[role=alert]').textContent === 'There is no camera.'")
    assert page.find_element("id", "camera").is_enabled()


def test_all_is_reached_by_keyboard(page):
    from selenium.webdriver.common.keys import Keys

    reached = []
    for _ in range(2):
        page.switch_to.active_element.send_keys(Keys.TAB)
        element = page.switch_to.active_element
        reached.append((element.accessible_name, element.value_of_css_property("outline-style")))
    assert reached == [("Choose images", "solid"), ("Use the camera", "solid")]
