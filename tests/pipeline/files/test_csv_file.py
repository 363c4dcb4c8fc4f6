"""CSV that reads back the same and is no program to a spreadsheet."""

import csv

import pytest

from pipeline.files.csv_file import read_csv, write_csv


def test_rows_are_written_as_csv(path):
    write_csv(path, [["name", "share"], ["a,b", 0.5]])
    assert path.read_bytes() == b'name,share\r\n"a,b",0.5\r\n'


FORMULAS = [
    *("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "-", "=", "-cat", "-inf"),
    *("\uff1d1+1", "\uff0b1", "\uff0d1", "\uff20A1", "'=1", "''=1"),
]

PLAIN = ["cat", "", "a=b", "'", "'cat", "''", " =1", "-1", "+1.5e-3", "-.5", "1e5", "2.", 'a,"b"\nc']


@pytest.mark.parametrize("text", FORMULAS)
def test_text_is_never_a_formula_and_reads_back_the_same(path, text):
    write_csv(path, [["name", text], [text, "cat"]])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name", f"'{text}"], [f"'{text}", "cat"]]
    assert read_csv(path) == [{"name": text, text: "cat"}]


@pytest.mark.parametrize("text", PLAIN)
def test_other_text_is_written_as_it_is(path, text):
    write_csv(path, [["name"], [text]])
    with path.open(newline="", encoding="utf-8") as file:
        assert list(csv.reader(file)) == [["name"], [text]]
    assert read_csv(path) == [{"name": text}]


def test_numbers_are_written_as_they_are(path):
    write_csv(path, [["number", "none"], [-1, None], [-0.5, None], [float("-inf"), None]])
    assert path.read_bytes() == b"number,none\r\n-1,\r\n-0.5,\r\n-inf,\r\n"
