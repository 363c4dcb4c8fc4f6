"""The table of running trials: its lines, its bar's count, and the time that is left."""

from types import SimpleNamespace

import pytest

from tests.tuning.samples import START, make_plan, make_result
from tuning.report import live_table
from tuning.report.live_table import HEADER, LiveTable
from tuning.space.budget import Budget
from tuning.trials.results import CONFIRMATION, FAILED, STOPPED

PLAN = make_plan()
"""5 trials of 10 epochs, then at most 2 + 1 configurations with 3 seeds: 14 trials, 140 epochs."""

OTHER = {"width": 32, "dropout": 0.0123456}


def no_clock() -> float:
    """What a search has taken is asked for its budget of minutes alone."""
    raise AssertionError


@pytest.fixture
def clock(monkeypatch):
    clock = SimpleNamespace(now=1000.0)
    monkeypatch.setattr(live_table, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


def lines(capsys) -> list[str]:
    """What was printed, with single blanks."""
    return [" ".join(line.split()) for line in capsys.readouterr().out.splitlines()]


def test_a_line_for_each_trial(clock, capsys):
    table = LiveTable(PLAN, [], no_clock)
    assert lines(capsys) == [" ".join(HEADER.split())]
    failed = make_result(4, None, status=FAILED, reason="loss is no longer finite", epochs=0)
    results = [
        make_result(0, 0.5, epochs=10, seconds=42.0),
        make_result(1, 0.9, values=OTHER, seconds=120.0),
        make_result(2, 0.25, values={"width": 8}, status=STOPPED, epochs=3, seconds=4.4),
        make_result(5, 0.95, purpose=CONFIRMATION, seed=3),
        failed,
    ]
    for result in results:
        clock.now += 60
        table.ended(result)
    # A minute a trial, of which 13, 12, 11, 10 are left; the best is the best of the search.
    assert lines(capsys) == [
        "0000 completed 50.00% 50.00% 10 42 s 13 min the start",
        "0001 completed 90.00% 90.00% 10 2 min 12 min width 32, dropout 0.0123",
        "0002 stopped early 25.00% 90.00% 3 4 s 11 min width 8",
        "0005 seed 3 95.00% 90.00% 10 60 s 10 min the start",
        "0004 failed loss is no longer finite",
    ]


def test_columns_stand_below_their_heads(clock, capsys):
    table = LiveTable(PLAN, [], no_clock)
    clock.now += 60
    table.ended(make_result(0, 0.5, status=STOPPED))
    header, row = capsys.readouterr().out.splitlines()
    for head, value in (("accuracy", "50.00%"), ("epochs", "    10"), ("left", "13 min")):
        assert header.index(head) + len(head) == row.index(value) + len(value)
    assert header.index("hyperparameters") == row.index("the start")


def test_what_was_known_before_counts(clock, capsys):
    known = [
        make_result(0, 0.75),
        make_result(1, 0.99, purpose=CONFIRMATION),
        make_result(2, None, status=FAILED),
        make_result(3, 0.8, status=STOPPED),
    ]
    table = LiveTable(PLAN, known, no_clock)
    assert (table._progress.total, table._progress.done) == (140, 40)
    clock.now += 120
    table.ended(make_result(4, 0.1))
    # 14 - 4 - 1 trials of two minutes.
    assert lines(capsys)[1] == "0004 completed 10.00% 80.00% 10 60 s 18 min the start"


def test_more_trials_than_were_counted_on_leave_no_time(clock, capsys):
    table = LiveTable(make_plan(max_trials=1, finalists=1, seeds=1), [], no_clock)
    for number in range(4):
        clock.now += 60
        table.ended(make_result(number))
    left = [line.split(" 60 s ")[1] for line in lines(capsys)[1:]]
    assert left == ["2 min the start", "60 s the start", "0 s the start", "0 s the start"]


def test_a_trial_counts_as_whole_however_it_ends(clock):
    table = LiveTable(PLAN, [], no_clock)
    for epoch in range(1, 4):
        table.epoch("0000", [0.1] * epoch)
        table.epoch("0001", [0.1] * epoch)  # of another worker
    assert table._progress.done == 6
    table.ended(make_result(0, status=STOPPED, epochs=3))
    assert table._progress.done == 13
    table.ended(make_result(2))
    assert table._progress.done == 23
    for epoch in range(4, 11):
        table.epoch("0001", [0.1] * epoch)
    table.ended(make_result(1))
    assert table._progress.done == 30


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (START, "the start"),
        ({"width": 16}, "the start"),
        ({"width": 16, "dropout": 0.5}, "dropout 0.5"),
        ({"width": 8, "kind": "lion", "dropout": 1e-5}, "width 8, kind lion, dropout 1e-05"),
    ],
)
def test_describe(values, expected, clock):
    assert LiveTable(PLAN, [], no_clock).describe(make_result(0, values=values)) == expected


def test_the_epoch_is_noted_beside_the_time_left(clock, monkeypatch, capsys):
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    table = LiveTable(PLAN, [], no_clock)
    table.epoch("0007", [0.25])
    clock.now += 20
    table.epoch("0007", [0.25, 0.5])
    # The one epoch that was timed took 20 s, and 138 are left.
    assert lines(capsys)[1] == "tuning: 2 of 140 epochs, 46 min left, trial 0007 epoch 2/10 50.00%"


def test_of_a_budget_of_minutes_the_time_left_is_what_is_left_of_it(clock, monkeypatch, capsys):
    monkeypatch.setattr("time.monotonic", lambda: clock.now)
    # Two minutes were taken by a former process.
    plan = make_plan(budget=Budget(minutes=10), max_trials=100)
    table = LiveTable(plan, [], lambda: clock.now - 1000 + 120)
    clock.now += 60
    table.ended(make_result(0))
    clock.now += 60
    table.epoch("0001", [0.5])
    # 4 of 10 minutes; a bar of seconds goes on by one a second.
    assert lines(capsys)[1:] == [
        "0000 completed 50.00% 50.00% 10 60 s 7 min the start",
        "tuning: 240 of 600 s, 6 min left, trial 0001 epoch 1/10 50.00%",
    ]


def test_of_a_budget_of_epochs_only_those_that_were_trained_count(clock):
    plan = make_plan(budget=Budget(max_epochs_total=60), max_trials=100)
    table = LiveTable(plan, [make_result(0)], no_clock)
    table.ended(make_result(1, status=STOPPED, epochs=3))
    assert (table._progress.total, table._progress.done) == (60, 13)


def test_what_is_frozen_and_thawed_is_called_so(clock, capsys):
    table = LiveTable(
        make_plan(tuner="freeze_thaw"), [make_result(0, 0.25, status=STOPPED, epochs=1)], no_clock
    )
    table.ended(make_result(1, 0.5, status=STOPPED, epochs=1))
    table.ended(make_result(0, 0.5, status=STOPPED, epochs=3))
    table.ended(make_result(0, 0.75))
    what = [line.split("%")[0].rpartition(" ")[0] for line in lines(capsys)[1:]]
    assert what == ["0001 frozen", "0000 thawed, frozen", "0000 thawed, completed"]
