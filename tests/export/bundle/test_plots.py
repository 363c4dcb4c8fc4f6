"""The images of a bundle and of a failure."""

import pytest
from PIL import Image

from export.bundle.plots import plot_files


def test_files_are_drawn_with_their_own_figures(figures, report, tmp_path):
    plot_files(report, tmp_path / "files.png")
    sizes, speeds, drops = figures[0].axes
    files = report["files"].values()
    assert [bar.get_width() for bar in sizes.patches] == [file["bytes"] / 1024 for file in files]
    assert [bar.get_width() for bar in speeds.patches] == [0.5, 0.125]
    assert [label.get_text() for label in sizes.get_yticklabels()] == ["float32", "int8"]
    assert sizes.yaxis_inverted()
    points = [container.lines[0].get_xydata()[0].tolist() for container in drops.containers]
    assert points == [[0.0, 0.0], [10.0, 1.0]]
    for container, file in zip(drops.containers, files, strict=True):
        ((start, end),) = container.lines[2][0].get_segments()
        assert (start[0], end[0]) == pytest.approx(file["drop_interval_95_points"])
    (limit,) = [line for line in drops.lines if line.get_linestyle() == ":"]
    assert "--max-drop" in drops.get_title()
    assert set(limit.get_xdata()) == {report["max_drop_points"]}


def test_images_are_png_and_not_blank(report, failed, tmp_path):
    plot_files(report, tmp_path / "files.png")
    for path in (tmp_path / "files.png", failed / "layers.png"):
        with Image.open(path) as image:
            assert image.format == "PNG"
            assert len(set(image.convert("L").get_flattened_data())) > 20
