"""Rows and tables of the report, in plain text and in Markdown."""

import math

from export.bundle.report import FILES_HEADER, TRIED_HEADER, file_rows, tried_row
from tests.export.bundle.samples import FIRST


def interval(lost: int, won: int, images: int) -> str:
    """Agresti and Min 2005: half an image more in each of four cells, and 1.96 errors."""
    total, lost, won = images + 2, lost + 0.5, won + 0.5
    error = math.sqrt((lost + won) / total - ((lost - won) / total) ** 2) / math.sqrt(total)
    low, high = ((lost - won) / total + side * 1.959964 * error for side in (-1, 1))
    return f"({100 * low:.2f} to {100 * high:.2f})"


def test_figures_stand_in_the_row_of_their_file(report, float32):
    size = float32.size / 1024
    none, some = interval(0, 0, 10), interval(2, 1, 10)
    assert file_rows(report) == [
        ("model_float32.tflite", f"{size + 2:.1f}", "90.00%", f"0.00 {none}", "100.00%", "0.500", ""),
        ("model_int8.tflite", f"{size:.1f}", "80.00%", f"10.00 {some}", "70.00%", "0.125", "10.0"),
    ]
    assert tried_row(report["int8_tried"][0]) == (
        FIRST,
        f"{size:.1f}",
        "80.00%",
        f"10.00 {some}",
        "0.500",
        "costs too much",
    )
    assert tried_row(report["int8_tried"][1])[-2:] == ("0.750", "chosen")
    assert {len(row) for row in file_rows(report)} == {len(FILES_HEADER)}
    assert len(tried_row(report["int8_tried"][0])) == len(TRIED_HEADER)
