"""The tuning benchmark: its accounting, its tasks, and that it runs."""

import json
import math
from concurrent.futures import ThreadPoolExecutor

import keras_tuner
import numpy as np
import pytest
from keras_tuner.engine.trial import TrialStatus

from benchmarks import tuning, tuning_surfaces, tuning_tasks
from benchmarks.tuning_contenders import CONTENDERS, Curve, Reach, Task, reach, run_trials, share_within
from pipeline.config.presets import preset
from pipeline.data.prepare import PreparedData
from pipeline.data.splits import Splits
from pipeline.errors import UserError
from pipeline.training.resolve import Ground
from pipeline.training.variables import NonFinite
from tuning.space.search_space import Dimension, apply, nearest_values
from tuning.trials.results import STOPPED, TrialResult

SPACE = (Dimension("width", "channels of the first stage", choices=(4, 8, 16, 32)),)


def a_task(curves, epochs, best=0.9):
    """A task over `SPACE`, whose width 16 is the start, with one curve for each width."""
    by_width = dict(zip(SPACE[0].choices, curves, strict=True))
    config = preset("digits").with_values({"epochs": epochs})
    return Task("made up", config, SPACE, lambda values, seed: by_width[values["width"]], best, 0.25)


def rising(*accuracies: float):
    """A curve on 100 images, whose scores are 0.0025 less than its accuracies."""
    return Curve(accuracies, len(accuracies) * (1.0,), images=100)


def trial(epochs, accuracy):
    return TrialResult("0000", "search", "completed", {}, 1, accuracy=accuracy, epochs=epochs)


def ends(trials):
    """Epochs and accuracy of each."""
    return [(result.epochs, result.accuracy) for result in trials]


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


def test_epochs_count_up_to_the_first_trial_within_reach_and_no_further():
    trials = iter([trial(6, 0.5), trial(2, 0.4), trial(6, 0.7), trial(6, 0.9)])
    assert reach(trials, target=0.7, budget=9, epochs=6) == Reach(14, 3, censored=False)
    assert next(trials).accuracy == 0.9


def test_what_does_not_reach_counts_with_the_whole_budget():
    # It stopped weak trials and had no more to propose: neither is to its favour.
    trials = [trial(6, 0.5), trial(2, 0.699)]
    assert reach(trials, target=0.7, budget=9, epochs=6) == Reach(54, 9, censored=True)


def test_the_loop_tells_the_best_score_and_counts_whole_trials():
    task = a_task([rising(0.1, 0.3, 0.2), rising(0.1, 0.2, 0.6)] + 2 * [rising(0, 0, 0)], epochs=3)
    oracle = InTurn([4, 8, 4, 16])
    trials = list(run_trials(oracle, task, seed=1, trials=3, stop_weak=False))
    # A repeated configuration is trained again.
    assert ends(trials) == [(3, 0.3), (3, 0.6), (3, 0.3)]
    scores = [told.score for told in oracle.trials.values()]
    assert scores == pytest.approx([0.2975, 0.5975, 0.2975])
    assert {told.status for told in oracle.trials.values()} == {TrialStatus.COMPLETED}


def test_the_loop_ends_where_nothing_more_is_proposed():
    task = a_task(4 * [rising(0.5)], epochs=1)
    assert len(list(run_trials(InTurn([4, 8]), task, seed=1, trials=9, stop_weak=False))) == 2


def test_a_weak_trial_ends_after_the_epoch_that_shows_it():
    # Of 8 epochs one is spared. The first three have means of 0.15, 0.2, 0.3 by epoch 2 and of
    # 0.2, 0.3, 0.4 by epoch 3, where the fourth falls short, before it would have won.
    rows = [0.1, 0.2, 0.3], [0.1, 0.3, 0.5], [0.2, 0.4, 0.6]
    late = rising(0.1, 0.25, 0.25, *5 * [0.95])
    task = a_task([*(rising(*row, *5 * row[-1:]) for row in rows), late], epochs=8)
    oracle = InTurn([4, 8, 16, 32, 8])
    trials = list(run_trials(oracle, task, seed=1, trials=5, stop_weak=True))
    assert ends(trials) == [(8, 0.3), (8, 0.5), (8, 0.6), (3, 0.25), (8, 0.5)]
    assert trials[3].status == STOPPED
    assert trials[3].accuracies == (0.1, 0.25, 0.25)
    assert oracle.trials["0003"].score == pytest.approx(0.2475)
    assert oracle.results() == trials
    whole = run_trials(InTurn([4, 8, 16, 32]), task, seed=1, trials=4, stop_weak=False)
    assert ends(whole) == [(8, 0.3), (8, 0.5), (8, 0.6), (8, 0.95)]


def test_the_confirmation_is_no_part_of_it():
    task = a_task([rising(0.5), rising(0.6), rising(0.7), rising(0.8)], epochs=1)
    contender = CONTENDERS["ours"]
    oracle = contender.set_up(contender.kind, task, 1, 9)
    assert len(list(run_trials(oracle, task, seed=1, trials=9, stop_weak=True))) == 4


@pytest.mark.parametrize("name", CONTENDERS)
def test_each_contender_finds_the_one_good_width(name):
    task = a_task([rising(0.5), rising(0.9), rising(0.6), rising(0.7)], epochs=1)
    found = CONTENDERS[name].reach(task, seed=1, trials=8)
    assert not found.censored
    assert found.trials == found.epochs <= 8


def test_ours_begins_with_the_start_and_the_ablation_does_not():
    task = a_task([rising(0.5), rising(0.6), rising(0.9), rising(0.7)], epochs=1)
    firsts = {
        name: [contender.reach(task, seed, 1).censored for seed in range(1, 9)]
        for name, contender in CONTENDERS.items()
    }
    assert firsts["ours"] == 8 * [False]
    assert firsts["ours, stopping no trial"] == 8 * [False]
    # By chance alone all eight seeds would begin there once in 4^8.
    assert any(firsts["ours, without the start"])
    assert any(firsts["KerasTuner random"])


def test_only_ours_ends_weak_trials():
    stopping = {name for name, contender in CONTENDERS.items() if contender.stop_weak}
    assert stopping == {"ours", "ours, without the start"}


def reaches_of(epochs, censored=()):
    return [Reach(e, e // 2, censored=index in censored) for index, e in enumerate(epochs)]


def test_ratios_are_paired_by_seed():
    compared = tuning.compare(
        {
            "ours": reaches_of([10, 40, 30]),
            "KerasTuner random": reaches_of([100, 20, 60]),
            "KerasTuner Bayesian": reaches_of([10, 40, 30]),
        }
    )
    random, bayesian = compared
    assert random.values == [0.1, 2.0, 0.5]
    assert random.together == 80 / 180
    # Half of random's is enough; as many as the Bayesian one's are not fewer.
    assert (random.peer, random.met) == ("KerasTuner random", True)
    assert (bayesian.peer, bayesian.met) == ("KerasTuner Bayesian", False)


@pytest.mark.parametrize(
    ("peer", "values", "met"),
    [
        ("KerasTuner random", [0.5, 0.5, 9.0], True),
        ("KerasTuner random", [0.51, 0.51, 0.1], False),
        ("KerasTuner Bayesian", [0.99, 0.99, 9.0], True),
        ("KerasTuner Bayesian", [1.0], False),
    ],
)
def test_bars_are_cleared_by_the_median(peer, values, met):
    assert tuning.Ratio("ours", peer, values, together=1.0).met is met


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
        assert max(ends) == pytest.approx(task.best, abs=0.004)
        found.add(int(np.argmax(ends)))
    assert found == {0, 1, 2, 3}


def test_spaces_hold_the_start_and_are_finite():
    sizes = {}
    for name in tuning_tasks.RECIPES:
        config, space = tuning_tasks.searched(name)
        plan = tuning_tasks.search_plan(config, space, seed=0, trials=1)
        everything = list(tuning_tasks.combinations(plan))
        assert nearest_values(space, config) in everything
        assert apply(nearest_values(space, config), config) == config
        sizes[name] = len(everything)
    # (5 + 5) x 4 x 2, and (5 + 3) x 2 x 2: only one optimizer's rate matters.
    assert sizes == {"digits": 80, "cifar10": 32}


class Run:
    """A run that breaks after its first epoch."""

    def __init__(self) -> None:
        self.progression = self
        self.history = []

    def fit(self, watchers):
        self.history.append({"val_accuracy": 0.5, "val_cross_entropy": 1.0})
        raise NonFinite("loss is nan")


def test_a_training_that_breaks_counts_as_nothing_right_from_there(monkeypatch):
    monkeypatch.setattr(tuning_tasks, "resolve", lambda *_: None)
    monkeypatch.setattr(tuning_tasks, "open_run", lambda *_: Run())
    config = preset("digits").with_values({"epochs": 3})
    epochs = list(tuning_tasks.train(config, None))
    assert epochs == [(0.5, 1.0), (0.0, math.inf), (0.0, math.inf)]


@pytest.fixture
def trained(monkeypatch):
    """Let the task `digits` have four widths and train without data; return what was trained."""
    done = []

    def fake(config, ground):
        done.append(config.model.width)
        yield from [(0.1, 2.0), (config.model.width / 40, 1.0)]

    config = preset("digits").with_values({"epochs": 2})
    rows = np.arange(50)
    data = PreparedData(None, Splits(rows, rows, rows, rows), image_size=8)
    monkeypatch.setattr(tuning_tasks, "prepare_ground", lambda _: Ground(data, None, None))
    monkeypatch.setattr(tuning_tasks, "searched", lambda name: (config, SPACE))
    monkeypatch.setattr(tuning_tasks, "train", fake)
    return done


def test_every_configuration_is_trained_once_whatever_kills_the_benchmark(trained, tmp_path, monkeypatch):
    fake, add = tuning_tasks.train, tuning_tasks.CurveTable.add

    def killed(table, values, epochs):
        if values == {"width": 16}:
            raise KeyboardInterrupt
        add(table, values, epochs)

    monkeypatch.setattr(tuning_tasks.CurveTable, "add", killed)
    with pytest.raises(KeyboardInterrupt):
        tuning_tasks.trained_task("digits", tmp_path / "new")
    monkeypatch.setattr(tuning_tasks.CurveTable, "add", add)
    trained.clear()
    for _ in range(2):
        task = tuning_tasks.trained_task("digits", tmp_path / "new")
    assert trained == [16, 32]
    assert tuning_tasks.train is fake
    assert task.best == 0.8
    assert task.share == 0.25
    assert task.curve({"width": 8}, 3) == Curve((0.1, 0.2), (2.0, 1.0), images=50)


def test_a_table_of_other_settings_or_damaged_is_refused(tmp_path):
    path, config = tmp_path / "digits.json", preset("digits")
    tuning_tasks.CurveTable(path, config).add({"width": 4}, [(0.5, 0.4)])
    assert {"width": 4} in tuning_tasks.CurveTable(path, config)
    assert {"width": 8} not in tuning_tasks.CurveTable(path, config)
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
    assert digits["contenders"]["ours"]["censored"] == 0
    assert "to 79.50 % (best known: 80.00 %), as 25 % of all configurations are" in table
    assert "ours / KerasTuner random" in table
    assert table.count("  bar ") == 2


def test_a_censored_median_is_said_to_be_a_bound(trained, run_here, tmp_path, monkeypatch):
    epochs = {"ours": [3, 5, 8], "KerasTuner random": [2, 8, 8], "KerasTuner Bayesian": [8, 8, 8]}

    def found(name, folder, contender, seed, trials):
        spent = epochs.get(contender, [1, 1, 1])[seed - 1]
        return Reach(spent, spent // 2, censored=spent == 8)

    monkeypatch.setattr(tuning, "search", found)
    table, told = run_here(["--tasks", "digits", "--seeds", "3", "--table", str(tmp_path)])
    rows = {line[:20].strip(): " ".join(line.split()) for line in table.splitlines() if line}
    assert rows["ours"] == "ours 5 (3 - 8) 2 (1 - 4) 1 of 3"
    assert rows["KerasTuner random"] == "KerasTuner random >8 (2 - 8) >4 (1 - 4) 2 of 3"
    ours, *_ = told["tasks"]["digits"]["comparisons"]
    assert ours["values"] == [1.5, 5 / 8, 1.0]
    assert (ours["median"], ours["bar"], ours["met"]) == (1.0, "at most 0.5", False)
    assert told["tasks"]["digits"]["contenders"]["ours"]["censored"] == 1


def test_wrong_input_is_refused_in_one_line(capsys):
    with pytest.raises(SystemExit) as exit_:
        tuning.main(["--seeds", "0"])
    assert exit_.value.code == 2
    assert "--seeds: must be at least 1; received 0" in capsys.readouterr().err.splitlines()[-1]
