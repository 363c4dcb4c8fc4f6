"""Tables of text, cell by cell."""

from pipeline.console.tables import markdown_table, plain_table


def test_columns_of_a_plain_table_are_aligned():
    table = plain_table(("file", "KiB", ""), [("a", "1,000.0", ""), ("long name", "2.5", "good")])
    assert table.split("\n") == ["file           KiB", "a          1,000.0", "long name      2.5  good"]


def test_markdown_table():
    table = markdown_table(("a", "b"), [("1", "2"), ("3", "")])
    assert table.split("\n") == ["| a | b |", "| --- | --- |", "| 1 | 2 |", "| 3 |  |"]
