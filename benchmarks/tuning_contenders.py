"""The searches of the tuning benchmark, and the loop that drives them over known learning curves.

Nothing is trained here: a search asks for a configuration, and is told what its training showed
epoch by epoch. So all of them see the same, and hundreds of searches cost minutes.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from pipeline.config.config import Config
from tuning.oracles.oracles import BayesianOracle
from tuning.oracles.search_oracle import OBJECTIVE, declare
from tuning.plan import SearchPlan
from tuning.space.limits import Limits
from tuning.space.search_space import Space, Values, settle
from tuning.trials.median_stopping import is_weak
from tuning.trials.results import COMPLETED, SEARCH, STOPPED, TrialResult
from tuning.trials.trial import CONFIRMATION_SEED

TOLERANCE = 0.005
"""Half a point of accuracy: a configuration as near as this to the best is as good."""


@dataclass(frozen=True)
class Curve:
    """What the whole training of one configuration shows, epoch by epoch.

    Attributes:
        accuracies: on validation.
        cross_entropies: there, nats.
        images: of validation.
    """

    accuracies: tuple[float, ...]
    cross_entropies: tuple[float, ...]
    images: int

    def seen(self, epochs: int, trial: str, values: Values, seed: int) -> TrialResult:
        """Return what a trial of the first epochs finds out, as a trial records it."""
        accuracies = self.accuracies[:epochs]
        best = accuracies.index(max(accuracies))
        return TrialResult(
            trial,
            SEARCH,
            COMPLETED if epochs == len(self.accuracies) else STOPPED,
            values,
            seed,
            accuracies[best],
            self.cross_entropies[best],
            self.images,
            best + 1,
            epochs,
            accuracies=accuracies,
        )


@dataclass(frozen=True)
class Task:
    """Something to be tuned.

    Attributes:
        name: of the task.
        config: the settings that one would start from.
        space: what is searched.
        curve: (configuration, seed of the search) -> its curve.
        best: accuracy of the best configuration that is known.
        share: of the space that is as good within the tolerance.
    """

    name: str
    config: Config
    space: Space
    curve: Callable[[Values, int], Curve]
    best: float
    share: float


def share_within(curves: Sequence[Curve], best: float) -> float:
    """Return the share of configurations that come within the tolerance of `best`."""
    return sum(max(curve.accuracies) >= best - TOLERANCE for curve in curves) / len(curves)


@dataclass(frozen=True)
class Reach:
    """What a search needed until one trial came within the tolerance.

    Attributes:
        epochs: of training, all trials until then together; of the whole budget if none did.
        trials: until then; the whole budget if none did.
        censored: none did.
    """

    epochs: int
    trials: int
    censored: bool


def reach(trials: Iterable[TrialResult], target: float, budget: int, epochs: int) -> Reach:
    """Measure when a search first had a trial of at least `target`; let it search no longer.

    The trial that comes so far counts whole: who searches does not know the target.

    Args:
        trials: of the search, in order.
        target: accuracy to come to.
        budget: trials that it may take.
        epochs: of a whole trial.
    """
    spent = 0
    for number, trial in enumerate(trials, start=1):
        spent += trial.epochs
        assert trial.accuracy is not None  # none of these fails
        if trial.accuracy >= target:
            return Reach(spent, number, censored=False)
    return Reach(budget * epochs, budget, censored=True)


def search_plan(config: Config, space: Space, seed: int, trials: int) -> SearchPlan:
    """Return the plan of `python -m tuning --max-trials N --seed S`."""
    return SearchPlan(
        tuner="bayesian",
        config=config.with_values({"seed": seed}),
        space=space,
        limits=Limits(),
        max_trials=trials,
        finalists=3,
        seeds=3,
        stop_weak=True,
    )


class WithoutStart(BayesianOracle):
    """Ours, without the preset's own settings as the first trial."""

    def first(self) -> None:
        """Begin with nothing that is known to be good."""


def our_search(kind: type[BayesianOracle], task: Task, seed: int, trials: int) -> BayesianOracle:
    """Set up a search of ours."""
    plan = search_plan(task.config, task.space, seed, trials)
    return kind(plan, lambda values: True, list, lambda trial: None)


def stock_search(kind: type[keras_tuner.Oracle], task: Task, seed: int, trials: int) -> keras_tuner.Oracle:
    """Set up a search of KerasTuner's, with its own defaults."""
    return kind(
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        max_trials=trials,
        hyperparameters=declare(task.space, task.config),
        seed=seed,
    )


@dataclass(frozen=True)
class Contender:
    """A way to search.

    Attributes:
        set_up: `our_search` or `stock_search`.
        kind: of oracle.
        stop_weak: whether weak trials end early.
    """

    set_up: Callable[..., keras_tuner.Oracle]
    kind: type[keras_tuner.Oracle]
    stop_weak: bool = False

    def reach(self, task: Task, seed: int, trials: int) -> Reach:
        """Search a task once, for as long as it takes within the budget."""
        oracle = self.set_up(self.kind, task, seed, trials)
        found = run_trials(oracle, task, seed, trials, self.stop_weak)
        return reach(found, task.best - TOLERANCE, trials, task.config.fit.epochs)


OURS, RANDOM, BAYESIAN = "ours", "KerasTuner random", "KerasTuner Bayesian"
CONTENDERS = {
    OURS: Contender(our_search, BayesianOracle, stop_weak=True),
    "ours, stopping no trial": Contender(our_search, BayesianOracle),
    "ours, without the start": Contender(our_search, WithoutStart, stop_weak=True),
    RANDOM: Contender(stock_search, keras_tuner.oracles.RandomSearchOracle),
    BAYESIAN: Contender(stock_search, keras_tuner.oracles.BayesianOptimizationOracle),
}


def run_trials(
    oracle: keras_tuner.Oracle, task: Task, seed: int, trials: int, stop_weak: bool
) -> Iterator[TrialResult]:
    """Drive an oracle as KerasTuner's tuner does; fewer trials where it has no more to propose."""
    results: list[TrialResult] = []
    # Ours asks for it; KerasTuner's do not.
    oracle.results = lambda: results
    # A search that takes a second need not survive a kill, and may stay silent.
    oracle.save = oracle._save_trial = lambda *_: None
    oracle.verbose = 0
    while len(results) < trials:
        # KerasTuner's process takes seconds for a proposal where BLAS uses several threads.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            trial = oracle.create_trial("tuner")
        if trial.status == TrialStatus.STOPPED or CONFIRMATION_SEED in trial.hyperparameters.values:
            return
        values = settle(task.space, trial.hyperparameters.values)
        curve = task.curve(values, seed)
        epochs = train_until_weak(curve, results) if stop_weak else len(curve.accuracies)
        results.append(curve.seen(epochs, trial.trial_id, values, seed))
        oracle.update_trial(trial.trial_id, {OBJECTIVE: results[-1].score})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
        yield results[-1]


def train_until_weak(curve: Curve, results: Sequence[TrialResult]) -> int:
    """Count the epochs that a trial trains under the median rule, beside what was found out."""
    whole, peers = len(curve.accuracies), [result.accuracies for result in results]
    epochs = range(1, whole)
    return next((e for e in epochs if is_weak(curve.accuracies[:e], peers, whole)), whole)
