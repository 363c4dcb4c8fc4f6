"""What all oracles of a search share, whatever proposes its configurations.

The first trial is the nearest to the settings one started from; a configuration that is not
allowed never becomes a trial; none is tried twice; a seed, 0 too, makes the search repeatable; a
kill at any moment loses nothing; in the end the best are trained again.
"""

import contextlib
import dataclasses
import signal
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src.engine import conditions
from keras_tuner.src.engine.oracle import LOCKS, THREADS

from pipeline.config.config import Config
from pipeline.errors import UserError
from pipeline.files.json_file import read_json, write_json
from tuning.oracles.surrogate import spread
from tuning.plan import SearchPlan
from tuning.space.budget import seconds_of_process
from tuning.space.search_space import Dimension, Space, Value, Values, nearest_values, settle
from tuning.trials.confirmation import choose_finalists
from tuning.trials.results import TrialResult
from tuning.trials.spending import Meter, fit_confirmation, fits_round, read_meters, search_epochs_left
from tuning.trials.trial import CONFIRMATION_SEED, read_trial

MAX_DRAWS = 1000
"""Configurations that are looked at before a space counts as exhausted."""

# It prints a value of each condition that goes over the network.
conditions.print = lambda *values: None

OBJECTIVE = "score"


def declare(space: Space, config: Config) -> keras_tuner.HyperParameters:
    """Declare the space to KerasTuner; what `config` has, as near as may be, is the default."""
    hp = keras_tuner.HyperParameters()
    defaults = nearest_values(space, config)
    for dimension in space:
        default = defaults.get(dimension.name)
        if dimension.when is None:
            _declare_one(hp, dimension, default)
        else:
            name, wanted = dimension.when
            with hp.conditional_scope(name, list(wanted)):
                _declare_one(hp, dimension, default)
    return hp


def _declare_one(hp: keras_tuner.HyperParameters, dimension: Dimension, default: Value | None) -> None:
    if dimension.choices:
        hp.Choice(dimension.name, list(dimension.choices), dimension.is_ordered, default)
    else:
        sampling = "log" if dimension.log else "linear"
        hp.Float(dimension.name, dimension.low, dimension.high, sampling=sampling, default=default)


class SearchOracle(keras_tuner.Oracle):
    """The part that all oracles share.

    Args:
        plan: of the search.
        allowed: whether a configuration fits the data and keeps the limits; asked once for each.
        results: returns what the trials have found out so far.
        ended: called with the name of each trial that has ended.
        settings: of the KerasTuner oracle that it is mixed with.
    """

    def __init__(
        self,
        plan: SearchPlan,
        allowed: Callable[[Values], bool],
        results: Callable[[], list[TrialResult]],
        ended: Callable[[str], None],
        **settings: Any,
    ) -> None:
        super().__init__(
            objective=keras_tuner.Objective(OBJECTIVE, "max"),
            hyperparameters=declare(plan.space, plan.config),
            allow_new_entries=False,
            tune_new_entries=False,
            # A failed trial has its reason in its result; it is no reason to end the search.
            max_consecutive_failed_trials=10**9,
            **settings,
        )
        self.plan, self.allowed, self.results, self.ended = plan, allowed, results, ended
        self.final: SearchPlan | None = None
        self.failure: Exception | None = None
        self.why_ended = ""
        self._seconds_before = 0.0
        # As its argument KerasTuner takes 0 for none, and draws a seed.
        self.set_state(self.get_state() | dict.fromkeys(("seed", "seed_state"), plan.config.run.seed))
        # Counted here, because the confirmation's trials come on top.
        self.max_trials = None
        self.verbose = 0

    def values_of(self, trial: Trial) -> Values:
        """Return a trial's hyperparameters in the space's order."""
        return settle(self.plan.space, trial.hyperparameters.values)

    def searched(self) -> list[Trial]:
        """Return the trials of the search itself, in order."""
        trials = sorted(self.trials.values(), key=lambda trial: trial.trial_id)
        return [t for t in trials if CONFIRMATION_SEED not in t.hyperparameters.values]

    def tried(self) -> list[Values]:
        """Return the configurations of all trials of the search."""
        return [self.values_of(trial) for trial in self.searched()]

    def first(self) -> Values | None:
        """Return the configuration to begin with, once, where it is allowed."""
        values = nearest_values(self.plan.space, self.plan.config)
        return values if not self.trials and self.allowed(values) else None

    def new(self, candidates: Iterable[Values | None]) -> Values | None:
        """Return the first candidate that is allowed and was not tried."""
        tried = self.tried()
        return next((v for v in candidates if v and v not in tried and self.allowed(v)), None)

    def spread_point(self) -> Values | None:
        """Return the next point of a sequence that is spread over the space, allowed and not tried."""
        number, seed = len(self.searched()), self.plan.config.run.seed
        return self.new(spread(self.plan.space, number + n, seed) for n in range(MAX_DRAWS))

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Propose a trial: of the search, then of the confirmation."""
        if self.final is None and self.has_trials_left():
            proposal = self.propose_trial(trial_id)
            if proposal["status"] != TrialStatus.STOPPED:
                return proposal
        for values in self.confirmation():
            return {"status": TrialStatus.RUNNING, "values": values}
        return {"status": TrialStatus.IDLE if self.ongoing_trials else TrialStatus.STOPPED}

    def has_trials_left(self) -> bool:
        """Whether the search may have another trial."""
        if len(self.searched()) >= self.plan.max_trials:
            return False
        # Without a first one there is nothing to confirm.
        return not self.trials or not self.is_spent()

    def is_spent(self) -> bool:
        """Whether the budget has no room for another whole trial of the search."""
        return self.epochs_left() < self.plan.config.total_epochs

    def is_too_short(self) -> bool:
        """Whether the budget ends the search with its first trial, so that there is nothing to compare.

        Nor does it where one was asked for; nor once the confirmation has begun, for that spends the budget
        of a search that found no second one as well.
        """
        one = len(self.searched()) == 1 < self.plan.max_trials
        return self.final is None and one and self.is_spent()

    def epochs_left(self) -> float:
        """Return the epochs that the budget leaves to the search; infinity without one."""
        return search_epochs_left(self.plan, self.results(), self.meters())

    def meters(self) -> list[Meter]:
        """Return what is left of each budget that is set."""
        if not self.plan.budget.is_set:
            return []
        results = self.results()
        done = {result.trial: result.epochs for result in results}
        running = 0
        for unfinished in self.unfinished():
            trial = read_trial(unfinished.trial_id, unfinished.hyperparameters.values, self.plan)
            running += trial.epochs - done.get(trial.name, 0)
        return read_meters(self.plan, results, running, self.seconds())

    def seconds(self) -> float:
        """Return the time that the processes of the search have taken."""
        return self._seconds_before + seconds_of_process()

    def propose_trial(self, trial_id: str) -> dict[str, Any]:
        """Propose a trial of the search in KerasTuner's form."""
        return super().populate_space(trial_id)

    def confirmation(self) -> Iterator[Values]:
        """Yield what the confirmation has still to train, once the search itself is over."""
        if any(CONFIRMATION_SEED not in t.hyperparameters.values for t in self.unfinished()):
            return
        if self.is_too_short():
            return
        if self.final is None:
            self.final = self._end_search()
        begun = [trial.hyperparameters.values for trial in self.trials.values()]
        finalists = choose_finalists(self.final, self.results())
        for index, seed in enumerate(self.final.confirmation_seeds):
            wanted = [{**values, CONFIRMATION_SEED: seed} for values in finalists]
            missing = [values for values in wanted if values not in begun]
            if index and missing == wanted and not fits_round(self.final, self.results(), self.meters()):
                self.final = dataclasses.replace(self.final, seeds=index)
                return
            yield from missing

    def _end_search(self) -> SearchPlan:
        """Return the plan with the confirmation that fits into what is left."""
        if not self.why_ended and self.is_spent() and len(self.searched()) < self.plan.max_trials:
            self.why_ended = "what is left of the budget goes to the confirmation"
        return fit_confirmation(self.plan, self.results(), self.meters())

    def unfinished(self) -> list[Trial]:
        """Return the trials that run or wait to go on."""
        return [self.trials[name] for name in self.start_order if name not in self.end_order]

    @contextlib.contextmanager
    def _ending_its_chief(self) -> Iterator[None]:
        """Let an error end the search where a chief serves it, in a thread of KerasTuner's server.

        KerasTuner tells the worker alone, lets the chief wait for others, and holds its lock for ever.
        """
        try:
            yield
        except Exception as error:
            if THREADS[self] == threading.current_thread().name:
                THREADS[self] = None
                LOCKS[self].release()
            chief = threading.main_thread()
            if threading.current_thread() is not chief and chief.ident:
                self.failure = error
                # As Ctrl-C does, which is what a chief listens to.
                signal.pthread_kill(chief.ident, signal.SIGTERM)
            raise

    def create_trial(self, tuner_id: str) -> Trial:
        """Give out a trial: one that waits to go on, or what is proposed."""
        with self._ending_its_chief():
            return super().create_trial(tuner_id)

    def update_trial(self, trial_id: str, metrics: Mapping[str, float], step: int = 0) -> Trial:
        """Note the score of a trial."""
        with self._ending_its_chief():
            return super().update_trial(trial_id, metrics, step)

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Note how a trial ended, and tell."""
        with self._ending_its_chief():
            super().end_trial(trial)
            # What KerasTuner saved still has the trial among the running ones.
            self.save()
            self.ended(trial.trial_id)

    def get_state(self) -> dict[str, Any]:
        """Return the state with the trials in it.

        KerasTuner keeps them in files of their own, which a kill may leave half written.
        """
        trials = {name: trial.get_state() for name, trial in self.trials.items()}
        return {
            **super().get_state(),
            "trials": trials,
            "seconds": self.seconds(),
            "extent": self.plan.extent(),
            "why_ended": self.why_ended,
            "confirm": [self.final.finalists, self.final.seeds] if self.final else None,
        }

    def set_state(self, state: dict[str, Any]) -> None:
        """Take over what `get_state` returned."""
        self.trials = {name: Trial.from_state(trial) for name, trial in state["trials"].items()}
        super().set_state(state)

    def save(self) -> None:
        """Write the state in whole, for a kill may come at any moment."""
        write_json(Path(self._get_oracle_fname()), self.get_state())

    @keras_tuner.synchronized
    def note_time(self) -> None:
        """Write down the time that was taken, for the process ends in the middle of a trial."""
        self.save()

    def reload(self) -> None:
        """Read the state, where there is one; give out again what was running, the earliest first.

        Raises:
            UserError: it is damaged.
        """
        path = Path(self._get_oracle_fname())
        if not path.exists():
            return
        state = read_json(path, {"start_order": list}, of="a search")
        if "trials" not in state:
            # Of an earlier version, which left them to KerasTuner.
            files = {name: path.parent / f"trial_{name}" / "trial.json" for name in state["start_order"]}
            state["trials"] = {name: read_json(file, of="a search") for name, file in files.items()}
        try:
            running = sorted({*state["ongoing_trials"].values(), *state["retry_queue"]}, reverse=True)
            # What KerasTuner saves while a trial ends has it among both.
            ended = [name for name in state["end_order"] if name not in running]
            self.set_state({**state, "ongoing_trials": {}, "retry_queue": running, "end_order": ended})
            self._seconds_before = state.get("seconds", 0.0)
            # Asked for more, a search that had ended goes on.
            if state.get("confirm") and state["extent"] == self.plan.extent():
                finalists, seeds = state["confirm"]
                self.final = dataclasses.replace(self.plan, finalists=finalists, seeds=seeds)
                self.why_ended = state["why_ended"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            # It is KerasTuner's own, which takes it as it comes.
            reason = f"{type(error).__name__}: {error}".partition("\n")[0]
            raise UserError(f"a search must have a whole {path.name}; {path}: {reason}") from error
