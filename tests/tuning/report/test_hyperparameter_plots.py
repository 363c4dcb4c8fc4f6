"""The images of hyperparameters: each value at its place, and that they can always be drawn."""

import math
from itertools import pairwise

import numpy as np
import pytest
from matplotlib.collections import LineCollection
from PIL import Image

from pipeline.files.whole import write_figure
from tuning.report.hyperparameter_plots import plot_hyperparameters, plot_parallel
from tuning.space.search_space import Dimension, values_at
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult

SPACE = (
    Dimension("width", "channels", choices=(16, 32, 64, 128)),
    Dimension("optimizer", "the optimizer", choices=("sgd", "adamw")),
    Dimension("peak_learning_rate", "of SGD", 0.01, 1.0, log=True, when=("optimizer", ("sgd",))),
    Dimension("dropout", "share dropped", 0.0, 0.5),
    Dimension("mixing_alpha", "alpha", 0.1, 1.0),
)


def result(number, status, values, accuracy=None, purpose=SEARCH) -> TrialResult:
    entropy, images = (None, None) if accuracy is None else (1.0, 100)
    return TrialResult(f"{number:04d}", purpose, status, values, 0, accuracy, entropy, images)


SGD = {"width": 64, "optimizer": "sgd", "peak_learning_rate": 0.1, "dropout": 0.125, "mixing_alpha": 0.1}
ADAMW = {"width": 16, "optimizer": "adamw", "dropout": 0.5, "mixing_alpha": 1.0}
RESULTS = [
    result(0, COMPLETED, SGD, 0.75),
    result(1, STOPPED, ADAMW, 0.25),
    result(2, FAILED, SGD),
    result(3, COMPLETED, ADAMW, 0.5),
    result(4, COMPLETED, SGD, 0.99, CONFIRMATION),
]


def panel(figure, name: str):
    (axes,) = (axes for axes in figure.axes if axes.get_title() == name)
    return axes


def points(axes) -> dict[float, tuple[float, str]]:
    """Accuracy -> value and marker."""
    return {each.get_ydata()[0]: (each.get_xdata()[0], each.get_marker()) for each in axes.lines}


def test_panels_hold_the_values():
    figure = plot_hyperparameters(SPACE, RESULTS)
    drawn = {d.name: points(panel(figure, d.name)) for d in SPACE}
    assert drawn["dropout"] == {75: (0.125, "o"), 25: (0.5, "v"), 50: (0.5, "o")}
    assert drawn["peak_learning_rate"] == {75: (0.1, "o")}
    # Trials of one choice are set apart by less than would reach the next choice.
    for name, place in (("width", {75: 2, 25: 0, 50: 0}), ("optimizer", {75: 0, 25: 1, 50: 1})):
        assert drawn[name].keys() == place.keys()
        for accuracy, (x, _) in drawn[name].items():
            assert abs(x - place[accuracy]) <= 0.25
    assert drawn["width"][25][0] != drawn["width"][50][0]


def test_panels_have_the_scale_of_the_search():
    figure = plot_hyperparameters(SPACE, RESULTS)
    scales = {d.name: panel(figure, d.name).get_xscale() for d in SPACE}
    assert scales == {
        "width": "linear",
        "optimizer": "linear",
        "peak_learning_rate": "log",
        "dropout": "linear",
        "mixing_alpha": "linear",
    }
    for name, labels in (
        ("width", ["16", "32", "64", "128"]),
        ("optimizer", ["sgd", "adamw"]),
        ("peak_learning_rate", ["0.01", "0.1", "1"]),
        ("dropout", ["0", "0.25", "0.5"]),
    ):
        axes = panel(figure, name)
        assert [tick.get_text() for tick in axes.get_xticklabels()] == labels
    low, high = panel(figure, "peak_learning_rate").get_xlim()
    assert low < 0.01
    assert high > 1
    assert panel(figure, "dropout").get_xlabel() == "share dropped"


def test_colour_is_the_order_of_trials():
    figure = plot_hyperparameters(SPACE, RESULTS)
    colours = {each.get_ydata()[0]: each.get_color() for each in panel(figure, "dropout").lines}
    bar = figure.axes[-1]
    assert bar.get_ylabel() == "trial"
    # Viridis, from dark to bright.
    brightness = [sum(colours[accuracy][:3]) for accuracy in (75, 25, 50)]
    assert brightness == sorted(brightness)
    assert len(set(brightness)) == 3


def long_names(letters: int) -> tuple[Dimension, ...]:
    return (Dimension("policy", "", choices=("a" * letters, "b" * letters, "c" * letters)),)


@pytest.mark.parametrize(("letters", "staggered"), [(5, False), (12, True)])
def test_long_names_do_not_overlap(letters, staggered):
    figure = plot_hyperparameters(long_names(letters), [])
    figure.canvas.draw()
    ticks = panel(figure, "policy").get_xticklabels()
    assert any(tick.get_text().startswith("\n") for tick in ticks) == staggered
    for row in (ticks[::2], ticks[1::2]) if staggered else (ticks,):
        boxes = [tick.get_window_extent() for tick in row]
        assert all(left.x1 < right.x0 for left, right in pairwise(boxes))


def parallel_lines(figure) -> LineCollection:
    (lines,) = (c for c in figure.axes[0].collections if isinstance(c, LineCollection))
    return lines


def test_parallel_lines_go_through_the_values():
    figure = plot_parallel(SPACE, RESULTS)
    lines = parallel_lines(figure)
    worse, better = (np.array(segment) for segment in lines.get_segments())  # the best on top
    assert worse[:, 0].tolist() == better[:, 0].tolist() == [0, 1, 2, 3, 4, 5]
    # Choice k of n around (k + 1/2) / n; half-way in the logarithm; a quarter; the ends.
    assert better[2:, 1].tolist() == pytest.approx([math.log(10) / math.log(100), 0.25, 0, 1])
    assert worse[3:, 1].tolist() == pytest.approx([1, 1, 0])
    assert abs(better[0, 1] - 2.5 / 4) <= 0.25 / 4
    assert abs(worse[0, 1] - 0.5 / 4) <= 0.25 / 4
    assert abs(better[1, 1] - 0.5 / 2) <= 0.25 / 2
    assert worse[2, 1] < 0  # the rate of SGD is of no effect beside AdamW
    assert list(lines.get_array()) == [50, 75]
    assert lines.get_clim() == (50, 75)
    assert lines.get_linewidths()[1] > lines.get_linewidths()[0]


def test_parallel_axes_are_named():
    figure = plot_parallel(SPACE, RESULTS)
    axes = figure.axes[0]
    names = [tick.get_text() for tick in axes.get_xticklabels()]
    assert names == ["width", "optimizer", "peak\nlearning\nrate", "dropout", "mixing\nalpha"]
    marks = {(round(t.get_position()[0]), t.get_text()): t.get_position()[1] for t in axes.texts}
    assert marks[0, "16"] == pytest.approx(0.125)
    assert marks[1, "adamw"] == pytest.approx(0.75)
    assert marks[2, "0.01"] == 0
    assert marks[2, "0.1"] == pytest.approx(0.5)
    assert marks[2, "not used"] < 0
    assert (3, "not used") not in marks
    (bar,) = axes.child_axes
    assert bar.get_ylabel() == "validation accuracy, %"


def random_results(count: int, kinds: tuple[str, ...]) -> list[TrialResult]:
    random = np.random.default_rng(0)
    results = []
    for number in range(count):
        values = values_at(SPACE, iter(random.uniform(size=len(SPACE))))
        status = kinds[number % len(kinds)]
        accuracy = None if status == FAILED else random.uniform()
        results.append(result(number, status, values, accuracy))
    return results


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("draw", [plot_hyperparameters, plot_parallel])
@pytest.mark.parametrize(
    ("count", "kinds"),
    [(0, (COMPLETED,)), (1, (COMPLETED,)), (3, (FAILED,)), (100, (COMPLETED, STOPPED, FAILED))],
)
def test_anything_can_be_drawn(tmp_path, draw, count, kinds):
    path = tmp_path / "image.png"
    write_figure(path, draw(SPACE, random_results(count, kinds)))
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert len(set(image.convert("L").get_flattened_data())) > 20  # not a blank page


@pytest.mark.parametrize("draw", [plot_hyperparameters, plot_parallel])
def test_an_empty_image_says_why(draw):
    figure = draw(SPACE, random_results(3, (FAILED,)))
    assert any(text.get_text().startswith("no ") for text in figure.texts)
