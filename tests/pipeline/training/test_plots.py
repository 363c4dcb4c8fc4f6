"""The images a run leaves: how many, of what, with which captions."""

import numpy as np
import pytest
from PIL import Image

from pipeline.training import plots
from pipeline.training.plots import plot_contact_sheet, plot_learning_curves


@pytest.fixture
def figures(monkeypatch) -> list:
    """The figures that would have been saved."""
    drawn = []
    monkeypatch.setattr(plots, "write_figure", lambda path, figure: drawn.append(figure))
    return drawn


def random_batch(count: int) -> tuple[np.ndarray, np.ndarray]:
    images = np.random.default_rng(0).uniform(-20, 280, (count, 6, 5, 3)).astype(np.float32)
    return images, np.eye(3, dtype=np.float32)[np.arange(count) % 3]


NAMES = ["cat", "dog", "owl"]


@pytest.mark.parametrize(("count", "drawn", "places"), [(1, 1, 8), (11, 11, 16), (100, 32, 32)])
def test_contact_sheet_draws_the_first_images(figures, count, drawn, places):
    images, labels = random_batch(count)
    plot_contact_sheet(images, labels, NAMES, "nowhere.png")
    axes = figures[0].axes
    assert len(axes) == places
    shown = [each for each in axes if each.images]
    assert len(shown) == drawn
    for each, image in zip(shown, images, strict=False):
        received = np.asarray(each.images[0].get_array(), np.float64)
        np.testing.assert_allclose(received, np.clip(image, 0, 255), atol=1)  # whole levels
    assert [each.get_title() for each in shown] == [NAMES[k % 3] for k in range(drawn)]


@pytest.mark.parametrize(
    ("label", "caption"),
    [
        ([0, 1, 0], "dog"),
        ([0.3, 0, 0.7], "70% owl + 30% cat"),
        ([0.5, 0.5, 0], "50% cat + 50% dog"),
        ([0.998, 0.002, 0], "cat"),
        ([0.1, 0.6, 0.3], "60% dog + 30% owl"),
    ],
)
def test_captions_of_mixed_labels(figures, label, caption):
    images, _ = random_batch(1)
    plot_contact_sheet(images, np.array([label]), NAMES, "nowhere.png")
    assert figures[0].axes[0].get_title() == caption


HISTORY = [
    {
        "epoch": epoch,
        "cross_entropy": 2 / epoch,
        "val_cross_entropy": 3 / epoch,
        "accuracy": 1 - 0.5 / epoch,
        "val_accuracy": 1 - 0.6 / epoch,
        "learning_rate": 0.1 * epoch,
    }
    for epoch in (1, 2, 3)
]


def test_learning_curves_draw_every_column(figures):
    plot_learning_curves(HISTORY, "nowhere.png")
    panels = [
        [(line.get_label(), list(line.get_xdata()), list(line.get_ydata())) for line in axes.lines]
        for axes in figures[0].axes
    ]
    epochs = [1, 2, 3]

    def column(name: str) -> list[float]:
        return [row[name] for row in HISTORY]

    assert panels == [
        [("train", epochs, column("cross_entropy")), ("validation", epochs, column("val_cross_entropy"))],
        [("train", epochs, column("accuracy")), ("validation", epochs, column("val_accuracy"))],
        [("at the epoch's end", epochs, column("learning_rate"))],
    ]
    titles = [axes.get_title() for axes in figures[0].axes]
    assert titles == ["cross-entropy, nats", "accuracy", "learning rate"]


@pytest.mark.parametrize(("outlier", "ruled"), [(1e6, False), (1e-9, False), (3.0, True)])
def test_one_outlier_does_not_rule_the_axis_of_the_loss(figures, outlier, ruled):
    history = [dict(HISTORY[0], epoch=1 + at, cross_entropy=2.0 - at / 20) for at in range(20)]
    history[7]["val_cross_entropy"] = outlier
    plot_learning_curves(history, "nowhere.png")
    low, high = figures[0].axes[0].get_ylim()
    assert (low < outlier < high) == ruled
    assert low < 1.05 < 3 < high
    assert high / low < 10


@pytest.mark.parametrize(
    ("draw", "size"),
    [
        # 8 columns of 1.25 in. and 2 rows of 1.5 in. under a title of 0.4 in., 120 dots an inch.
        (lambda path: plot_contact_sheet(*random_batch(9), NAMES, path), (1200, 408)),
        (lambda path: plot_learning_curves(HISTORY, path), (1200, 384)),
        (lambda path: plot_learning_curves(HISTORY[:1], path), (1200, 384)),
    ],
)
def test_files_are_png(tmp_path, draw, size):
    path = tmp_path / "image.png"
    draw(path)
    with Image.open(path) as image:
        assert (image.format, image.size) == ("PNG", size)
        assert len(set(image.convert("L").get_flattened_data())) > 20  # not a blank page
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("name", ["5$ and 10%", r"$\x$"])
def test_any_class_name_can_be_drawn(tmp_path, name):
    images, labels = random_batch(1)
    plot_contact_sheet(images, labels, [name, "b", "c"], tmp_path / "image.png")
    assert (tmp_path / "image.png").exists()
