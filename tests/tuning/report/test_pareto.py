"""The image of accuracy against cost."""

from types import SimpleNamespace

import pytest
from PIL import Image

from pipeline.files.whole import write_figure
from tuning.report.pareto import plot_pareto
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult


def result(number, accuracy, status=COMPLETED, purpose=SEARCH) -> TrialResult:
    return TrialResult(f"{number:04d}", purpose, status, {}, 0, accuracy, 1.0, 100)


def cost(kib: float, latency: float) -> SimpleNamespace:
    return SimpleNamespace(int8_bytes=int(1024 * kib), latency_ms=latency)


RESULTS = [
    result(0, 0.5),
    result(1, 0.75),
    result(2, 0.625),
    result(3, 0.25),
    result(4, 0.875),
    result(5, 0.99, STOPPED),
    result(6, None, FAILED),
    result(7, 0.99, purpose=CONFIRMATION),
]
COSTS = {
    "0000": cost(10, 4.0),
    "0001": cost(20, 1.0),
    "0002": cost(30, 2.0),
    "0003": cost(40, 0.5),
    "0005": cost(1, 0.1),
    "0006": cost(1, 0.1),
    "0007": cost(1, 0.1),
}


def test_both_panels_have_dots_and_a_front():
    figure = plot_pareto(RESULTS, COSTS)
    sizes, latencies = figure.axes
    # Trial 4 has no cost; the stopped, the failed and the confirmation are no candidates.
    dots = [sorted(axes.collections[0].get_offsets().tolist()) for axes in (sizes, latencies)]
    assert dots == [[[10, 50], [20, 75], [30, 62.5], [40, 25]], [[0.5, 25], [1, 75], [2, 62.5], [4, 50]]]
    front = [axes.lines[0] for axes in (sizes, latencies)]
    assert {line.get_drawstyle() for line in front} == {"steps-post"}
    # Each goes on to the dearest trial, for more money buys no less.
    assert [line.get_xydata().tolist() for line in front] == [
        [[10, 50], [20, 75], [40, 75]],
        [[0.5, 25], [1, 75], [4, 75]],
    ]
    names = [sorted(text.get_text() for text in axes.texts) for axes in (sizes, latencies)]
    assert names == [["0000", "0001"], ["0001", "0003"]]
    assert [axes.get_xlabel() for axes in (sizes, latencies)] == [
        "size as int8, KiB",
        "latency of one image, ms",
    ]


def test_names_are_left_out_where_they_would_overlap():
    many = [result(k, 0.5 + k / 1000) for k in range(100)]
    costs = {each.trial: cost(100 + k, 1 + k) for k, each in enumerate(many)}
    figure = plot_pareto(many, costs)
    figure.canvas.draw()
    for axes in figure.axes:
        boxes = [text.get_window_extent() for text in axes.texts]
        assert len(boxes) > 4
        assert axes.texts[0].get_text() == "0099"  # the best has its name in any case
        for number, box in enumerate(boxes):
            assert not any(box.overlaps(other) for other in boxes[:number])


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("results", [[], RESULTS[:1], RESULTS[6:7], RESULTS])
def test_anything_can_be_drawn(tmp_path, results):
    path = tmp_path / "image.png"
    write_figure(path, plot_pareto(results, COSTS))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert len(set(image.convert("L").get_flattened_data())) > 20  # not a blank page


def test_an_empty_image_says_why():
    figure = plot_pareto(RESULTS[6:7], COSTS)
    assert figure.texts[-1].get_text() == "no completed trial"
