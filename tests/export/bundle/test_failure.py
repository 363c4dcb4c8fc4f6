"""What a failed export leaves: every way that was tried, and the worst layers."""

import pytest

from export.bundle.failure import write_failure
from export.bundle.report import describe_tried, tried_row
from tests.export.bundle.samples import ERRORS, FIRST, SECOND, without_nan


def test_a_failure_leaves_its_own_files_only(failed):
    assert {path.name for path in failed.iterdir()} == {"report.json", "report.md", "layers.png"}


def test_json_of_a_failure(failed, found):
    report = without_nan((failed / "report.json").read_text())
    assert [tried["what"] for tried in report["int8_tried"]] == [FIRST, SECOND]
    assert [row["layer"] for row in report["layers"]] == [error.layer for error in ERRORS]
    assert report["layers"][0] == {
        "layer": "conv1",
        "operation": "CONV_2D",
        "tensor": "conv1;relu1",
        "signal_to_noise_db": -0.75,
    }
    assert report["layers"][-1]["signal_to_noise_db"] is None


def test_text_of_a_failure_names_the_ten_worst_layers_and_what_to_try(failed, found):
    text = (failed / "report.md").read_text()
    rows = text.split("signal to noise, dB |\n| --- | --- | --- |\n")[1].split("\n\n")[0]
    assert rows.split("\n")[:2] == ["| conv1 | CONV_2D | -0.8 |", "| add | ADD | 12.2 |"]
    assert len(rows.split("\n")) == 10
    for tried in found.int8.tried:
        assert f"| {' | '.join(tried_row(describe_tried(tried, 0.5)))} |" in text
    for flag in ("--repair", "--max-drop", "--formats int16", "(layers.png)"):
        assert flag in text


def test_image_of_a_failure_has_the_worst_layer_on_top(figures, failed):
    (axes,) = figures[0].axes
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in axes.patches]
    # Ten bars at 0, 1, 2, ...; the axis points down, so that the first is on top.
    assert bars == [
        pytest.approx((place, error.signal_to_noise_db)) for place, error in enumerate(ERRORS[:10])
    ]
    assert axes.yaxis_inverted()
    assert [label.get_text() for label in axes.get_yticklabels()][:2] == ["conv1 (CONV_2D)", "add (ADD)"]


def test_layers_without_any_error_are_told_and_not_drawn(figures, tmp_path):
    write_failure(tmp_path / "failed", [], ERRORS[-1:])
    assert list(figures[0].axes[0].patches) == []
    assert "| head | RESHAPE | inf |" in (tmp_path / "failed" / "report.md").read_text()
