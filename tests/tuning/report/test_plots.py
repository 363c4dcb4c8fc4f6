"""The images of a search: what is drawn, where, and that they can always be drawn."""

import numpy as np
import pytest
from matplotlib.collections import PathCollection
from PIL import Image

from pipeline.files.whole import write_figure
from tuning.report.plots import plot_confirmation, plot_curves, plot_importance, plot_progress
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult


def result(number: int, status: str, accuracy=None, epochs=1, purpose=SEARCH) -> TrialResult:
    entropy, images = (None, None) if accuracy is None else (1.0, 100)
    return TrialResult(f"{number:04d}", purpose, status, {}, 0, accuracy, entropy, images, 1, epochs)


RESULTS = [
    result(4, COMPLETED, 0.875, 10),
    result(0, COMPLETED, 0.5, 10),
    result(1, FAILED, None, 2),
    result(2, COMPLETED, 0.75, 10),
    result(3, STOPPED, 0.25, 3),
    result(5, COMPLETED, 0.625, 10),
    result(6, STOPPED, 0.125, 3),
    result(7, COMPLETED, 0.99, 10, CONFIRMATION),
]


def dots(axes, label: str) -> list[list[float]]:
    (drawn,) = (c for c in axes.collections if c.get_label() == label)
    assert isinstance(drawn, PathCollection)
    return drawn.get_offsets().tolist()


def line(axes, label: str):
    (drawn,) = (each for each in axes.lines if each.get_label() == label)
    return drawn


def test_progress_marks_every_status():
    figure = plot_progress(RESULTS)
    scores = figure.axes[0]
    assert sorted(dots(scores, COMPLETED)) == [[0, 50], [2, 75], [4, 87.5], [5, 62.5]]
    assert sorted(dots(scores, STOPPED)) == [[3, 25], [6, 12.5]]
    assert [x for x, _ in dots(scores, FAILED)] == [1]
    shown = {text.get_text() for text in figure.legends[0].get_texts()}
    assert shown == {COMPLETED, STOPPED, FAILED, "best completed so far"}
    shapes = {str(c.get_paths()[0].vertices) for c in scores.collections}
    assert len(shapes) == 3
    assert scores.get_ylabel() == "validation accuracy, %"


def test_progress_follows_the_best_to_the_last_trial():
    figure = plot_progress(RESULTS)
    best = line(figure.axes[0], "best completed so far")
    assert best.get_drawstyle() == "steps-post"
    assert best.get_xydata().tolist() == [[0, 50], [2, 75], [4, 87.5], [5, 87.5], [6, 87.5]]


def test_progress_counts_epochs():
    figure = plot_progress(RESULTS)
    _, effort, total = figure.axes
    assert [bar.get_height() for bar in effort.patches] == [10, 2, 10, 3, 10, 10, 3]
    spent = line(total, "epochs of all so far").get_xydata().tolist()
    assert spent == [[0, 10], [1, 12], [2, 22], [3, 25], [4, 35], [5, 45], [6, 48]]


def test_a_stopped_trial_is_never_the_best_so_far():
    figure = plot_progress([result(0, STOPPED, 0.9), result(1, COMPLETED, 0.5)])
    best = line(figure.axes[0], "best completed so far")
    assert best.get_ydata().tolist() == [50, 50]


def test_importance_has_the_greatest_on_top():
    figure = plot_importance({"width": 0.25, "dropout": 0.625, "policy": 0.125})
    (axes,) = figure.axes
    bars = sorted((bar.get_y(), bar.get_width()) for bar in axes.patches)
    assert [width for _, width in bars] == [12.5, 25, 62.5]
    assert [tick.get_text() for tick in axes.get_yticklabels()] == ["policy", "width", "dropout"]


def test_importance_says_when_it_can_not_tell():
    figure = plot_importance({})
    (text,) = figure.texts
    assert "too few trials" in text.get_text()
    assert not figure.axes[0].patches


def test_confirmation_draws_mean_deviation_and_runs():
    accuracies = {"start": [0.5, 0.75, 0.625], "trial 0003": [0.875, 0.9375], "trial 0005": [0.25]}
    figure = plot_confirmation(accuracies, "start")
    (axes,) = figure.axes
    labels = [tick.get_text() for tick in axes.get_yticklabels()]
    assert labels == ["start\n3 seeds", "trial 0003\n2 seeds", "trial 0005\n1 seed"]
    bars = [c for c in axes.containers if len(c.lines[0].get_xdata())]
    assert len(bars) == 3
    for bar, shares in zip(bars, accuracies.values(), strict=True):
        percent = 100 * np.array(shares)
        (mean,) = bar.lines[0].get_xdata()
        assert mean == pytest.approx(percent.sum() / len(percent))
        # Of a sample: over n - 1.
        if len(percent) > 1:
            deviation = np.sqrt(((percent - mean) ** 2).sum() / (len(percent) - 1))
            ((low, _), (high, _)) = bar.lines[2][0].get_segments()[0]
            assert [low, high] == pytest.approx([mean - deviation, mean + deviation])
        else:
            assert not bar.has_xerr
        assert any(list(each.get_xdata()) == list(percent) for each in axes.lines)
    assert line(axes, "mean of start").get_xdata() == [62.5, 62.5]
    bottom, top = axes.get_ylim()
    assert bottom > top  # the first on top


@pytest.mark.filterwarnings("error")  # NumPy warns of the mean of nothing
@pytest.mark.parametrize("accuracies", [{}, {"start": [], "trial 0003": []}])
def test_confirmation_without_a_finished_run(accuracies):
    figure = plot_confirmation(accuracies, "start")
    assert figure.texts[0].get_text() == "no finished run"


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    "draw",
    [
        lambda: plot_progress([]),
        lambda: plot_progress([result(0, COMPLETED, 0.5)]),
        lambda: plot_progress([result(k, FAILED) for k in range(3)]),
        lambda: plot_progress([result(k, COMPLETED, k / 100, 9) for k in range(100)]),
        lambda: plot_importance({f"name{k}": k / 91 for k in range(14)}),
        lambda: plot_confirmation({"start": [0.5], "trial 0001": [0.5, 0.6]}, "start"),
        lambda: plot_confirmation({}, ""),
    ],
)
def test_anything_can_be_drawn(tmp_path, draw):
    path = tmp_path / "image.png"
    write_figure(path, draw())
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert len(set(image.convert("L").get_flattened_data())) > 20  # not a blank page


def test_each_learning_curve_is_drawn_to_where_it_was_cut():
    whole = TrialResult("0000", SEARCH, COMPLETED, {}, 0, 0.5, 1.0, 100, 3, 3, accuracies=(0.25, 0.5, 0.375))
    best = TrialResult("0001", SEARCH, COMPLETED, {}, 0, 0.75, 1.0, 100, 3, 3, accuracies=(0.125, 0.5, 0.75))
    cut = TrialResult("0002", SEARCH, STOPPED, {}, 0, 0.1, 1.0, 100, 1, 1, accuracies=(0.125,))
    failed = TrialResult("0003", SEARCH, FAILED, {}, 0)
    axes = plot_curves([whole, best, cut, failed]).axes[0]
    curves = [each for each in axes.lines if len(each.get_xdata())]
    drawn = {tuple(each.get_ydata()): each.get_color() for each in curves if each.get_marker() == "None"}
    assert drawn == {(25, 50, 37.5): "tab:blue", (12.5, 50, 75): "tab:orange", (12.5,): "tab:gray"}
    ends = [(each.get_xdata()[0], each.get_ydata()[0], each.get_marker()) for each in curves]
    assert [end for end in ends if end[2] != "None"] == [(3, 37.5, "o"), (3, 75, "o"), (1, 12.5, "v")]
    assert plot_curves([failed]).texts[-1].get_text() == "no trial has ended an epoch"
