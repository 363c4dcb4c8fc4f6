"""What all oracles of a search share, whatever proposes its configurations.

The first trial is the nearest to the settings one started from; a configuration that is not
allowed never becomes a trial; none is tried twice; a seed, 0 too, makes the search repeatable; a
kill at any moment loses nothing; in the end the best are trained again.
"""

import itertools
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus
from keras_tuner.src.engine import conditions

from pipeline.files import write_whole
from tuning.hypermodel import declare
from tuning.plan import SearchPlan
from tuning.space.search_space import Values, nearest_values, settle
from tuning.trials.confirmation import choose_finalists
from tuning.trials.results import TrialResult
from tuning.trials.trial import CONFIRMATION_SEED

# It prints a value of each condition that goes over the network.
conditions.print = lambda *values: None

OBJECTIVE = "score"


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
        # KerasTuner takes 0 for none and draws a seed.
        self.seed = self._seed_state = plan.config.run.seed
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

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """Propose a trial: of the search, then of the confirmation."""
        if len(self.searched()) < self.plan.max_trials:
            proposal = self.propose_trial(trial_id)
            if proposal["status"] != TrialStatus.STOPPED:
                return proposal
        for values in self.confirmation():
            return {"status": TrialStatus.RUNNING, "values": values}
        return {"status": TrialStatus.IDLE if self.ongoing_trials else TrialStatus.STOPPED}

    def propose_trial(self, trial_id: str) -> dict[str, Any]:
        """Propose a trial of the search in KerasTuner's form."""
        return super().populate_space(trial_id)

    def confirmation(self) -> Iterator[Values]:
        """Yield what the confirmation has still to train, once the search itself is over."""
        if any(CONFIRMATION_SEED not in t.hyperparameters.values for t in self.unfinished()):
            return
        begun = [trial.hyperparameters.values for trial in self.trials.values()]
        finalists = choose_finalists(self.plan, self.results())
        for seed, values in itertools.product(self.plan.confirmation_seeds, finalists):
            wanted = {**values, CONFIRMATION_SEED: seed}
            if wanted not in begun:
                yield wanted

    def unfinished(self) -> list[Trial]:
        """Return the trials that run or wait for another attempt."""
        waiting = [self.trials[trial_id] for trial_id in self._retry_queue]
        return [*self.ongoing_trials.values(), *waiting]

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Note how a trial ended, and tell."""
        super().end_trial(trial)
        # What KerasTuner saved still has the trial among the running ones.
        self.save()
        self.ended(trial.trial_id)

    def save(self) -> None:
        """Write the state in whole, for a kill may come at any moment."""
        _write_json(Path(self._get_oracle_fname()), self.get_state())

    def _save_trial(self, trial: Trial) -> None:
        folder = Path(self._get_trial_dir(trial.trial_id))
        _write_json(folder / "trial.json", trial.get_state())

    def reload(self) -> None:
        """Read the state; give out again what was running, the earliest first."""
        super().reload()
        # A kill between two files leaves a trial that the state does not know: proposed again
        # from the same state, it is the same again.
        self.trials = {name: self.trials[name] for name in self.start_order}
        self._retry_queue = sorted(self._retry_queue, reverse=True)


def _write_json(path: Path, state: dict[str, Any]) -> None:
    write_whole(path, lambda aside: aside.write_text(json.dumps(state)))
