"""The file that answers, and what lies beside it."""

import pytest

from pipeline.prediction.model_file import find_model


@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_names_of_classes_end_where_their_lines_do(tmp_path, end):
    (tmp_path / "net.keras").touch()
    (tmp_path / "labels.txt").write_bytes(f"cat{end}big dog{end}".encode())
    assert find_model(str(tmp_path / "net.keras")).class_names == ("cat", "big dog")
