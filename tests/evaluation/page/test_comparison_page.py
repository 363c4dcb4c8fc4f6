"""The page of a comparison: every run with its figures, and charts of what they cost."""

import numpy as np
import pytest

from evaluation.page.comparison_page import write_comparison_page
from evaluation.page.cost_plot import plot_cost
from evaluation.page.summary import print_comparison
from tests.evaluation.comparison_sample import build, report
from tests.evaluation.page.html_page import Page

RUNS = {
    "large": report(0.875, work=8_000_000, size=4096, time=0.5),
    "bad": report(0.25, work=4_000_000, size=8192, time=1.0, preview=True),
    "small": report(0.75, work=2_000_000, size=2048, time=0.25),
}


def test_accuracy_is_drawn_against_cost_in_its_unit():
    (axes,) = plot_cost(build(**RUNS)["runs"], "multiply_adds", "millions", 1e6).axes
    (dots, _, (bars,)) = axes.containers[0].lines
    # The most accurate first.
    assert dots.get_xdata().tolist() == [8, 2, 4]
    assert dots.get_ydata().tolist() == [0.875, 0.75, 0.25]
    ends = [segment[:, 1].tolist() for segment in bars.get_segments()]
    assert ends[0] == pytest.approx([0.865, 0.895])
    assert [text.get_text() for text in axes.texts] == ["large", "small", "bad"]
    assert axes.get_xlabel() == "millions"


def test_the_front_holds_what_no_other_run_beats():
    front = plot_cost(build(**RUNS)["runs"], "multiply_adds", "millions", 1e6).axes[0].lines[0]
    assert front.get_label() == "not beaten"
    assert list(zip(front.get_xdata(), front.get_ydata(), strict=True)) == [(2, 0.75), (8, 0.875)]


@pytest.mark.parametrize("costs", [(100, 250), (1, 1000), (0.01, 0.02)])
def test_the_axis_has_plain_numbers(costs):
    runs = {str(cost): report(0.5, work=1, size=1, time=cost) for cost in costs}
    figure = plot_cost(build(**runs)["runs"], "int8_latency_p50_ms", "ms", 1)
    figure.draw_without_rendering()
    (axes,) = figure.axes
    low, high = axes.get_xlim()
    shown = [
        float(label.get_text())
        for label, place in zip(axes.get_xticklabels(), axes.get_xticks(), strict=True)
        if low <= place <= high
    ]
    assert len(shown) >= 2


def test_every_run_has_a_row_with_its_figures():
    page = Page(write_comparison_page(build(**RUNS)))
    rows = [e.text for e in page.elements if e.tag == "tr"][1:]
    names = [e.text for e in page.elements if e.attributes.get("scope") == "row"]
    assert names == ["large", "small", "bad"]
    for text in ("87.50 %", "the best", "8,000,000", "4.0 KiB", "0.500 (0.495 to 0.505)"):
        assert text in rows[0]
    assert not any("not told apart" in row for row in rows)
    assert "The most accurate is large with 87.50 %" in " ".join(e.text for e in page.elements)


def test_a_time_has_its_interval_and_one_that_is_not_told_apart_says_so():
    runs = {"one": report(0.5, time=1.0), "two": report(0.4, time=1.001)}
    rows = [e.text for e in Page(write_comparison_page(build(**runs))).elements if e.tag == "tr"][1:]
    assert ["not told apart" in row for row in rows] == [False, True]
    (axes,) = plot_cost(build(**runs)["runs"], "int8_latency_p50_ms", "ms", 1).axes
    (_, _, (level, _)) = axes.containers[0].lines
    ends = [segment[:, 0].tolist() for segment in level.get_segments()]
    assert ends == pytest.approx(np.array([[0.99, 1.01], [0.99 * 1.001, 1.01 * 1.001]]))


def test_a_preview_is_called_one():
    note = "Where a run was not exported"
    assert note in write_comparison_page(build(**RUNS))
    assert note not in write_comparison_page(build(large=RUNS["large"], small=RUNS["small"]))


def test_which_run_was_trained_on_images_of_a_labelled_folder_is_said(capsys):
    told = {"data": "folder:new", "images": 8, "left_out": []}
    learned = {**report(0.9), "new_images": {**told, "learned": ["new/cat/1.png", "new/cat/2.png"]}}
    fresh = {**report(0.5), "new_images": {**told, "learned": []}}
    comparison = build(learned=learned, fresh=fresh)
    paragraphs = [each.text for each in Page(write_comparison_page(comparison)).all("p")]
    (said,) = (text for text in paragraphs if "trained on" in text)
    assert said.startswith("Of these images 2 are among those that learned was trained on")
    print_comparison(comparison)
    assert capsys.readouterr().out.splitlines()[-1] == "2 of these 8 images learned was trained on"


def test_names_are_escaped_and_nothing_is_fetched():
    html = write_comparison_page(build(**{"<b>&$x$": RUNS["large"], "small": RUNS["small"]}))
    assert "<b>&$x$" not in html
    Page(html)
    assert 'src="http' not in html
