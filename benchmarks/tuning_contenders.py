"""The searches of the tuning benchmark, and the loops that drive them over known learning curves.

Nothing is trained here: a search asks for a configuration, and is told what its training showed
epoch by epoch. So all of them see the same, and hundreds of searches cost minutes.
"""

import importlib.util
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import keras_tuner
from keras_tuner.engine.trial import TrialStatus
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from pipeline.config.config import Config
from tuning.oracles.curve_model import REDUCTION
from tuning.oracles.freeze_thaw import Curve as Climber
from tuning.oracles.freeze_thaw import FreezeThawOracle
from tuning.oracles.oracles import BayesianOracle
from tuning.oracles.search_oracle import OBJECTIVE, SearchOracle, declare
from tuning.plan import SearchPlan
from tuning.space.budget import Budget
from tuning.space.limits import Limits
from tuning.space.search_space import Space, Value, Values, settle
from tuning.trials.median_stopping import is_weak
from tuning.trials.results import COMPLETED, SEARCH, STOPPED, TrialResult
from tuning.trials.trial import CONFIRMATION_SEED, FIRST_EPOCH, LAST_EPOCH

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
        best: seed of the search -> accuracy of the best configuration that is known.
        share: of the space that is as good within the tolerance, with the first seed.
        trials: whole trials that a search may train.
    """

    name: str
    config: Config
    space: Space
    curve: Callable[[Values, int], Curve]
    best: Callable[[int], float]
    share: float
    trials: int = 40

    @property
    def epochs(self) -> int:
        """Of a whole trial."""
        return self.config.fit.epochs


def share_within(curves: Iterable[Curve], best: float) -> float:
    """Return the share of configurations that come within the tolerance of `best`."""
    good = [max(curve.accuracies) >= best - TOLERANCE for curve in curves]
    return sum(good) / len(good)


@dataclass(frozen=True)
class Reach:
    """How a search went.

    Attributes:
        epochs: of training, until a trial came within the tolerance; of the whole budget if none did.
        trials: begun until then.
        censored: none did.
        regret: how much less accurate than the best that is known the best trial was after a third of
            the budget, or where the search came within the tolerance before.
    """

    epochs: int
    trials: int
    censored: bool
    regret: float


@dataclass(frozen=True)
class Step:
    """One training of a search: of a whole trial or a part of it.

    Attributes:
        epochs: that it took.
        accuracy: the best that it saw.
        begins: it is the first of its trial.
    """

    epochs: int
    accuracy: float
    begins: bool = True


def reach(steps: Iterable[Step], best: float, budget: int) -> Reach:
    """Measure when a search first came within the tolerance; let it search no longer.

    The step that comes so far counts whole: who searches does not know the target.

    Args:
        steps: of the search, in order.
        best: accuracy that is known to be possible.
        budget: epochs that it may take.
    """
    spent, trials, found, after_third = 0, 0, 0.0, 0.0
    for step in steps:
        spent += step.epochs
        trials += step.begins
        if spent > budget:
            break
        found = max(found, step.accuracy)
        if 3 * spent <= budget:
            after_third = found
        if found >= best - TOLERANCE:
            return Reach(spent, trials, False, best - after_third)
    return Reach(budget, trials, True, best - after_third)


def search_plan(config: Config, space: Space, seed: int, trials: int, tuner: str = "bayesian") -> SearchPlan:
    """Return the plan of `python -m tuning --max-trials N --seed S`."""
    return SearchPlan(
        tuner=tuner,
        config=config.with_values({"seed": seed}),
        space=space,
        limits=Limits(),
        max_trials=trials,
        finalists=3,
        seeds=3,
        stop_weak=True,
        budget=Budget(),
        stop_when_flat=False,
    )


class HalvingOracle(FreezeThawOracle):
    """Ours without a model: configurations at random, and of those at a rung the best third goes on.

    Asynchronous successive halving (Li et al. 2020, arXiv:1810.05934, algorithm 2).
    """

    def choose(
        self, curves: list[Climber], frozen: list[Climber], ladder: list[int], *, with_new: bool
    ) -> Climber | Values | None:
        """Promote from the highest rung where there is one; else begin anew."""
        for rung in reversed(range(len(ladder) - 1)):
            came = [curve for curve in curves if len(curve.scores) > rung]
            came.sort(key=lambda curve: -curve.scores[rung])
            for curve in came[: len(came) // REDUCTION]:
                if curve in frozen and curve.epochs == ladder[rung]:
                    return curve
        fresh = (self.first() or self.spread_point()) if with_new else None
        return fresh or max(frozen, key=lambda curve: (curve.epochs, curve.scores), default=None)


def our_search(kind: type[SearchOracle], task: Task, seed: int, trials: int) -> Iterator[Step]:
    """Search with an oracle of ours."""
    tuner = "freeze_thaw" if issubclass(kind, FreezeThawOracle) else "bayesian"
    results: dict[str, TrialResult] = {}
    oracle = kind(
        search_plan(task.config, task.space, seed, trials, tuner),
        lambda values: True,
        lambda: list(results.values()),
        lambda trial: None,
    )

    def train(trial: str, values: Values, asked: dict[str, Value]) -> TrialResult:
        curve = task.curve(values, seed)
        epochs = int(asked.get(LAST_EPOCH, task.epochs))
        if tuner == "bayesian":
            epochs = train_until_weak(curve, list(results.values()))
        results[trial] = curve.seen(epochs, trial, values, seed)
        return results[trial]

    return run_oracle(oracle, task, train)


def stock_search(kind: type[keras_tuner.Oracle], task: Task, seed: int, trials: int) -> Iterator[Step]:
    """Search with an oracle of KerasTuner's, with its own defaults, for as long as it is asked."""
    hyperband = kind is keras_tuner.oracles.HyperbandOracle
    size = {"max_epochs": task.epochs, "hyperband_iterations": 10**6} if hyperband else {"max_trials": trials}
    oracle = kind(
        objective=keras_tuner.Objective(OBJECTIVE, "max"),
        hyperparameters=declare(task.space, task.config),
        seed=seed,
        **size,
    )

    def train(trial: str, values: Values, asked: dict[str, Value]) -> TrialResult:
        return task.curve(values, seed).seen(int(asked.get(LAST_EPOCH, task.epochs)), trial, values, seed)

    return run_oracle(oracle, task, train)


def run_oracle(
    oracle: keras_tuner.Oracle, task: Task, train: Callable[[str, Values, dict[str, Value]], TrialResult]
) -> Iterator[Step]:
    """Drive an oracle as KerasTuner's tuner does; end where it has no more to propose.

    Args:
        oracle: what proposes.
        task: what is tuned.
        train: (trial, its values, with the entries that the oracle adds) -> what it finds out.
    """
    # A search that takes a second need not survive a kill, and may stay silent.
    oracle.save = oracle._save_trial = lambda *_: None
    oracle.verbose = 0
    trained: dict[str, int] = {}
    while True:
        # KerasTuner's process takes seconds for a proposal where BLAS uses several threads.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            trial = oracle.create_trial("tuner")
        if trial.status == TrialStatus.IDLE:
            continue
        asked = trial.hyperparameters.values
        if trial.status == TrialStatus.STOPPED or CONFIRMATION_SEED in asked:
            return
        name = trial.trial_id
        result = train(name, settle(task.space, asked), asked)
        before = trained.get(name, asked.get(FIRST_EPOCH, 0))
        trained[name] = result.epochs
        oracle.update_trial(name, {OBJECTIVE: result.score})
        trial.status = TrialStatus.COMPLETED
        oracle.end_trial(trial)
        assert result.accuracy is not None  # none of these fails
        yield Step(result.epochs - before, result.accuracy, begins=before == 0)


def optuna_search(pruner: str, task: Task, seed: int, trials: int) -> Iterator[Step]:
    """Search with Optuna's TPE or at random, and one of its pruners, which keep nothing of a trial."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    if pruner == "hyperband":
        sampler: optuna.samplers.BaseSampler = optuna.samplers.TPESampler(seed=seed)
        pruning: optuna.pruners.BasePruner = optuna.pruners.HyperbandPruner(1, task.epochs, REDUCTION)
    else:
        sampler = optuna.samplers.RandomSampler(seed=seed)
        pruning = optuna.pruners.SuccessiveHalvingPruner(1, REDUCTION)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        study = optuna.create_study(direction="maximize", sampler=sampler, pruner=pruning)
    while True:
        trial = study.ask()
        values: Values = {}
        for dimension in task.space:
            if not dimension.matters(values):
                continue
            if dimension.choices:
                index = trial.suggest_categorical(dimension.name, range(len(dimension.choices)))
                values[dimension.name] = dimension.choices[index]
            else:
                values[dimension.name] = trial.suggest_float(
                    dimension.name, dimension.low, dimension.high, log=dimension.log
                )
        accuracies = task.curve(values, seed).accuracies
        for epoch, accuracy in enumerate(accuracies, 1):
            trial.report(accuracy, epoch)
            if trial.should_prune() or epoch == len(accuracies):
                break
        pruned = epoch < len(accuracies)
        best = max(accuracies[:epoch])
        if pruned:
            study.tell(trial, state=optuna.trial.TrialState.PRUNED)
        else:
            study.tell(trial, best)
        yield Step(epoch, best)


@dataclass(frozen=True)
class Contender:
    """A way to search.

    Attributes:
        search: `our_search`, `stock_search` or `optuna_search`.
        kind: of oracle, or of pruner.
    """

    search: Callable[..., Iterator[Step]]
    kind: type[keras_tuner.Oracle] | str

    def reach(self, task: Task, seed: int, trials: int) -> Reach:
        """Search a task once, for as many epochs as so many whole trials have."""
        steps = self.search(self.kind, task, seed, trials)
        return reach(steps, task.best(seed), trials * task.epochs)


OURS = "freeze_thaw"
RANDOM, BAYESIAN, HYPERBAND = "KerasTuner random", "KerasTuner Bayesian", "KerasTuner Hyperband"
CONTENDERS = {
    OURS: Contender(our_search, FreezeThawOracle),
    "ours, halving at random": Contender(our_search, HalvingOracle),
    "ours, bayesian": Contender(our_search, BayesianOracle),
    RANDOM: Contender(stock_search, keras_tuner.oracles.RandomSearchOracle),
    BAYESIAN: Contender(stock_search, keras_tuner.oracles.BayesianOptimizationOracle),
    HYPERBAND: Contender(stock_search, keras_tuner.oracles.HyperbandOracle),
}
if importlib.util.find_spec("optuna"):
    CONTENDERS["Optuna TPE, Hyperband"] = Contender(optuna_search, "hyperband")
    CONTENDERS["Optuna random, ASHA"] = Contender(optuna_search, "halving")


def train_until_weak(curve: Curve, results: Sequence[TrialResult]) -> int:
    """Count the epochs that a trial trains under the median rule, beside what was found out."""
    whole, peers = len(curve.accuracies), [result.accuracies for result in results]
    epochs = range(1, whole)
    return next((e for e in epochs if is_weak(curve.accuracies[:e], peers, whole)), whole)
