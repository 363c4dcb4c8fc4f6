"""How numbers are written on a page."""

import math

import pytest

from evaluation.page import filters
from tests.evaluation.page.html_page import Page


@pytest.mark.parametrize(
    ("name", "value", "written"),
    [
        ("percent", 0.81614, "81.61 %"),
        ("percent", 1, "100.00 %"),
        ("percent", None, "\u2013"),
        ("percent", math.nan, "\u2013"),
        ("decimal", 0.55124, "0.5512"),
        ("decimal", None, "\u2013"),
        ("points", 0.374, "+0.37"),
        ("points", -0.376, "\u22120.38"),
        ("points", -0.001, "0.00"),
        ("points", 0.004, "0.00"),
        ("points", None, "\u2013"),
        ("count", 1234567, "1,234,567"),
        ("count", None, "\u2013"),
        ("magnitude", 999_999, "999,999"),
        ("magnitude", 35_110_000, "35.1 M"),
        ("magnitude", 1_810_000_000, "1.8 G"),
        ("magnitude", None, "\u2013"),
        ("file_size", 512, "0.5 KiB"),
        ("file_size", 2**20, "1.0 MiB"),
        ("file_size", None, "\u2013"),
        ("percent_range", [0.8084, 0.8235], "80.84 to 82.35"),
        ("points_range", [-0.21, 0.95], "\u22120.21 to +0.95"),
        ("percent_estimate", None, "\u2013"),
        ("decimal_estimate", None, "\u2013"),
    ],
)
def test_numbers_are_written_the_same_everywhere(name, value, written):
    assert filters.BY_NAME[name](value).replace("\N{NO-BREAK SPACE}", " ") == written


def test_an_estimate_is_followed_by_its_interval():
    estimate = {"value": 0.8161, "interval_95": [0.8084, 0.8235]}
    (text, *_) = (e.text for e in Page(filters.percent_estimate(estimate)).elements)
    assert text == "81.61 % (80.84 to 82.35)"
    (text, *_) = (e.text for e in Page(filters.decimal_estimate(estimate)).elements)
    assert text == "0.8161 (0.8084 to 0.8235)"
    (text, *_) = (e.text for e in Page(filters.points_estimate(-0.5, [-1.25, 0.25])).elements)
    assert text == "\u22120.50 (\u22121.25 to +0.25)"
