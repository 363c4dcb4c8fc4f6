"""`--web`: what the folder holds, what is refused, and what a browser makes of it."""

import functools
import http.server
import json
import threading

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
    assert broken[0] == "an image must be one that this browser reads"
    off = browser.execute_script("return [document.body.dataset.pixelsOff, document.body.dataset.scoresOff]")
    assert int(off[0]) <= 1
    assert int(off[1]) <= (8 if REAL else 0)
    seen = seen_of(browser, (390, 844), "dark")
    assert (seen["outside"], faint(seen)) == ([], {})
    assert all(name.startswith((address, f"blob:{address}")) for name in seen["requests"])


@in_a_browser
def test_where_a_golden_vector_does_not_hold_nothing_is_answered(browser, bundle, address):
    def answer_with(name: str, change: int) -> str:
        file = bundle / "web/golden" / name
        kept = file.read_bytes()
        file.write_bytes(bytes((level + change) % 256 for level in kept))
        try:
            return answers_of(browser, address, [bundle / "web/golden/input_0.png"])[0][0]
        finally:
            file.write_bytes(kept)

    said = answer_with("large.bin", 3)
    assert said.startswith("pixels must be within 1 of the golden vectors' levels here; they are ")

    if REAL:
        assert answer_with("output_2.bin", 30).startswith("scores must be within 8 of ")


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
