"""The tuning benchmark: its accounting, its tasks, and that it runs."""

import dataclasses
import json
import math
from concurrent.futures import ThreadPoolExecutor

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from benchmarks import tuning, tuning_surfaces, tuning_tasks
from benchmarks.tuning_contenders import (
    CONTENDERS,
    Curve,
    HalvingOracle,
    Reach,
    Step,
    Task,
    our_search,
    reach,
    run_oracle,
    share_within,
    train_until_weak,
)
from pipeline.config.presets import preset
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from pipeline.training.resolve import Ground, resolve
from pipeline.training.train import open_run
from tuning.oracles.freeze_thaw import FreezeThawOracle
from tuning.space.search_space import Dimension, nearest_values

SPACE = (Dimension("width", "channels of the first stage", choices=(4, 8, 16, 32)),)


def a_task(curves, epochs):
    """A task over `SPACE`, whose width 16 is the start, with one curve for each width."""
    by_width = dict(zip(SPACE[0].choices, curves, strict=True))
    config = preset("digits").with_values({"epochs": epochs})
    return Task(
        "made up", config, SPACE, lambda values, seed: by_width[values["width"]], lambda seed: 0.9, 0.25, 8
    )


def rising(*accuracies: float):
    """A curve on 100 images, whose scores are 0.0025 less than its accuracies."""
    return Curve(accuracies, len(accuracies) * (1.0,), images=100)


class InTurn(keras_tuner.Oracle):
    """Proposes widths in the order given, then nothing."""

    def __init__(self, widths) -> None:
        hp = keras_tuner.HyperParameters()
        hp.Choice("width", list(SPACE[0].choices))
        super().__init__(keras_tuner.Objective("score", "max"), hyperparameters=hp)
        self.widths = iter(widths)

    def populate_space(self, trial_id):
        width = next(self.widths, None)
        if width is None:
            return {"status": TrialStatus.STOPPED, "values": None}
        return {"status": TrialStatus.RUNNING, "values": {"width": width}}


def test_epochs_count_up_to_the_first_step_within_reach_and_no_further():
    steps = iter([Step(6, 0.5), Step(2, 0.4), Step(4, 0.7, begins=False), Step(6, 0.9)])
    # Half a point below the best is enough; a third of the budget was over after two steps.
    assert reach(steps, best=0.705, budget=27) == Reach(12, 2, censored=False, regret=0.705 - 0.5)
    assert next(steps).accuracy == 0.9


def test_what_does_not_reach_counts_with_the_whole_budget():
    # It had no more to propose: that is not to its favour. Nor is what a step over the budget found.
    assert reach([Step(6, 0.5), Step(2, 0.69)], best=0.7, budget=54).epochs == 54
    found = reach([Step(6, 0.5), Step(60, 0.7)], best=0.7, budget=54)
    assert (found.epochs, found.censored) == (54, True)


def test_the_loop_tells_the_best_score_and_counts_whole_trials():
    task = a_task([rising(0.1, 0.3, 0.2), rising(0.1, 0.2, 0.6)] + 2 * [rising(0, 0, 0)], epochs=3)
    oracle = InTurn([4, 8, 4])
    steps = list(
        run_oracle(oracle, task, lambda name, values, asked: task.curve(values, 1).seen(3, name, {}, 1))
    )
    # A repeated configuration is trained again.
    assert steps == [Step(3, 0.3), Step(3, 0.6), Step(3, 0.3)]
    scores = [told.score for told in oracle.trials.values()]
    assert scores == pytest.approx([0.2975, 0.5975, 0.2975])
    assert {told.status for told in oracle.trials.values()} == {TrialStatus.COMPLETED}


def test_a_weak_trial_ends_after_the_epoch_that_shows_it():
    # Of 8 epochs one is spared. The first three have means of 0.15, 0.2, 0.3 by epoch 2 and of
    # 0.2, 0.3, 0.4 by epoch 3, where the fourth falls short.
    rows = [0.1, 0.2, 0.3], [0.1, 0.3, 0.5], [0.2, 0.4, 0.6]
    peers = [rising(*row, *5 * row[-1:]).seen(8, "0000", {}, 1) for row in rows]
    assert train_until_weak(rising(0.1, 0.25, 0.25, *5 * [0.95]), peers) == 3


def test_what_is_thawed_is_not_paid_twice():
    curve = rising(*(0.1 * epoch for epoch in range(1, 10)))
    task = a_task(4 * [curve], epochs=9)
    for kind in (FreezeThawOracle, HalvingOracle):
        steps = list(our_search(kind, task, 1, 4))
        assert sum(step.epochs for step in steps) <= 4 * 9
        assert sum(step.begins for step in steps) == 4
        assert {step.epochs for step in steps} == {1, 2, 6}


@pytest.mark.parametrize("name", CONTENDERS)
def test_each_contender_finds_the_one_good_width(name):
    task = a_task([rising(0.5), rising(0.9), rising(0.6), rising(0.7)], epochs=1)
    found = CONTENDERS[name].reach(task, seed=1, trials=24)
    assert not found.censored
    assert found.trials == found.epochs <= 24


def test_ours_begins_with_the_start():
    task = a_task([rising(0.5), rising(0.6), rising(0.9), rising(0.7)], epochs=1)
    for name in ("freeze_thaw", "ours, bayesian", "ours, halving at random"):
        assert not any(CONTENDERS[name].reach(task, seed, 1).censored for seed in range(1, 5))


def reaches_of(epochs):
    return [Reach(e, e // 2, censored=False, regret=0.01) for e in epochs]


def test_ratios_are_paired_by_seed():
    compared = tuning.compare(
        {
            "freeze_thaw": reaches_of([10, 40, 30]),
            "KerasTuner random": reaches_of([100, 20, 90]),
            "KerasTuner Hyperband": reaches_of([10, 40, 30]),
            "KerasTuner Bayesian": reaches_of([20, 80, 60]),
            "Optuna random, ASHA": reaches_of([1, 1, 1]),
        }
    )
    random, hyperband, bayesian = compared
    assert random.values == [0.1, 2.0, 1 / 3]
    assert random.together == 80 / 210
    # A third of random's and half of the others' is enough.
    assert (random.peer, random.met) == ("KerasTuner random", True)
    assert (hyperband.peer, hyperband.met) == ("KerasTuner Hyperband", False)
    assert (bayesian.peer, bayesian.met) == ("KerasTuner Bayesian", True)


def test_the_share_that_is_as_good():
    curves = [rising(0.9, 0.1), rising(0.895), rising(0.894), rising(0.2)]
    assert share_within(curves, best=0.9) == 0.5


def test_functions_have_their_published_minima():
    # Minimisers and minima of Dixon & Szegoe's functions as Surjanovic & Bingham give them.
    for x, y in ((-np.pi, 12.275), (np.pi, 2.275), (9.42478, 2.475)):
        point = np.array([(x + 5) / 15, y / 15])
        assert tuning_surfaces.branin(point) == pytest.approx(0.397887, abs=1e-6)
    assert tuning_surfaces.branin(np.zeros(2)) == pytest.approx(308.129, abs=1e-3)
    point = np.array([0.20169, 0.150011, 0.476874, 0.275332, 0.311652, 0.6573])
    assert tuning_surfaces.hartmann6(point) == pytest.approx(-3.32237, abs=1e-5)
    # The second deepest valley lies elsewhere, and so shows the other rows of the constants.
    point = np.array([0.40465, 0.88244, 0.8461, 0.57399, 0.13893, 0.0385])
    assert tuning_surfaces.hartmann6(point) == pytest.approx(-3.20316, abs=1e-5)


def test_learning_curves_follow_a_power_law_between_their_ends():
    curve = tuning_surfaces.learning_curve(accuracy=0.8, power=1.5)
    assert curve[[0, -1]] == pytest.approx([0.1, 0.8])
    # a(2) - a(1) and a(4) - a(2) have a_inf gone: (1 - 2^-p) / (2^-p - 4^-p) = 2^p.
    assert (curve[1] - curve[0]) / (curve[3] - curve[1]) == pytest.approx(2**1.5)


def test_the_optimum_of_a_surface_lies_in_a_mirrored_place(monkeypatch):
    monkeypatch.setattr(tuning_surfaces, "SAMPLE", 10)
    task = tuning_surfaces.surface_task("branin")
    x, y = (np.pi + 5) / 15, 2.275 / 15
    corners = [(a, b) for a in (x, 1 - x) for b in (y, 1 - y)]
    found = set()
    for seed in range(20):
        ends = []
        for corner in corners:
            values = {d.name: d.value_at(p) for d, p in zip(task.space, corner, strict=True)}
            ends.append(task.curve(values, seed).accuracies[-1])
            assert task.curve(values, seed) == task.curve(values, seed)
        # Noise of 0.001: 4 standard deviations.
        assert max(ends) == pytest.approx(task.best(seed), abs=0.004)
        found.add(int(np.argmax(ends)))
    assert found == {0, 1, 2, 3}


def test_spaces_hold_the_start_and_are_finite():
    sizes = {}
    for name in tuning_tasks.RECIPES:
        config, space = tuning_tasks.searched(name)
        plan = tuning_tasks.search_plan(config, space, seed=0, trials=1)
        everything = list(tuning_tasks.combinations(plan))
        assert nearest_values(space, config) in everything
        sizes[name] = len(everything)
    # (convnet, or ResNet-8 with two shortcuts) x 2 widths x (4 + 2 rates) x 2 decays.
    assert sizes == {"digits": 72, "cifar10": 72}


@pytest.mark.parametrize("name", tuning_tasks.RECIPES)
def test_the_tables_that_come_along_are_whole(name, monkeypatch):
    monkeypatch.setattr(tuning_tasks, "fill", None)
    task = tuning_tasks.trained_task(name, tuning.TABLES)
    for seed in range(2):
        curve = task.curve(nearest_values(task.space, task.config), seed)
        assert len(curve.accuracies) == task.epochs == 9
        assert 0.3 < task.best(seed) < 1


def test_a_table_holds_what_training_gives_though_traced_once(tmp_path):
    config, _ = tuning_tasks.searched("digits")
    config = config.with_values({"model": "mlp", "width": 4, "epochs": 1, "batch_size": 256})
    ground = tuning_tasks.prepare_ground(config)
    configs = [config.with_values({"peak_learning_rate": 0.1, "weight_decay": d}) for d in (0.05, 0.0005)]
    (_, (second,)) = tuning_tasks.train(configs, ground)
    directory = RunDirectory(tmp_path / "run")
    with directory.open():
        run = open_run(resolve(configs[1], ground), directory)
        run.fit([])
    row = run.progression.history[0]
    assert second[:2] == (row["val_accuracy"], row["val_cross_entropy"])
    # The weights themselves are validated beside their average.
    assert second[2:] != second[:2]


def test_a_training_that_breaks_counts_as_nothing_right_from_there():
    config, _ = tuning_tasks.searched("digits")
    config = config.with_values(
        {
            "model": "mlp",
            "width": 4,
            "epochs": 3,
            "batch_size": 256,
            "optimizer": "sgd",
            "peak_learning_rate": 1e30,
        }
    )
    (curve,) = tuning_tasks.train([config], tuning_tasks.prepare_ground(config))
    assert curve[-1] == (0.0, math.inf, 0.0, math.inf)
    assert len(curve) == 3


@pytest.fixture
def trained(monkeypatch):
    """Let the task `digits` have four widths and train without data; return what was trained."""
    done = []

    def fake(configs, ground):
        for config in configs:
            done.append(config.model.width)
            yield [(0.1, 2.0, 0.0, 0.0), (config.model.width / 40, 1.0, 0.0, 0.0)]

    config = preset("digits").with_values({"epochs": 2})
    rows = np.arange(50)
    data = PreparedData(None, Splits(rows, rows, rows, rows), image_size=8)
    monkeypatch.setattr(tuning_tasks, "prepare_ground", lambda _: Ground(data, None, None))
    monkeypatch.setattr(tuning_tasks, "searched", lambda name: (config, SPACE))
    monkeypatch.setattr(tuning_tasks, "train", fake)
    recipe = dataclasses.replace(tuning_tasks.RECIPES["digits"], seeds=(0,))
    monkeypatch.setitem(tuning_tasks.RECIPES, "digits", recipe)
    return done


def test_every_configuration_is_trained_once_whatever_kills_the_benchmark(trained, tmp_path, monkeypatch):
    fake, add = tuning_tasks.train, tuning_tasks.CurveTable.add

    def killed(table, values, seed, epochs):
        if values == {"width": 16}:
            raise KeyboardInterrupt
        add(table, values, seed, epochs)

    monkeypatch.setattr(tuning_tasks.CurveTable, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        tuning_tasks.trained_task("digits", tmp_path / "new")
    monkeypatch.setattr(tuning_tasks.CurveTable, "add", add)
    trained.clear()
    for _ in range(2):
        task = tuning_tasks.trained_task("digits", tmp_path / "new")
    assert trained == [16, 32]
    assert tuning_tasks.train is fake
    assert task.best(1) == 0.8
    assert task.share == 0.25
    assert task.curve({"width": 8}, 3) == Curve((0.1, 0.2), (2.0, 1.0), images=50)


def test_a_table_of_other_settings_or_damaged_is_refused(tmp_path):
    path, config = tmp_path / "digits.json", preset("digits")
    tuning_tasks.CurveTable(path, config).add({"width": 4}, 1, [(0.5, 0.4, 0.3, math.inf)])
    table = tuning_tasks.CurveTable(path, config)
    assert ({"width": 4}, 1) in table
    assert ({"width": 8}, 1) not in table
    assert ({"width": 4}, 0) not in table
    assert table.curve({"width": 4}, 1, averaged=True).cross_entropies == (0.4,)
    assert table.curve({"width": 4}, 1, averaged=False).cross_entropies == (math.inf,)
    with pytest.raises(UserError, match="--table must be of the same settings or new"):
        tuning_tasks.CurveTable(path, config.with_values({"seed": 1}))
    path.write_text(path.read_text()[:-20])
    with pytest.raises(UserError, match=r"a table must have a whole digits\.json"):
        tuning_tasks.CurveTable(path, config)


@pytest.fixture
def run_here(monkeypatch, capsys):
    """Run the benchmark in this process; return its output without the last line, and that."""

    def run(arguments):
        tuning.load_task.cache_clear()
        assert tuning.main(arguments) == 0
        *table, last = capsys.readouterr().out.splitlines()
        return "\n".join(table), json.loads(last)

    monkeypatch.setattr(tuning, "ProcessPoolExecutor", lambda *_: ThreadPoolExecutor(1))
    return run


def test_the_benchmark_runs(trained, run_here, tmp_path):
    table, told = run_here(["--tasks", "digits", "--trials", "4", "--seeds", "3", "--table", str(tmp_path)])
    assert told["settings"] == {"trials": 4, "seeds": 3}
    assert {"keras-tuner", "scikit-learn", "scipy"} <= set(told["environment"]["packages"])
    digits = told["tasks"]["digits"]
    assert set(digits["contenders"]) == set(CONTENDERS)
    assert all(len(found["seeds"]) == 3 for found in digits["contenders"].values())
    # Four trials of four configurations, none twice, find the best.
    assert digits["contenders"]["freeze_thaw"]["censored"] == 0
    assert "to 79.50 % (best known: 80.00 %), as 25 % of all configurations are" in table
    assert "freeze_thaw / KerasTuner random" in table
    assert table.count("  bar ") == 3


def test_a_censored_median_is_said_to_be_a_bound(trained, run_here, tmp_path, monkeypatch):
    epochs = {"freeze_thaw": [3, 5, 8], "KerasTuner random": [2, 8, 8], "KerasTuner Bayesian": [8, 8, 8]}

    def found(name, folder, contender, seed, trials):
        spent = epochs.get(contender, [1, 1, 1])[seed // tuning.SEED_STEP - 1]
        return Reach(spent, spent // 2, censored=spent == 8, regret=spent / 100)

    monkeypatch.setattr(tuning, "search", found)
    table, told = run_here(["--tasks", "digits", "--seeds", "3", "--table", str(tmp_path)])
    rows = {line[:24].strip(): " ".join(line.split()) for line in table.splitlines() if line}
    assert rows["freeze_thaw"] == "freeze_thaw 5 (3 - 8) 5.00 (3.00 - 8.00) 1 of 3"
    assert rows["KerasTuner random"] == "KerasTuner random >8 (2 - 8) 8.00 (2.00 - 8.00) 2 of 3"
    ours = told["tasks"]["digits"]["comparisons"][0]
    assert ours["values"] == [1.5, 5 / 8, 1.0]
    assert (ours["median"], ours["bar"], ours["met"]) == (1.0, 1 / 3, False)
    assert told["tasks"]["digits"]["contenders"]["freeze_thaw"]["censored"] == 1


def test_wrong_input_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        tuning.main(["--seeds", "0"])
    assert exit_.value.code == 2
    assert "--seeds: must be at least 1; received 0" in capsys.readouterr().err.splitlines()[-1]
