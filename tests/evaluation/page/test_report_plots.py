"""The charts of a report: what is drawn, and SVG that can stand in any page beside others."""

import re
import warnings
import xml.etree.ElementTree as ET

import pytest

from evaluation.page.page import draw_charts
from evaluation.page.plots import plot_class_recall, plot_layers, plot_reliability, plot_severity, to_svg
from tests.evaluation.report_sample import AWKWARD_NAMES, make_report


def row(name: str, recall: float | None, low: float = 0, high: float = 0) -> dict:
    estimate = None if recall is None else {"value": recall, "interval_95": [low, high]}
    return {"class": name, "recall": estimate}


RECALL = {
    "keras": [row("cat", 0.25, 0.125, 0.5), row("dog", None), row("owl", 0.75, 0.625, 0.875)],
    "int8": [row("cat", 0.5, 0.375, 0.625), row("dog", None), row("owl", 1.0, 0.75, 1.0)],
}


def test_recall_is_drawn_with_its_interval():
    (axes,) = plot_class_recall(RECALL).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "owl"]
    assert [text.get_text() for text in axes.get_legend().texts] == ["keras", "int8"]
    for container, rows in zip(axes.containers, RECALL.values(), strict=True):
        dots, _, (bars,) = container.lines
        known = [each["recall"] for each in rows if each["recall"]]
        assert dots.get_xdata().tolist() == [recall["value"] for recall in known]
        assert [round(place) for place in dots.get_ydata()] == [0, 2]  # within half a row
        ends = [segment[:, 0].tolist() for segment in bars.get_segments()]
        assert ends == [recall["interval_95"] for recall in known]


def test_the_first_class_is_on_top():
    bottom, top = plot_class_recall(RECALL).axes[0].get_ylim()
    assert bottom > 2
    assert top < 0


def test_recall_outside_its_interval_can_be_drawn():
    figure = plot_class_recall({"keras": [row("cat", 1.0, 0.5, 0.75), row("dog", 0.0, 0.25, 0.5)]})
    _, _, (bars,) = figure.axes[0].containers[0].lines
    assert [segment[:, 0].tolist() for segment in bars.get_segments()] == [[0.5, 1], [0, 0.5]]


def test_classes_without_any_image_can_be_drawn():
    figure = plot_class_recall({"keras": [row("cat", None), row("dog", None)]})
    assert "cat" in to_svg(figure, "recall", "")


BINS = [
    {"low": 0.0, "high": 0.5, "images": 0, "confidence": None, "accuracy": None},
    {"low": 0.5, "high": 0.75, "images": 7, "confidence": 0.625, "accuracy": 0.5},
    {"low": 0.75, "high": 1.0, "images": 900, "confidence": 0.875, "accuracy": 1.0},
]


def test_reliability_shows_accuracy_gap_and_images_of_each_bin():
    top, bottom = plot_reliability(BINS, "title").axes
    bars = [(bar.get_x(), bar.get_width(), bar.get_height()) for bar in top.patches]
    assert bars == [(0.5, 0.25, 0.5), (0.75, 0.25, 1.0)]
    diagonal, dots = top.lines
    assert diagonal.get_xydata().tolist() == [[0, 0], [1, 1]]
    assert dots.get_xydata().tolist() == [[0.625, 0.5], [0.875, 1.0]]
    (gaps,) = top.collections
    assert [gap.tolist() for gap in gaps.get_segments()] == [
        [[0.625, 0.625], [0.625, 0.5]],
        [[0.875, 0.875], [0.875, 1.0]],
    ]
    assert [bar.get_height() for bar in bottom.patches] == [7, 900]
    assert bottom.get_ylim()[0] < 1  # a bin of one image has a bar


def test_severity_begins_with_the_clean_images():
    shares = [0.8, 0.7, 0.6, 0.5, 0.4]
    clean = {"value": 0.9, "interval_95": [0.8, 0.95]}
    (axes,) = plot_severity({"keras": {"clean": clean, "by_severity": shares}}).axes
    assert axes.lines[0].get_xydata().tolist() == [
        [place, share] for place, share in enumerate([0.9, *shares])
    ]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["clean", "1", "2", "3", "4", "5"]


@pytest.mark.parametrize(
    ("counts", "lengths", "unit"),
    [([1_500_000, 500_000], [1.5, 0.5], "million"), ([1500, 500], [1.5, 0.5], "thousand")],
)
def test_layers_are_drawn_in_the_networks_order(counts, lengths, unit):
    layers = [{"layer": f"conv{k}", "multiply_adds": count} for k, count in enumerate(counts)]
    (axes,) = plot_layers(layers).axes
    assert [bar.get_width() for bar in axes.patches] == lengths
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv0", "conv1"]
    assert unit in axes.get_xlabel()


def test_six_networks_are_told_apart():
    networks = {f"network{k}": RECALL["keras"] for k in range(6)}
    dots = [container.lines[0] for container in plot_class_recall(networks).axes[0].containers]
    assert len({line.get_color() for line in dots}) == 6
    assert len({line.get_marker() for line in dots}) == 6
    clean = {"clean": {"value": 1.0, "interval_95": [1, 1]}, "by_severity": [1, 1, 1, 1, 1]}
    assert len(plot_severity(dict.fromkeys(networks, clean)).axes[0].lines) == 6


@pytest.fixture(scope="module")
def charts() -> dict[str, str]:
    report, _ = make_report(prepared=True)
    return draw_charts(report, range(10))


def test_every_chart_is_drawn(charts):
    reliability = {f"{n} {when}" for n in ("keras", "int8") for when in ("before", "after")}
    others = {"recall", "layers", "robustness", "prepared_robustness"}
    assert set(charts) == reliability | others


def test_ids_are_distinct_in_a_page_and_all_that_is_referred_to_is_there(charts):
    ids = [each for svg in charts.values() for each in re.findall(r'\bid="([^"]*)"', svg)]
    assert len(ids) == len(set(ids))
    for svg in charts.values():
        own = set(re.findall(r'\bid="([^"]*)"', svg))
        referred = set(re.findall(r'(?:href="#|url\(#)([^")]*)', svg))
        assert referred
        assert referred <= own


def test_charts_take_the_pages_colours_and_its_width(charts):
    for svg in charts.values():
        root = ET.fromstring(svg)
        assert root.get("viewBox").split()[2] == "360"
        assert root.get("width") is None
        assert root.get("height") is None
        assert root.get("role") == "img"
        assert root.get("aria-label")
        assert set(re.findall(r"(?:fill|stroke): (#\w+)", svg)) == set()
        assert "currentColor" in svg


def test_names_are_text_and_no_formulas(charts):
    texts = [text.text for text in ET.fromstring(charts["recall"]).iter() if text.tag[-4:] == "text"]
    assert {AWKWARD_NAMES[0], AWKWARD_NAMES[1], "kettle"} <= set(texts)
    assert any(text.startswith("an_unusually_long") and text.endswith("…") for text in texts)


def test_a_chart_is_a_function_of_its_figures():
    once, again = (to_svg(plot_reliability(BINS, "title"), "name", "alt") for _ in range(2))
    assert once == again


def test_the_description_is_escaped():
    svg = to_svg(plot_reliability(BINS, "title"), "name", '<b>&" \\1')
    assert ET.fromstring(svg).get("aria-label") == '<b>&" \\1'


def test_a_name_that_the_measuring_font_cannot_draw_is_no_cause_for_a_warning():
    figure = plot_class_recall({"keras": [row("\u732b", 0.5, 0.25, 0.75)]})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert "\u732b" in to_svg(figure, "recall", "Recall")
