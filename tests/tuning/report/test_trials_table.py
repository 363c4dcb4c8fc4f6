"""The table of trials, read back with Python's own csv."""

import csv
from types import SimpleNamespace

import pytest

from pipeline.errors import UserError
from tuning.report.trials_table import write_trials
from tuning.space.search_space import Dimension
from tuning.trials.results import COMPLETED, CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult

SPACE = (
    Dimension("optimizer", "", choices=("sgd", "adamw")),
    Dimension("peak_learning_rate", "", 0.01, 1.0, log=True, when=("optimizer", ("sgd",))),
)
REASON = 'no memory, "512" MiB\nasked'
RESULTS = [
    TrialResult("0002", SEARCH, FAILED, {"optimizer": "adamw"}, 7, reason=REASON),
    TrialResult(
        "0000",
        SEARCH,
        COMPLETED,
        {"optimizer": "sgd", "peak_learning_rate": 0.1},
        5,
        0.1 + 0.2,
        1.25,
        300,
        9,
        10,
        61.5,
        (0.2, 0.3),
    ),
    TrialResult("0010", CONFIRMATION, STOPPED, {"optimizer": "adamw"}, 6, 0.5, 0.75, 300, 2, 3, 20.0),
]
COSTS = {
    "0000": SimpleNamespace(parameters=1234, multiply_adds=56789, int8_bytes=2048, latency_ms=0.125),
    "0002": SimpleNamespace(parameters=1, multiply_adds=2, int8_bytes=3, latency_ms=4.0, arena_kib=2.5),
}


def read(path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_reason_is_never_a_formula(tmp_path):
    path = tmp_path / "trials.csv"
    write_trials(path, [TrialResult("0000", SEARCH, FAILED, {}, 7, reason="=cmd|' /C calc'!A0")], {}, SPACE)
    assert read(path)[1][-1] == "'=cmd|' /C calc'!A0"


def test_one_row_a_trial_in_their_order(tmp_path):
    path = tmp_path / "trials.csv"
    write_trials(path, RESULTS, COSTS, SPACE)
    assert read(path) == [
        [
            "trial",
            "purpose",
            "status",
            "accuracy",
            "cross_entropy",
            "best_epoch",
            "epochs",
            "seconds",
            "parameters",
            "multiply_adds",
            "int8_bytes",
            "latency_ms",
            "arena_kib",
            "seed",
            "optimizer",
            "peak_learning_rate",
            "reason",
        ],
        [
            # Every digit of 0.1 + 0.2, so that the table gives the very number that was ranked.
            "0000",
            "search",
            "completed",
            "0.30000000000000004",
            "1.25",
            "9",
            "10",
            "61.5",
            "1234",
            "56789",
            "2048",
            "0.125",
            "",
            "5",
            "sgd",
            "0.1",
            "",
        ],
        [
            "0002",
            "search",
            "failed",
            "",
            "",
            "",
            "0",
            "0.0",
            "1",
            "2",
            "3",
            "4.0",
            "2.5",
            "7",
            "adamw",
            "",
            REASON,
        ],
        [
            "0010",
            "confirmation",
            "stopped early",
            "0.5",
            "0.75",
            "2",
            "3",
            "20.0",
            "",
            "",
            "",
            "",
            "",
            "6",
            "adamw",
            "",
            "",
        ],
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_a_second_table_takes_the_place_of_the_first(tmp_path):
    path = tmp_path / "trials.csv"
    write_trials(path, RESULTS, COSTS, SPACE)
    write_trials(path, RESULTS[:1], COSTS, SPACE)
    assert [row[0] for row in read(path)] == ["trial", "0002"]


def test_nowhere_to_write_is_a_user_error(tmp_path):
    with pytest.raises(UserError, match="must be writable"):
        write_trials(tmp_path / "missing" / "trials.csv", RESULTS, COSTS, SPACE)
