"""Progress: plain lines by the clock, a bar on a terminal, and spans of time in words."""

import io
import sys
from types import SimpleNamespace

import pytest

from pipeline.console import progress
from pipeline.console.progress import Progress, duration


@pytest.mark.parametrize(
    ("seconds", "expected"),
    [
        (0.4, "0 s"),
        (42, "42 s"),
        (89.4, "89 s"),
        (90, "2 min"),
        (420, "7 min"),
        (3569, "59 min"),
        (3599, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (360_000, "100 h 00 min"),
    ],
)
def test_duration(seconds, expected):
    assert duration(seconds) == expected


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def run(clock, counter: Progress, seconds: float, times: int) -> None:
    for _ in range(times):
        clock.now += seconds
        counter.update(1, "loss 1.0")


def test_plain_lines_come_every_fifteen_seconds_and_time_from_the_second_unit(clock, capsys):
    counter = Progress(101, "training", "steps")
    run(clock, counter, 10.0, 1)  # the slow first unit
    assert capsys.readouterr().out == ""
    run(clock, counter, 1.0, 25)
    # 15 s and 30 s after the start: 6 and 21 units done, at one a second from the second on.
    assert capsys.readouterr().out.splitlines() == [
        "training: 6 of 101 steps, 2 min left, loss 1.0",
        "training: 21 of 101 steps, 80 s left, loss 1.0",
    ]


def test_units_done_before_count_as_done_but_not_in_the_rate(clock, capsys):
    counter = Progress(2_000, "reading", "files", done=1_000)
    run(clock, counter, 1.0, 16)
    assert capsys.readouterr().out == "reading: 1,015 of 2,000 files, 16 min left, loss 1.0\n"
    counter.line("a line that stays")
    assert capsys.readouterr().out == "a line that stays\n"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_a_bar_that_goes_and_lines_that_stay(monkeypatch, capsys):
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    with Progress(10, "training", "steps", done=4) as counter:
        assert "training:  40%" in terminal.getvalue()
        counter.update(3, "loss 1.0")
        counter.line("epoch 1 is over")
        counter._bar.refresh()
        assert "training:  70%" in terminal.getvalue()
        assert "loss 1.0" in terminal.getvalue()
    shown = terminal.getvalue()
    assert "epoch 1 is over\n" in shown
    # What stays on a line is what was written after the last carriage return.
    assert [line.rpartition("\r")[2].strip() for line in shown.split("\n")] == ["epoch 1 is over", ""]
    assert capsys.readouterr().err == ""
