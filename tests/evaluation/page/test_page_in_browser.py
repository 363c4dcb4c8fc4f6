"""The report's page in a browser: on a phone and a desktop, light and dark, without a network."""

import itertools

import pytest

from evaluation.page.comparison_page import write_comparison_page
from evaluation.page.page import write_page
from tests.browser import DESKTOP, MISSING, PHONE, WHY_MISSING, contrast, faint, look, luminance, start
from tests.evaluation.comparison_sample import build, report
from tests.evaluation.report_sample import make_report

pytest.importorskip("selenium", reason="selenium, of requirements-dev.txt, is missing")
pytestmark = pytest.mark.skipif(MISSING, reason=WHY_MISSING)

PAGES = {
    "ten": {"side": 32, "prepared": True, "empty_class": True},
    "hundred": {"classes": 100, "side": 224},
    "two": {"classes": 2, "int8": False},
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    driver = start(tmp_path_factory.mktemp("profile"))
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
    return look(browser, files[name].as_uri(), size, scheme)


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
    assert faint(seen) == {}
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
    return look(browser, file.as_uri(), *request.param)


def test_a_comparison_can_be_read(compared):
    test_nothing_sticks_out(compared)
    test_nothing_is_asked_of_a_network_and_nothing_goes_wrong(compared)
    test_all_text_can_be_told_from_what_is_behind_it(compared)
    test_no_text_of_a_chart_is_cut_off(compared)
    test_charts_are_as_wide_as_a_phone(compared)
    assert compared["headings"] == [1, 2, 2]
    assert len(compared["charts"]) == 3
    assert [text["name"] for text in compared["texts"] if text["size"] < 8] == []
