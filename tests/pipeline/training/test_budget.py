"""`--minutes`: how many epochs are planned, that the plan leaves no trace in the run, what is refused."""

import math
import time

import numpy as np
import pytest

import train as command
from pipeline.config.config import load_values
from pipeline.config.presets import preset
from pipeline.run_directory import RunDirectory
from pipeline.training.budget import Pace, measure_pace
from pipeline.training.resolve import prepare_ground, resolve
from pipeline.training.train import train
from tests.commands import run_command

QUICK = {"model": "convnet", "width": 2, "devices": "cpu", "batch_size": 256, "early_stopping": 1}
"""The learning rates tell how many epochs were planned; the run need not last as long."""


@pytest.mark.parametrize(
    ("seconds", "epochs"),
    # An epoch takes 10 x 0.5 s + 5 s, everything else 20 s.
    [(120, 10), (119.9, 9), (30, 1), (29, 0)],
)
def test_as_many_epochs_as_end_in_time(seconds, epochs):
    assert Pace(once=20, step=0.5, epoch_end=5).epochs_within(seconds, steps_per_epoch=10) == epochs
    assert Pace(13, 0.5, 5, linear_head=7).epochs_within(seconds, steps_per_epoch=10) == epochs


@pytest.fixture(scope="module")
def planned(tmp_path_factory) -> RunDirectory:
    """A finished run whose epochs were planned."""
    run = RunDirectory(tmp_path_factory.mktemp("planned"))
    assert train(preset("digits").with_values(QUICK), run.path, deadline=time.monotonic() + 40) == 0
    return run


def test_the_linear_head_is_measured_where_a_run_begins_with_one(planned, tmp_path):
    learned = {**QUICK, "weights": str(planned.model), "linear_head": True}
    config = preset("digits").with_values(learned)
    began = time.monotonic()
    pace = measure_pace(resolve(config, prepare_ground(config)), RunDirectory(tmp_path), 0.1, math.inf)
    assert 0 < pace.linear_head < time.monotonic() - began
    assert pace.fixed == pace.once + pace.linear_head


def test_a_planned_run_has_the_bits_of_one_that_was_given_its_epochs(planned, tmp_path):
    given = RunDirectory(tmp_path)
    config = preset("digits").with_values({**QUICK, "epochs": load_values(planned.config)["epochs"]})
    assert train(config, given.path) == 0
    assert given.config.read_bytes() == planned.config.read_bytes()
    with np.load(planned.best_weights) as left, np.load(given.best_weights) as right:
        assert set(left) == set(right)
        for name in left:
            np.testing.assert_array_equal(left[name], right[name])
    assert not [path for path in planned.path.iterdir() if "probe" in path.name]


def test_too_short_a_time_is_told_and_leaves_nothing(tmp_path):
    arguments = "digits --model convnet --width 2 --devices cpu --minutes 0.01 --run-dir".split()
    outcome = run_command(command.main, *arguments, tmp_path / "run")
    assert outcome.code == 2
    over = "they were over in epoch 1, step 1 of a probe"
    assert outcome.error == f"error: --minutes must be enough for one epoch; {over}\n"
    assert not [*tmp_path.iterdir()]


def test_a_loss_that_is_not_finite_is_told_before_the_run_begins(tmp_path):
    arguments = "digits --model convnet --width 2 --devices cpu --optimizer sgd --minutes 60".split()
    rates = "--peak-learning-rate 1e30 --schedule constant --warmup-share 0 --run-dir".split()
    outcome = run_command(command.main, *arguments, *rates, tmp_path / "run")
    assert outcome.code == 1
    last = outcome.printed.splitlines()[-1]
    assert last.startswith("stopped while it was planned: the loss became")
    assert last.endswith("--peak-learning-rate 1e+30")
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize(
    ("arguments", "rule"),
    [
        ("digits --minutes 5 --epochs 3", "--epochs and --minutes exclude each other"),
        ("--minutes 5 --resume --run-dir x", "--resume goes on for the epochs that the run began with"),
        ("--minutes 0", "--minutes must be above 0"),
    ],
)
def test_what_minutes_cannot_mean(arguments, rule):
    outcome = run_command(command.main, *arguments.split())
    assert (outcome.code, outcome.error.count("\n")) == (2, 1)
    assert rule in outcome.error
