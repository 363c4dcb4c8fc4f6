"""The report's page in a browser: on a phone and a desktop, light and dark, without a network."""

import itertools
import shutil

import pytest

from evaluation.page.comparison_page import write_comparison_page
from evaluation.page.page import write_page
from tests.evaluation.comparison_sample import build, report
from tests.evaluation.report_sample import make_report

selenium = pytest.importorskip("selenium", reason="selenium, of requirements-dev.txt, is missing")

BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (BROWSER and DRIVER), reason="needs the programs chromium and chromedriver"
)

OPTIONS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)

PHONE, DESKTOP = (390, 844), (1280, 900)
PAGES = {
    "ten": {"side": 32, "prepared": True, "empty_class": True},
    "hundred": {"classes": 100, "side": 224},
    "two": {"classes": 2, "int8": False},
}

LOOK = """
const root = document.documentElement, all = [...document.body.querySelectorAll('*')];
const name = e => `${e.tagName} ${e.textContent.trim().slice(0, 40)}`;
const canvas = new OffscreenCanvas(1, 1).getContext('2d', {willReadFrequently: true});
const colours = new Map();
// Any CSS colour, also a mixed one, as red, green, blue in [0, 255] and opacity in [0, 1].
function rgba(colour) {
  if (!colours.has(colour)) {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    colours.set(colour, [r, g, b, a / 255]);
  }
  return colours.get(colour);
}
function background(element) {
  const layers = [];
  for (let e = element; e; e = e.parentElement)
    layers.push(rgba(getComputedStyle(e).backgroundColor));
  return layers.reverse().reduce(
    (below, [r, g, b, a]) => [r, g, b].map((c, k) => a * c + (1 - a) * below[k]), [255, 255, 255]);
}
const owning = all.filter(e => !e.closest('.skip') &&
  [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) && e.tagName !== 'style');
const texts = owning.map(e => {
  const style = getComputedStyle(e), svg = e.closest('svg');
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  const box = e.getBoundingClientRect(), frame = svg && svg.getBoundingClientRect();
  return {
    name: name(e), svg: !!svg, size: parseFloat(style.fontSize) * scale,
    ink: rgba(svg ? style.fill : style.color), ground: background(e),
    cut: !!svg && (box.left < frame.left - 1 || box.right > frame.right + 1 ||
                   box.top < frame.top - 1 || box.bottom > frame.bottom + 1),
  };
});
return {
  width: root.scrollWidth, inner: innerWidth,
  page: rgba(getComputedStyle(document.body).backgroundColor),
  outside: all.filter(e => !e.closest('.scroll, .skip, svg') || e.matches('.scroll, svg'))
    .filter(e => e.getBoundingClientRect().right > innerWidth + 0.5).map(name),
  texts,
  images: [...document.images].map(i => [i.complete && i.naturalWidth > 0, i.clientWidth]),
  requests: performance.getEntriesByType('resource').map(r => r.name)
    .filter(n => !n.startsWith('data:')),
  headings: all.filter(e => /^H[1-6]$/.test(e.tagName)).map(e => +e.tagName[1]),
  sections: [...document.querySelectorAll('section')].map(s => s.clientHeight),
  charts: [...document.querySelectorAll('.chart svg')].map(s => s.getBoundingClientRect().width),
  smoothed: [...document.querySelectorAll('img.enlarged')]
    .filter(i => getComputedStyle(i).imageRendering !== 'pixelated').length,
};
"""


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for option in (*OPTIONS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict:
    folder = tmp_path_factory.mktemp("pages")
    for name, kind in PAGES.items():
        (folder / f"{name}.html").write_text(write_page(*make_report(**kind)), encoding="utf-8")
    return {name: folder / f"{name}.html" for name in PAGES}


VIEWS = [
    *itertools.product(["ten"], [PHONE, DESKTOP], ["light", "dark"]),
    ("hundred", PHONE, "light"),
    ("two", PHONE, "dark"),
]


@pytest.fixture(scope="module", params=VIEWS, ids=lambda view: f"{view[0]}-{view[1][0]}-{view[2]}")
def seen(request, browser, files) -> dict:
    """What there is to see of a page in one view."""
    name, size, scheme = request.param
    return look(browser, files[name], size, scheme)


def look(browser, file, view, scheme) -> dict:
    """Open a page and tell what there is to see."""
    width, height = view
    size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browser.get(file.as_uri())
    seen = browser.execute_script(LOOK)
    return {**seen, "asked": width, "scheme": scheme, "log": browser.get_log("browser")}


def luminance(colour) -> float:
    """Relative luminance, WCAG 2.2."""
    shares = [channel / 255 for channel in colour[:3]]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in shares]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(ink, ground) -> float:
    """Contrast ratio, WCAG 2.2, of an ink that may be translucent."""
    opacity = ink[3]
    seen = [opacity * i + (1 - opacity) * g for i, g in zip(ink[:3], ground, strict=True)]
    light, dark = sorted((luminance(seen), luminance(ground)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_the_guideline():
    assert contrast([0, 0, 0, 1], [255, 255, 255]) == pytest.approx(21)
    # The lightest grey that passes on white.
    assert contrast([118, 118, 118, 1], [255, 255, 255]) == pytest.approx(4.54, abs=0.005)


def test_nothing_sticks_out(seen):
    assert seen["inner"] == seen["asked"]
    assert seen["width"] <= seen["inner"]
    assert seen["outside"] == []


def test_every_image_is_there_and_large_enough_to_see(seen):
    assert len(seen["images"]) > 20
    assert all(loaded for loaded, _ in seen["images"])
    assert min(width for _, width in seen["images"]) >= 64
    assert seen["smoothed"] == 0


def test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(seen):
    assert seen["requests"] == []
    assert seen["log"] == []


def test_all_text_can_be_told_from_what_is_behind_it(seen):
    faint = {
        text["name"]: ratio
        for text in seen["texts"]
        # WCAG 2.2, success criterion 1.4.3, for text of any size.
        if (ratio := contrast(text["ink"], text["ground"])) < 4.5
    }
    assert faint == {}
    assert (luminance(seen["page"]) < 0.1) == (seen["scheme"] == "dark")


def test_all_text_is_large_enough_to_read(seen):
    prose = [text for text in seen["texts"] if not text["svg"]]
    in_charts = [text for text in seen["texts"] if text["svg"]]
    assert len(prose) > 200
    assert len(in_charts) > 20
    assert [text["name"] for text in prose if text["size"] < 12] == []
    assert [text["name"] for text in in_charts if text["size"] < 8] == []


def test_no_text_of_a_chart_is_cut_off(seen):
    assert [text["name"] for text in seen["texts"] if text["cut"]] == []


def test_charts_are_as_wide_as_a_phone(seen):
    least = 340 if seen["asked"] == PHONE[0] else 400
    assert min(seen["charts"]) >= least


def test_headings_are_in_order_and_sections_have_content(seen):
    levels = seen["headings"]
    assert levels[0] == 1
    assert all(after <= before + 1 for before, after in itertools.pairwise(levels))
    assert len(seen["sections"]) >= 6
    assert min(seen["sections"]) > 100


def test_what_is_printed_fits_the_paper(browser, files):
    width = 718  # of A4 between margins of 1 cm, at 96 pixels an inch
    size = {"width": width, "height": 1000, "deviceScaleFactor": 1, "mobile": False}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    browser.get(files["ten"].as_uri())
    reach = browser.execute_script(
        "return [...document.querySelectorAll('table, img, svg')].map(e => e.getBoundingClientRect().right)"
    )
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
    assert max(reach) <= width


@pytest.fixture(scope="module", params=[(PHONE, "dark"), (DESKTOP, "light")], ids=str)
def compared(request, browser, tmp_path_factory) -> dict:
    """What there is to see of a comparison of runs of which some cost nearly the same."""
    runs = {
        f"resnet{number}_of_a_long_name": report(0.9 - number / 50, 2**number * 10**6, 10**6, 0.1)
        for number in range(8)
    }
    file = tmp_path_factory.mktemp("comparison") / "comparison.html"
    file.write_text(write_comparison_page(build(**runs)), encoding="utf-8")
    return look(browser, file, *request.param)


def test_a_comparison_can_be_read(compared):
    test_nothing_sticks_out(compared)
    test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(compared)
    test_all_text_can_be_told_from_what_is_behind_it(compared)
    test_no_text_of_a_chart_is_cut_off(compared)
    test_charts_are_as_wide_as_a_phone(compared)
    assert compared["headings"] == [1, 2, 2]
    assert len(compared["charts"]) == 3
    assert [text["name"] for text in compared["texts"] if text["size"] < 8] == []
