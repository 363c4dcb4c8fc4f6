"""The oracles: each promise kept by each of them, and KerasTuner's traps."""

import dataclasses
import itertools
import json
import math
from pathlib import Path

import keras_tuner
import pytest
from keras_tuner.engine.trial import TrialStatus

from pipeline.errors import UserError
from tests.tuning.samples import make_plan, make_result
from tuning.oracles.oracles import ORACLES, believed_scores, count_random_starts
from tuning.oracles.search_oracle import OBJECTIVE
from tuning.oracles.surrogate import spread
from tuning.space.search_space import Dimension, settle
from tuning.trials.results import CONFIRMATION, FAILED, STOPPED
from tuning.trials.trial import CONFIRMATION_SEED

FINITE = (
    Dimension("width", "channels", choices=(8, 16, 32)),
    Dimension("optimizer", "optimizer", choices=("nesterov", "adamw")),
    Dimension("dropout", "share", choices=(0.0, 0.2), when=("optimizer", ("nesterov",))),
)
COMBINATIONS = [
    *({"width": w, "optimizer": "nesterov", "dropout": d} for w in (8, 16, 32) for d in (0.0, 0.2)),
    *({"width": w, "optimizer": "adamw"} for w in (8, 16, 32)),
]
CONTINUOUS = (
    Dimension("peak_learning_rate", "rate", 0.01, 1.0, log=True),
    Dimension("dropout", "share", 0.0, 0.5),
)


@pytest.fixture(autouse=True)
def _without_waiting_for_the_disk(monkeypatch):
    """Thousands of small files are written in whole; nothing is killed here."""
    monkeypatch.setattr("os.fsync", lambda descriptor: None)


class Driver:
    """Drives an oracle as a tuner does, with scores from a function instead of training."""

    def __init__(self, folder, plan, score, allowed=lambda values: True) -> None:
        self.folder, self.plan, self.score, self.allowed = folder, plan, score, allowed
        self.results, self.ended = [], []
        self.oracle = self.new_oracle()

    def new_oracle(self):
        oracle = ORACLES[self.plan.tuner](self.plan, self.allowed, lambda: self.results, self.ended.append)
        oracle._set_project_dir(str(self.folder), "state")
        return oracle

    def start_again(self):
        """As a new process does after a kill."""
        self.oracle = self.new_oracle()
        self.oracle.reload()

    def ask(self, worker="worker1"):
        return self.oracle.create_trial(worker)

    def finish(self, trial):
        values = trial.hyperparameters.values
        own = settle(self.plan.space, values)
        again = CONFIRMATION_SEED in values
        score = self.score(own)
        changes = {"values": own, "seed": values.get(CONFIRMATION_SEED, 0)}
        if again:
            changes["purpose"] = CONFIRMATION
        if score is None:
            trial.status = TrialStatus.FAILED
            changes |= {"status": FAILED, "cross_entropy": None, "epochs": 0}
        else:
            self.oracle.update_trial(trial.trial_id, {OBJECTIVE: score})
            trial.status = TrialStatus.COMPLETED
        self.results.append(make_result(int(trial.trial_id), score, **changes))
        self.oracle.end_trial(trial)

    def search(self):
        """Yield the trials of the search; of the confirmation, each asks a spent space once more."""
        while CONFIRMATION_SEED not in (trial := self.ask()).hyperparameters.values:
            yield trial
            self.finish(trial)

    def run(self, limit=100):
        """Search to the end; return the configurations of the search."""
        for _ in range(limit):
            trial = self.ask()
            if trial.status == TrialStatus.STOPPED:
                return [r.values for r in self.results if r.purpose != CONFIRMATION]
            self.finish(trial)
        raise AssertionError("the search does not end")


def width_score(values):
    return values.get("width", 8) / 100


def plan_of(tuner, space=FINITE, max_trials=6, config=None):
    plan = make_plan(tuner=tuner, space=space, max_trials=max_trials, finalists=1, seeds=1)
    return dataclasses.replace(plan, config=config) if config else plan


@pytest.mark.parametrize("tuner", ORACLES)
def test_the_first_trial_is_where_the_search_starts(tuner, tmp_path):
    driver = Driver(tmp_path, plan_of(tuner), width_score)
    values = driver.ask().hyperparameters.values
    start = {"width": 16, "optimizer": "nesterov", "dropout": 0.0}
    assert settle(FINITE, values) == start


@pytest.mark.parametrize("tuner", ["bayesian", "random", "grid"])
def test_a_finite_space_is_tried_through_without_repetition(tuner, tmp_path):
    plan = plan_of(tuner, max_trials=50)
    trials = Driver(tmp_path, plan, width_score).search()
    tried = [settle(FINITE, trial.hyperparameters.values) for trial in trials]
    assert len(tried) == len(COMBINATIONS)
    assert all(values in tried for values in COMBINATIONS)


@pytest.mark.parametrize("tuner", ["bayesian", "random", "grid"])
def test_there_are_as_many_trials_as_asked_for(tuner, tmp_path):
    assert len(Driver(tmp_path, plan_of(tuner), width_score).run()) == 6


@pytest.mark.parametrize("tuner", ORACLES)
def test_what_is_not_allowed_is_never_tried(tuner, tmp_path):
    driver = Driver(tmp_path, plan_of(tuner), width_score, lambda values: values["width"] == 8)
    tried = driver.run()
    assert tried
    assert {values["width"] for values in tried} == {8}


@pytest.mark.parametrize("tuner", ["bayesian", "random", "hyperband"])
@pytest.mark.parametrize("seed", [0, 3])
def test_a_seed_repeats_the_search_and_another_does_not(tuner, seed, tmp_path):
    def search(seed, name):
        config = make_plan().config.with_values({"seed": seed})
        plan = plan_of(tuner, CONTINUOUS, config=config)
        return Driver(tmp_path / name, plan, lambda values: values["dropout"]).run()

    assert search(seed, "one") == search(seed, "two")
    assert search(seed, "one") != search(seed + 1, "other")


@pytest.mark.parametrize("tuner", ORACLES)
@pytest.mark.parametrize(
    "change",
    [
        {"trials": None},
        {"trials": {"0000": {}}},
        {"trials": {"0000": 7}},
        {"ongoing_trials": []},
        {"retry_queue": 3},
        {"start_order": "0000"},
        {"hyperparameters": []},
        {"end_order": ...},
    ],
)
def test_a_damaged_state_is_one_line(tuner, change, tmp_path):
    driver = Driver(tmp_path, plan_of(tuner), width_score)
    driver.finish(driver.ask())
    path = Path(driver.oracle._get_oracle_fname())
    state = {**json.loads(path.read_text()), **change}
    path.write_text(json.dumps({name: value for name, value in state.items() if value is not ...}))
    with pytest.raises(UserError, match=rf"^a search must have a whole {path.name}; ") as error:
        driver.start_again()
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tuner", ORACLES)
def test_a_search_stopped_after_each_trial_goes_on_as_if_it_had_not_been(tuner, tmp_path):
    space = FINITE if tuner == "grid" else CONTINUOUS
    whole = Driver(tmp_path / "whole", plan_of(tuner, space), width_score).run()
    driver = Driver(tmp_path / "parts", plan_of(tuner, space), width_score)
    for _ in range(20):
        trial = driver.ask()
        if trial.status == TrialStatus.STOPPED:
            break
        driver.start_again()
        again = driver.ask("another worker")
        assert again.trial_id == trial.trial_id
        assert again.hyperparameters.values == trial.hyperparameters.values
        driver.finish(again)
        driver.start_again()
    assert [r.values for r in driver.results if r.purpose != CONFIRMATION] == whole


@pytest.mark.parametrize("tuner", ORACLES)
def test_failed_trials_neither_end_the_search_nor_win(tuner, tmp_path):
    def score(values):
        return None if values["width"] == 32 else width_score(values)

    driver = Driver(tmp_path, plan_of(tuner, max_trials=9), score)
    driver.run()
    confirmed = [r for r in driver.results if r.purpose == CONFIRMATION]
    assert any(result.status == FAILED for result in driver.results)
    assert confirmed
    assert all(result.values["width"] != 32 for result in confirmed)


def test_failures_do_not_attract_the_process(tmp_path):
    """KerasTuner takes infinity for 0, which is a perfect loss."""

    def score(values):
        rate = values["peak_learning_rate"]
        return None if rate > 0.1 else 0.5 + 0.1 * math.log10(rate / 0.01)

    plan = plan_of("bayesian", CONTINUOUS, max_trials=24)
    tried = Driver(tmp_path, plan, score).run()
    proposed = tried[count_random_starts(plan) :]
    # The best is at the edge of what fails, which is worth a look. Beyond 0.2 lies a third of the
    # space, and a process that takes failures for bad hardly goes there.
    assert sum(values["peak_learning_rate"] > 0.2 for values in proposed) < len(proposed) / 8


def test_the_process_finds_what_random_search_does_not(tmp_path):
    def score(values):
        rate = math.log10(values["peak_learning_rate"])
        return 1 - (rate + 0.7) ** 2 - (values["dropout"] - 0.33) ** 2

    def best(tuner, seed):
        config = make_plan().config.with_values({"seed": seed})
        plan = plan_of(tuner, CONTINUOUS, config=config, max_trials=16)
        tried = Driver(tmp_path / f"{tuner}{seed}", plan, score).run()
        return max(map(score, tried))

    wins = sum(best("bayesian", seed) > best("random", seed) for seed in range(5))
    assert wins >= 4


@pytest.mark.parametrize(
    ("dimensions", "budget", "starts"),
    [(2, 40, 3), (5, 40, 6), (5, 20, 5), (1, 1, 3), (14, 12, 3), (14, 30, 7), (14, 500, 10)],
)
def test_random_starts_span_the_space_within_a_quarter_of_the_budget(dimensions, budget, starts):
    space = tuple(Dimension(f"x{place}", "", 0.0, 1.0) for place in range(dimensions))
    assert count_random_starts(make_plan(space=space, max_trials=budget)) == starts


def test_before_the_process_come_spread_points(tmp_path):
    plan = plan_of("bayesian", CONTINUOUS, max_trials=16)
    tried = Driver(tmp_path, plan, lambda values: values["dropout"]).run()
    starts = count_random_starts(plan)
    assert tried[1:starts] == [spread(CONTINUOUS, number, 0) for number in range(1, starts)]
    assert tried[starts] != spread(CONTINUOUS, starts, 0)


def test_the_start_and_the_best_are_trained_again_with_other_seeds(tmp_path):
    plan = make_plan(tuner="grid", space=FINITE, max_trials=9, finalists=2, seeds=2)
    driver = Driver(tmp_path, plan, lambda values: width_score(values) - values.get("dropout", 0.1))
    driver.run()
    again = [(r.values, r.seed) for r in driver.results if r.purpose == CONFIRMATION]
    finalists = [
        {"width": 32, "optimizer": "nesterov", "dropout": 0.0},
        {"width": 32, "optimizer": "adamw"},
        {"width": 16, "optimizer": "nesterov", "dropout": 0.0},
    ]
    assert again == [(values, seed) for seed, values in itertools.product((1, 2), finalists)]


def test_the_confirmation_waits_for_the_last_trial_of_the_search(tmp_path):
    driver = Driver(tmp_path, plan_of("grid"), width_score)
    for _ in range(5):
        driver.finish(driver.ask())
    last = driver.ask("worker1")
    assert driver.ask("worker2").status == TrialStatus.IDLE
    driver.finish(last)
    assert CONFIRMATION_SEED in driver.ask("worker2").hyperparameters.values


def test_a_worker_that_asks_again_gets_its_own_trial(tmp_path):
    driver = Driver(tmp_path, plan_of("random"), width_score)
    first, other = driver.ask("worker1"), driver.ask("worker2")
    assert driver.ask("worker1").trial_id == first.trial_id != other.trial_id


def test_trials_side_by_side_are_never_the_same(tmp_path):
    driver = Driver(tmp_path, plan_of("bayesian", max_trials=9), width_score)
    for _ in range(3):
        driver.finish(driver.ask())
    values = [driver.ask(f"worker{n}").hyperparameters.values for n in range(6)]
    assert all(one != other for one, other in itertools.combinations(values, 2))


@pytest.mark.parametrize("space", [FINITE, CONTINUOUS], ids=["finite", "continuous"])
def test_hyperband_trains_the_better_half_to_the_end(space, tmp_path):
    plan = plan_of("hyperband", space, max_trials=22)
    score = width_score if space is FINITE else lambda values: values["dropout"]
    trials = Driver(tmp_path, plan, score).search()
    by_name = {trial.trial_id: trial.hyperparameters.values for trial in trials}
    # Of 10 epochs and a factor of 3: each round is three times as long as the one before.
    assert {values["tuner/epochs"] for values in by_name.values()} <= {2, 4, 10}
    children = [values for values in by_name.values() if values["tuner/initial_epoch"]]
    assert children
    for values in children:
        parent = by_name[values["tuner/trial_id"]]
        assert parent["tuner/epochs"] == values["tuner/initial_epoch"]
        assert settle(space, parent) == settle(space, values)
    rounds = [settle(space, v) for v in by_name.values() if v["tuner/round"] == 0]
    assert max(map(score, rounds)) == max(score(settle(space, v)) for v in children)


def test_hyperband_takes_those_that_failed_for_the_worst_of_their_round(tmp_path):
    plan = plan_of("hyperband", CONTINUOUS, max_trials=18)
    driver = Driver(tmp_path, plan, lambda values: None if values["dropout"] < 0.2 else values["dropout"])
    rounds = [trial.hyperparameters.values["tuner/round"] for trial in driver.search()]
    failed = sum(result.status == FAILED for result in driver.results)
    # 12 begin, and 4 and 2 of them go on, however many failed.
    assert failed >= 3
    assert rounds == [0] * 12 + [1] * 4 + [2] * 2


def test_hyperband_begins_again_until_there_are_trials_enough(tmp_path):
    plan = plan_of("hyperband", CONTINUOUS, max_trials=30)
    assert len(Driver(tmp_path, plan, lambda values: values["dropout"]).run()) == 30


def test_no_kerastuner_oracle_has_a_limit_or_a_display_of_its_own(tmp_path):
    for tuner in ORACLES:
        oracle = Driver(tmp_path / tuner, plan_of(tuner), width_score).oracle
        assert isinstance(oracle, keras_tuner.Oracle)
        assert (oracle.seed, oracle.verbose, oracle.max_trials) == (0, 0, None)


def test_what_was_stopped_is_believed_to_have_gained_what_others_did():
    whole = make_result(0, 0.8, accuracies=(0.4, 0.6, 0.8))
    stopped = make_result(1, 0.5, status=STOPPED, accuracies=(0.3, 0.5))
    failed = make_result(2, None, status=FAILED, cross_entropy=None)
    again = make_result(3, 0.9, purpose=CONFIRMATION, accuracies=(0.1, 0.1, 0.9))
    scores = believed_scores([whole, stopped, failed, again])
    assert scores["0000"] == whole.score
    # One rounding; the others gained 0.2 after their second epoch.
    assert scores["0001"] == pytest.approx(stopped.score + 0.2, rel=1e-15)
    assert scores["0002"] is None
