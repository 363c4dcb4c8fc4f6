"""Freeze and thaw: rungs, the model of learning curves, and what is trained next."""

import dataclasses

import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from pipeline.config.presets import preset
from tests.tuning.samples import make_plan, make_result
from tuning.oracles.curve_model import CurveModel, chance_of_improvement, rungs
from tuning.oracles.freeze_thaw import FreezeThawOracle
from tuning.oracles.search_oracle import OBJECTIVE
from tuning.space.search_space import Dimension, settle
from tuning.trials.results import COMPLETED, FAILED, STOPPED
from tuning.trials.trial import CONFIRMATION_SEED, LAST_EPOCH

SPACE = (Dimension("dropout", "share", 0.0, 0.5),)
EPOCHS = 9
LONGEST = 100
"""Steps after which a search does not end."""


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [(1, [1]), (2, [1, 2]), (3, [1, 3]), (5, [1, 2, 5]), (9, [1, 3, 9]), (30, [1, 3, 10, 30])],
)
def test_each_rung_has_a_third_of_the_epochs_of_the_next(epochs, expected):
    assert rungs(epochs) == expected


def test_the_chain_finds_a_linear_law_from_rung_to_rung():
    # y2 = 0.5 y1 + 0.4 + 0.1 x, with y1 = 0.3 but for luck.
    generator = np.random.default_rng(0)
    x = np.linspace(0, 1, 24)[:, None]
    first = 0.3 + generator.normal(0, 0.1, len(x))
    curves = [(a, 0.5 * a + 0.4 + 0.1 * b) for a, b in zip(first, x[:, 0], strict=True)]
    model = CurveModel(x, curves, 2)
    at = np.array([[0.2], [0.2], [0.8]])
    known, rung = np.array([0.30, 0.40, 0.0]), np.array([0, 0, -1])
    mean, deviation = model.predict(at, known, rung, np.array([1, 1, 1]))
    assert mean[:2] == pytest.approx([0.57, 0.62], abs=0.01)
    # Of a new one 0.5 E[y1] + 0.48, in doubt by half of the luck: five standard errors of 24 draws.
    assert mean[2] == pytest.approx(0.63, abs=5 * 0.05 / np.sqrt(24))
    assert deviation[2] == pytest.approx(0.05, rel=0.5)
    assert deviation[:2].max() < 0.01


def test_before_a_rung_is_known_a_score_is_taken_as_it_is():
    x = np.array([[0.0], [0.5], [1.0]])
    model = CurveModel(x, [(0.1,), (0.2,), (0.3,)], 2)
    mean, deviation = model.predict(x[:1], np.array([0.1]), np.array([0]), np.array([1]))
    assert mean == pytest.approx([0.1])
    # The spread of what is known.
    assert deviation == pytest.approx([np.std([0.1, 0.2, 0.3])])


def test_merit_ranks_by_the_chance_to_pass_a_threshold():
    x = np.array([[0.0], [0.5], [1.0]])
    model = CurveModel(x, [(0.1,), (0.2,), (0.9,)], 2)
    scores, rung = np.array([0.1, 0.9]), np.array([0, 0])
    for seed in range(5):
        merit = chance_of_improvement(model, x[[0, 2]], scores, rung, 2, np.random.default_rng(seed))
        assert merit[0] < merit[1] < 0


class Driver:
    """Trains made-up curves, which end at 1 minus the dropout and rise by the same share."""

    def __init__(self, max_trials, fails=lambda values: False) -> None:
        config = preset("digits").with_values({"epochs": EPOCHS})
        self.plan = dataclasses.replace(
            make_plan(tuner="freeze_thaw", space=SPACE, max_trials=max_trials, finalists=1, seeds=1),
            config=config,
        )
        self.fails, self.results, self.steps = fails, {}, []
        self.oracle = FreezeThawOracle(
            self.plan, lambda values: True, lambda: list(self.results.values()), lambda trial: None
        )
        self.oracle.save = self.oracle._save_trial = lambda *_: None

    def finish(self, trial):
        name, asked = trial.trial_id, trial.hyperparameters.values
        values, last = settle(SPACE, asked), asked[LAST_EPOCH]
        before = self.results[name].epochs if name in self.results else 0
        self.steps.append((name, before, last))
        curve = tuple((1 - values["dropout"]) * (0.5 + epoch / EPOCHS / 2) for epoch in range(1, last + 1))
        status = COMPLETED if last == EPOCHS else STOPPED
        changes = {"values": values, "epochs": last, "accuracies": curve, "status": status}
        if failed := self.fails(values):
            changes = {"values": values, "epochs": 0, "status": FAILED}
        self.results[name] = make_result(int(name), None if failed else curve[-1], **changes)
        if not failed:
            self.oracle.update_trial(name, {OBJECTIVE: curve[-1]})
        trial.status = TrialStatus.FAILED if failed else TrialStatus.COMPLETED
        self.oracle.end_trial(trial)

    def ask(self, worker="worker1"):
        while (trial := self.oracle.create_trial(worker)).status == TrialStatus.IDLE:
            pass
        return trial

    def run(self):
        for _ in range(LONGEST):
            trial = self.ask()
            if trial.status == TrialStatus.STOPPED or CONFIRMATION_SEED in trial.hyperparameters.values:
                return self
            self.finish(trial)
        raise AssertionError("the search does not end")


@pytest.mark.parametrize("max_trials", [1, 2, 6])
def test_it_trains_as_many_epochs_as_whole_trials_have_and_one_to_the_end(max_trials):
    driver = Driver(max_trials).run()
    assert sum(last - before for _, before, last in driver.steps) <= max_trials * EPOCHS
    assert any(result.status == COMPLETED for result in driver.results.values())
    # Little is left over: less than what one more step would have taken.
    spent = sum(result.epochs for result in driver.results.values())
    assert spent > max_trials * EPOCHS - 6


def test_every_step_goes_from_one_rung_to_the_next():
    driver = Driver(6).run()
    assert {(before, last) for _, before, last in driver.steps} == {(0, 1), (1, 3), (3, 9)}
    assert len(driver.steps) > len(driver.results)


def test_what_is_better_is_trained_for_longer():
    driver = Driver(6).run()
    epochs = {result.values["dropout"]: result.epochs for result in driver.results.values()}
    assert epochs[min(epochs)] == EPOCHS
    assert epochs[max(epochs)] == 1


def test_two_workers_never_train_the_same_trial():
    driver = Driver(6)
    for _ in range(8):
        first, second = driver.ask("worker1"), driver.ask("worker2")
        assert first.trial_id != second.trial_id
        driver.finish(first)
        driver.finish(second)


def test_a_search_whose_every_trial_fails_ends():
    driver = Driver(2, fails=lambda values: True).run()
    assert 0 < len(driver.results) <= 2 * EPOCHS


def test_one_is_brought_to_the_end_though_another_failed_near_it(monkeypatch):
    driver = Driver(2)

    def begin_where_one_may(curves, frozen, ladder, *, with_new):
        return driver.oracle.spread_point() if with_new else next(iter(frozen), None)

    monkeypatch.setattr(driver.oracle, "choose", begin_where_one_may)
    first = driver.ask()
    driver.finish(first)
    # Frozen once, and failed an epoch before its end.
    lost = {"status": FAILED, "epochs": EPOCHS - 1, "accuracies": ()}
    driver.results[first.trial_id] = dataclasses.replace(driver.results[first.trial_id], **lost)
    driver.run()
    assert any(result.status == COMPLETED for result in driver.results.values())


def test_nothing_is_tried_near_what_failed_while_better_is_known():
    driver = Driver(6, fails=lambda values: values["dropout"] > 0.3).run()
    failed = [result for result in driver.results.values() if result.status == FAILED]
    assert len(failed) < len(driver.results) / 2
