"""A search within a budget: it ends in time, its confirmation included, and a kill changes nothing."""

import dataclasses

import pytest

from tests.tuning.oracles.test_oracles import CONTINUOUS, Driver, plan_of
from tests.tuning.samples import make_result
from tuning.oracles import search_oracle
from tuning.oracles.oracles import ORACLES, flatness
from tuning.space.budget import Budget
from tuning.trials.results import CONFIRMATION, SEARCH
from tuning.trials.trial import CONFIRMATION_SEED

EPOCHS = 10
"""Of a whole trial of `plan_of`."""


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


def rate_score(values):
    return 1 - abs(values["peak_learning_rate"] - 0.3) - values["dropout"] / 10


def budgeted(tuner="random", finalists=3, seeds=3, minutes=None, max_epochs_total=None):
    plan = plan_of(tuner, space=CONTINUOUS, max_trials=1000)
    return dataclasses.replace(
        plan, finalists=finalists, seeds=seeds, budget=Budget(minutes, max_epochs_total)
    )


def counts(driver) -> tuple[int, int, int]:
    """Trials of the search, configurations that are confirmed, and seeds of each."""
    again = [result for result in driver.results if result.purpose == CONFIRMATION]
    searched = sum(result.purpose == SEARCH for result in driver.results)
    return searched, len({str(result.values) for result in again}), len({result.seed for result in again})


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        # Half of 40 whole trainings is more than 4 configurations with 3 seeds take.
        (400, (28, 4, 3)),
        # Half of 16 is for the confirmation: with 3 seeds each, the best and the start fit.
        (160, (8, 2, 3)),
        # The least: two trials, and both once more.
        (40, (2, 2, 1)),
        (49, (2, 2, 1)),
    ],
)
def test_epochs_of_all_trainings_together_are_kept(epochs, expected, tmp_path):
    driver = Driver(tmp_path, budgeted(max_epochs_total=epochs), rate_score)
    driver.run()
    assert counts(driver) == expected
    assert sum(result.epochs for result in driver.results) <= epochs
    assert "budget" in driver.oracle.why_ended
    assert driver.oracle.final.seeds == expected[2]


@pytest.mark.parametrize("tuner", ORACLES)
def test_every_tuner_keeps_it(tuner, tmp_path):
    plan = budgeted(tuner, finalists=1, seeds=2, max_epochs_total=120)
    if tuner == "grid":
        choices = tuple(n / 10 for n in range(5))
        space = tuple(dataclasses.replace(d, low=0, high=0, log=False, choices=choices) for d in CONTINUOUS)
        plan = dataclasses.replace(plan, space=space)
    driver = Driver(tmp_path, plan, rate_score)
    driver.run()
    assert counts(driver)[2] == 2
    assert 6 * EPOCHS <= sum(result.epochs for result in driver.results) <= 120


def test_a_kill_after_each_trial_changes_nothing(tmp_path):
    plan = budgeted("bayesian", max_epochs_total=160)
    whole, killed = (Driver(tmp_path / name, plan, rate_score) for name in ("whole", "killed"))
    whole.run()
    while (trial := killed.ask()).status != "STOPPED":
        killed.start_again()
        assert killed.ask().trial_id == trial.trial_id
        killed.finish(killed.oracle.trials[trial.trial_id])
    assert killed.results == whole.results


def test_more_may_be_asked_of_a_search_that_has_ended(tmp_path):
    driver = Driver(tmp_path, budgeted(max_epochs_total=80), rate_score)
    first = len(driver.run())
    driver.start_again()
    assert len(driver.run()) == first
    driver.plan = budgeted(max_epochs_total=400)
    driver.start_again()
    assert len(driver.run()) > first
    assert sum(result.epochs for result in driver.results) <= 400


@pytest.mark.parametrize("more", [0, 3 * EPOCHS])
def test_a_little_more_takes_nothing_of_the_confirmation_back(more, tmp_path):
    driver = Driver(tmp_path, budgeted(finalists=2, max_epochs_total=180), rate_score)
    driver.run()
    before = counts(driver)
    assert before == (9, 3, 3)
    driver.plan = budgeted(finalists=2, max_epochs_total=181 + more)
    driver.start_again()
    driver.run()
    assert (driver.oracle.final.finalists, driver.oracle.final.seeds) == (2, 3)
    assert counts(driver) == before


class Clock:
    """Time that goes by where a driver trains: so many seconds an epoch, more beside a rate."""

    def __init__(self, monkeypatch, driver, pace) -> None:
        self.now, self.pace = 0.0, pace
        self.finish = driver.finish
        driver.finish = self.train
        self.driver = driver
        monkeypatch.setattr(search_oracle, "seconds_of_process", lambda: self.now)

    def train(self, trial):
        values = trial.hyperparameters.values
        seconds = self.pace(values) * EPOCHS
        self.now += seconds
        self.finish(trial)
        self.driver.results[-1] = dataclasses.replace(self.driver.results[-1], seconds=seconds)


@pytest.mark.parametrize("minutes", [5, 12, 20])
def test_minutes_are_kept_with_little_left(minutes, monkeypatch, tmp_path):
    driver = Driver(tmp_path, budgeted(minutes=minutes), rate_score)
    clock = Clock(monkeypatch, driver, lambda values: 1.5)
    driver.run()
    searched, configurations, seeds = counts(driver)
    assert clock.now <= 60 * minutes - 15
    # What is left would not have been enough for one training more.
    assert clock.now > 60 * minutes - 15 - 2 * 15
    assert searched >= configurations >= 2
    assert seeds == 3 if minutes > 5 else seeds >= 1


def test_a_confirmation_that_is_slower_than_thought_loses_seeds_and_ends_in_time(monkeypatch, tmp_path):
    driver = Driver(tmp_path, budgeted(finalists=1, minutes=10), rate_score)
    # As if another program began to compute beside it.
    clock = Clock(monkeypatch, driver, lambda values: 3 if CONFIRMATION_SEED in values else 2)
    driver.run()
    _, configurations, seeds = counts(driver)
    assert (configurations, seeds) == (2, 2)
    assert driver.oracle.final.seeds == 2
    assert clock.now <= 600


def test_minutes_that_are_over_after_one_trial_confirm_nothing(monkeypatch, tmp_path):
    driver = Driver(tmp_path, budgeted(minutes=5), rate_score)
    Clock(monkeypatch, driver, lambda values: 15)
    assert len(driver.run()) == 1
    assert driver.oracle.is_too_short()
    driver.plan = budgeted(minutes=30)
    driver.start_again()
    assert len(driver.run()) > 2
    assert not driver.oracle.is_too_short()


def test_one_trial_that_was_asked_for_is_confirmed_where_a_second_would_not_fit(monkeypatch, tmp_path):
    plan = dataclasses.replace(budgeted(minutes=5), max_trials=1)
    driver = Driver(tmp_path, plan, rate_score)
    clock = Clock(monkeypatch, driver, lambda values: 12)
    assert len(driver.run()) == 1
    assert not driver.oracle.is_too_short()
    assert counts(driver) == (1, 1, 1)
    assert clock.now <= 300


def test_the_only_trial_that_is_allowed_is_confirmed(tmp_path):
    start = []

    def allowed(values):
        start[:] = start or [values]
        return values == start[0]

    driver = Driver(tmp_path, budgeted(max_epochs_total=60), rate_score, allowed)
    assert len(driver.run()) == 1
    assert counts(driver) == (1, 1, 3)
    assert not driver.oracle.is_too_short()
    driver.start_again()
    assert len(driver.run()) == 1
    assert not driver.oracle.is_too_short()


def test_the_time_of_former_processes_counts(monkeypatch, tmp_path):
    driver = Driver(tmp_path, budgeted(minutes=5), rate_score)
    clock = Clock(monkeypatch, driver, lambda values: 1.5)
    for _ in range(4):
        driver.finish(driver.ask())
    before, clock.now = clock.now, 0.0
    driver.start_again()
    driver.run()
    assert 300 - 15 - 2 * 15 < before + clock.now <= 300 - 15


@pytest.mark.parametrize("tuner", ["random", "bayesian", "freeze_thaw"])
def test_epochs_end_where_every_trial_fails(tuner, tmp_path):
    driver = Driver(tmp_path, budgeted(tuner, max_epochs_total=40), lambda values: None)
    # Each spends the epoch in which it failed.
    assert 2 <= len(driver.run()) <= 40


def test_minutes_end_where_every_trial_fails(monkeypatch, tmp_path):
    driver = Driver(tmp_path, budgeted(minutes=5), lambda values: None)
    clock = Clock(monkeypatch, driver, lambda values: 1.5)
    assert len(driver.run()) > 2
    assert clock.now <= 300


def test_one_that_fails_at_once_does_not_make_the_others_dear(monkeypatch, tmp_path):
    failures = iter([None])
    driver = Driver(tmp_path, budgeted(minutes=5), lambda values: next(failures, rate_score(values)))
    clock = Clock(monkeypatch, driver, lambda values: 1.5)
    driver.run()
    assert counts(driver)[0] > 5
    assert clock.now <= 300


def test_a_search_is_flat_where_a_gain_could_not_be_told_from_chance():
    # 89 of 98 and one more of each kind: 0.9 of 100, whose standard error on 98 images is 3.03 points.
    results = [make_result(0, 89 / 98, images=98), make_result(1, 0.5, images=98)]
    assert flatness(0.00304, results) == ""
    assert "gain 0.302 points" in flatness(0.00302, results)
    assert flatness(0.00302, results).endswith("accuracy by 3.03")
    assert flatness(0.0, []) == ""


def test_a_search_with_one_score_is_not_flat(tmp_path):
    plan = dataclasses.replace(
        plan_of("bayesian", space=CONTINUOUS, max_trials=5), stop_when_flat=True, seeds=1
    )
    scores = iter([0.5])
    driver = Driver(tmp_path, plan, lambda values: next(scores, None))
    assert len(list(driver.search())) == 5
    assert driver.oracle.why_ended == ""


def test_a_flat_search_ends_and_a_steep_one_does_not(tmp_path):
    plan = dataclasses.replace(
        plan_of("bayesian", space=CONTINUOUS, max_trials=6), stop_when_flat=True, seeds=1
    )
    flat = Driver(tmp_path / "flat", plan, lambda values: 0.5)
    assert len(flat.run()) < 6
    assert "chance" in flat.oracle.why_ended
    steep = Driver(tmp_path / "steep", plan, lambda values: values["dropout"] * values["peak_learning_rate"])
    assert len(steep.run()) == 6
    assert steep.oracle.why_ended == ""
