"""`--web`: what the folder holds, what is refused, and what a browser makes of it."""

import contextlib
import functools
import http.server
import json
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.device import run
from export.litert_js import WASM
from pipeline.tflite.file import TFLiteFile
from tests.browser import MISSING, WHY_MISSING, faint, seen_of, set_view, start
from tests.export.web.conftest import REAL

SECONDS = 30
"""Until an answer must be there."""

in_a_browser = pytest.mark.skipif(MISSING, reason=WHY_MISSING)


def test_the_folder_has_all_that_its_page_needs(bundle):
    web = bundle / "web"
    page = (web / "index.html").read_text()
    assert '{"@litertjs/core": "./litert/core.js", "@litertjs/wasm-utils": "./litert/wasm-utils.js"}' in page
    expected = {"core.js", "wasm-utils.js", "NOTICE.txt", *WASM}
    assert {path.name for path in (web / "litert").iterdir()} == expected
    assert "Apache License 2.0" in (web / "litert/NOTICE.txt").read_text()
    assert (web / "labels.txt").read_text() == (bundle / "labels.txt").read_text()
    described = json.loads((web / "preprocessing.json").read_text())
    assert described["image"] == json.loads((bundle / "preprocessing.json").read_text())["image"]
    assert described["models"]["model.tflite"]["input"]["dtype"] == "uint8"
    assert json.loads((bundle / "report.json").read_text())["web"] == {
        "bytes": (web / "model.tflite").stat().st_size,
        "crc32": described["models"]["model.tflite"]["crc32"],
    }


def test_its_network_is_the_int8_file_with_uint8_at_both_ends(bundle):
    images = np.random.default_rng(0).integers(0, 256, (20, 8, 8, 3), np.uint8)
    int8, uint8 = (
        TFLiteFile((bundle / name).read_bytes(), {}) for name in ("model_int8.tflite", "web/model.tflite")
    )
    assert (int8.graph.input.dtype, uint8.graph.input.dtype) == ("int8", "uint8")
    np.testing.assert_array_equal(uint8.predict(images), int8.predict(images))


def test_what_is_no_litert_js_and_an_export_without_int8_are_refused(export, own_run, node_modules, tmp_path):
    outcome = export(own_run, "--web", tmp_path)
    assert outcome.code == 2
    assert outcome.error == (
        "error: --web must name the node_modules of `npm install @litertjs/core@2.5.3`; "
        f"{tmp_path}/@litertjs/core/dist/index.js is missing\n"
    )
    outcome = export(own_run, "--formats", "float32", "--web", node_modules)
    assert (outcome.code, "--web is about the int8 file" in outcome.error) == (2, True)
    assert not (own_run / "export").exists()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def end_headers(self) -> None:
        self.send_header("Cache-Control", "no-store")
        super().end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def address(bundle):
    """Any static server's."""
    handler = functools.partial(Quiet, directory=bundle / "web")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    pytest.importorskip("selenium", reason="selenium, of requirements-dev.txt, is missing")
    driver = start(tmp_path_factory.mktemp("profile"))
    yield driver
    driver.quit()


def answers_of(browser, address, files) -> list[list[str]]:
    """Choose files on the page; return the lines of each answer."""
    from selenium.webdriver.support.ui import WebDriverWait

    browser.get(address)
    browser.find_element("id", "files").send_keys("\n".join(map(str, files)))
    done = "return document.querySelectorAll('.answer:not([aria-busy])').length"
    WebDriverWait(browser, SECONDS, poll_frequency=0.02).until(
        lambda page: page.execute_script(done) == len(files)
    )
    return browser.execute_script(
        "return [...document.querySelectorAll('.answer')].map(a => a.innerText.split(/\\n+/))"
    )


@in_a_browser
def test_the_page_answers_once_the_golden_vectors_hold(browser, bundle, address, tmp_path):
    set_view(browser, (390, 844), "dark")
    notes = tmp_path / "notes.png"
    notes.write_text("no image")
    golden = bundle / "web/golden"
    digit, broken = answers_of(browser, address, [golden / "input_1.png", notes])
    vector = json.loads((golden / "golden.json").read_text())["vectors"][1]
    levels = np.fromfile(golden / "output_1.bin", np.uint8).astype(float)
    scale = json.loads((golden / "golden.json").read_text())["output"]["scale"]
    powers = np.exp(scale * levels)
    assert digit[0] == f"{vector['top_class']} {100 * powers.max() / powers.sum():.2f} %" or REAL
    assert digit[0].startswith(f"{vector['top_class']} ")
    assert broken[0] == (
        "an image must be whole, and of a format that this browser decodes; SVG and TIFF are not"
    )
    off = browser.execute_script("return [document.body.dataset.pixelsOff, document.body.dataset.scoresOff]")
    assert int(off[0]) <= 1
    assert int(off[1]) <= (8 if REAL else 0)
    seen = seen_of(browser, (390, 844), "dark")
    assert (seen["outside"], faint(seen)) == ([], {})
    assert all(name.startswith((address, f"blob:{address}")) for name in seen["requests"])


@contextlib.contextmanager
def changed(file: Path, change: Callable[[bytes], bytes]) -> Iterator[None]:
    kept = file.read_bytes()
    file.write_bytes(change(kept))
    try:
        yield
    finally:
        file.write_bytes(kept)


def shifted(by: int) -> Callable[[bytes], bytes]:
    return lambda content: bytes((level + by) % 256 for level in content)


NOT_HELD = {
    "large.bin, otherwise": (
        "golden/large.bin",
        shifted(3),
        "pixels must be within 1 of the golden vectors' levels here; they are ",
    ),
    "large.bin, cut": (
        "golden/large.bin",
        lambda content: content[:50],
        "the folder must be whole; golden/large.bin must have 192 bytes and has 50",
    ),
    "input, none": (
        "golden/input_0.bin",
        lambda _: b"",
        "the folder must be whole; golden/input_0.bin must have 192 bytes and has 0",
    ),
    "labels, cut": (
        "labels.txt",
        lambda content: b"\n".join(content.splitlines()[:6]),
        "the folder must be whole; labels.txt must name 10 classes and names 6",
    ),
}
if REAL:
    NOT_HELD["scores, otherwise"] = ("golden/output_2.bin", shifted(30), "scores must be within 8 of ")
    NOT_HELD["scores, none"] = (
        "golden/output_0.bin",
        lambda _: b"",
        "the folder must be whole; golden/output_0.bin must have 10 bytes and has 0",
    )
    NOT_HELD["network, cut"] = (
        "model.tflite",
        lambda content: content[:1000],
        "model.tflite must be the file of the export; ",
    )


@in_a_browser
@pytest.mark.parametrize(("name", "change", "expected"), NOT_HELD.values(), ids=NOT_HELD)
def test_where_the_folder_is_not_what_was_exported_nothing_is_answered(
    browser, bundle, address, name, change, expected
):
    with changed(bundle / "web" / name, change):
        assert answers_of(browser, address, [bundle / "web/golden/input_0.png"])[0][0].startswith(expected)
        browser.get(address)
        wait_for_notice(browser, lambda notice: notice.startswith(expected))


def wait_for_notice(browser, expected: Callable[[str], bool]) -> None:
    """Wait for what the page says before an image is chosen."""
    from selenium.webdriver.support.ui import WebDriverWait

    WebDriverWait(browser, SECONDS, poll_frequency=0.02).until(
        lambda page: expected(page.execute_script("return document.getElementById('notice').textContent"))
    )


@in_a_browser
def test_labels_of_a_dos_file_are_the_same_names(browser, bundle, address):
    with changed(bundle / "web/labels.txt", lambda content: content.replace(b"\n", b"\r\n")):
        browser.get(address)
        wait_for_notice(browser, lambda notice: not notice)
        names = browser.execute_async_script(
            "const done = arguments[0];"
            "import('./ask.js').then(async ({ loaded }) => done((await loaded).labels))"
        )
    assert names == (bundle / "labels.txt").read_text().splitlines()


@in_a_browser
def test_a_page_that_is_opened_as_a_file_says_what_it_needs(browser, bundle):
    browser.get((bundle / "web/index.html").as_uri())
    assert "it must come from a server" in browser.find_element("id", "notice").text


@in_a_browser
def test_a_page_in_another_folder_asks_as_well(browser, bundle, address):
    page = bundle / "web/mine/page.html"
    page.parent.mkdir()
    modules = re.search(r'<script type="importmap">.*?</script>', (bundle / "web/index.html").read_text())
    page.write_text(modules[0].replace('"./', '"../'))
    try:
        browser.get(f"{address}mine/page.html")
        name = browser.execute_async_script(
            "const done = arguments[0]; import('../ask.js').then(async ({ ask }) => {"
            "  const image = await (await fetch('../golden/input_0.png')).blob();"
            "  done((await ask(image)).networks[0].classes[0].name); }).catch((error) => done(String(error)))"
        )
    finally:
        shutil.rmtree(page.parent)
    assert name in (bundle / "labels.txt").read_text().splitlines()


@in_a_browser
def test_an_image_beyond_the_largest_canvas_is_refused_and_not_answered_as_black(browser, address, tmp_path):
    Image.new("L", (70_000, 60), 255).save(tmp_path / "long.png")
    assert answers_of(browser, address, [tmp_path / "long.png"])[0][0] == (
        "an image must be one that this browser can draw; received 70000 x 60 pixels"
    )


@in_a_browser
@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
def test_an_image_becomes_what_run_py_makes_of_it(browser, address, resize):
    """To a level: Pillow may take columns first."""
    how = {"resize": resize, "crop_share": 0.8, "border": 128}
    random = np.random.default_rng(0)
    browser.get(address)
    for height, width, size in ((21, 37, 8), (8, 8, 8), (7, 5, 32), (1, 1, 8), (2, 300, 16), (64, 33, 32)):
        image = random.integers(0, 256, (height, width, 3), np.uint8)
        rgba = np.dstack([image, np.full((height, width), 255, np.uint8)])
        fitted = browser.execute_async_script(
            "const [data, width, height, size, how, done] = arguments;"
            "import('./contract.js').then(({ fit }) => done([...fit({ data, width, height }, size, how)]))",
            rgba.ravel().tolist(), width, height, size, how,
        )  # fmt: skip
        expected = run.fit(Image.fromarray(image), size, size, how).ravel().astype(int)
        assert np.abs(expected - fitted).max() <= 1


@in_a_browser
def test_a_jpeg_is_turned_as_the_contract_says(browser, address, tmp_path):
    image = Image.fromarray(np.dstack([np.tile(np.arange(0, 256, 16, np.uint8), (8, 1))] * 3))
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    image.save(tmp_path / "turned.jpg", exif=exif)
    content = list((tmp_path / "turned.jpg").read_bytes())
    browser.get(address)
    shapes = [
        browser.execute_async_script(
            "const [bytes, turn, done] = arguments; const file = new Blob([Uint8Array.from(bytes)]);"
            "import('./contract.js').then(async ({ decode }) => {"
            "  const { width, height } = await decode(file, turn); done([width, height]); })",
            content, turn,
        )
        for turn in (True, False)
    ]  # fmt: skip
    assert shapes == [[8, 16], [16, 8]]
    with Image.open(tmp_path / "turned.jpg") as stored:
        assert run.decode(tmp_path / "turned.jpg", True).size == (8, 16) != stored.size


@in_a_browser
def test_what_is_transparent_is_white_and_probabilities_are_a_softmax(browser, address, tmp_path):
    Image.new("RGBA", (3, 2), (10, 20, 30, 0)).save(tmp_path / "clear.png")
    browser.get(address)
    pixels, shares, levels = browser.execute_async_script(
        "const [bytes, done] = arguments; const file = new Blob([Uint8Array.from(bytes)]);"
        "import('./contract.js').then(async ({ decode, encode, probabilities }) => done(["
        "  [...(await decode(file, true)).data],"
        "  probabilities([130, 128, 126], { scores: 'logits', scale: 0.5, zero_point: 128 }),"
        "  [...encode([0, 100, 255], { dtype: 'uint8', scale: 2, zero_point: 200 })]]))",
        list((tmp_path / "clear.png").read_bytes()),
    )
    assert pixels == [255] * 24
    np.testing.assert_allclose(shares, np.exp([1, 0, -1]) / np.exp([1, 0, -1]).sum(), rtol=1e-12)
    assert levels == [200, 250, 255]
