"""How a search proposes: KerasTuner's oracles, each keeping the promises of `SearchOracle`."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras_tuner
from keras_tuner.engine.trial import Trial, TrialStatus

from tuning.oracles.freeze_thaw import FreezeThawOracle
from tuning.oracles.search_oracle import MAX_DRAWS, OBJECTIVE, SearchOracle
from tuning.oracles.surrogate import propose
from tuning.plan import TRIALS, SearchPlan
from tuning.space.search_space import Values, settle
from tuning.trials.median_stopping import believed_gain
from tuning.trials.results import COMPLETED, FAILED, SEARCH, STOPPED, TrialResult, standard_error

FLAT_SHARE = 0.1
"""Of the standard error of the best accuracy: below it, an expected gain pays for no trial."""

BELOW_ALL = -1.0
"""A score that no trial has which did not fail."""


def proposal(values: Values | None) -> dict[str, Any]:
    """Put a proposal in KerasTuner's form; None where there is nothing left to propose."""
    return {"status": TrialStatus.STOPPED if values is None else TrialStatus.RUNNING, "values": values}


class RandomOracle(SearchOracle, keras_tuner.oracles.RandomSearchOracle):
    """Proposes at random."""

    def propose_trial(self, trial_id: str) -> dict[str, Any]:
        """Propose the first of many draws that is new and allowed."""
        # It returns None, too early, where a few draws in a row were tried before.
        draw = super().propose_trial
        draws = (draw(trial_id)["values"] for _ in range(MAX_DRAWS))
        return proposal(self.first() or self.new(draws))


class HyperbandOracle(SearchOracle, keras_tuner.oracles.HyperbandOracle):
    """Proposes at random, and trains the better ones for longer (Li et al. 2018).

    It begins with the bracket that has as many trials as there may be, not with the largest.
    KerasTuner offers no place of its own for that, nor for draws that are allowed: two of its
    inner methods are overridden here, and in no other place. And it counts what failed neither among
    those that go on nor among those that do not, so that of a round with a few such none would go on:
    here they are the worst of their round.
    """

    _current_bracket: int
    _brackets: list[dict[str, Any]]

    def __init__(
        self,
        plan: SearchPlan,
        allowed: Callable[[Values], bool],
        results: Callable[[], list[TrialResult]],
        ended: Callable[[str], None],
    ) -> None:
        super().__init__(
            plan,
            allowed,
            results,
            ended,
            max_epochs=plan.config.total_epochs,
            # It begins again from the first bracket, until there are trials enough.
            hyperband_iterations=10**9,
        )
        while self._current_bracket and not self._fits():
            self._current_bracket -= 1
        self._largest_bracket = self._current_bracket
        self._brackets = []
        self._start_new_bracket()

    @keras_tuner.synchronized
    def end_trial(self, trial: Trial) -> None:
        """Let one that failed end below all others."""
        if trial.status == TrialStatus.FAILED:
            self.update_trial(trial.trial_id, {OBJECTIVE: BELOW_ALL})
            trial.status = TrialStatus.COMPLETED
        super().end_trial(trial)

    def _random_values(self) -> Values | None:
        draw = super()._random_values
        return self.first() or self.new(draw() for _ in range(MAX_DRAWS))

    def _increment_bracket_num(self) -> None:
        super()._increment_bracket_num()
        self._current_bracket = min(self._current_bracket, self._largest_bracket)

    def _fits(self) -> bool:
        """Whether the bracket has trials enough and configurations enough to be gone through."""
        sizes = [self._get_size(self._current_bracket, n) for n in range(self._current_bracket + 1)]
        return sum(sizes) <= self.plan.max_trials and (
            not is_finite(self.plan)
            or sizes[0] <= sum(self.allowed(values) for values in combinations(self.plan))
        )


class GridOracle(SearchOracle):
    """Proposes every combination in turn; the last hyperparameter varies fastest."""

    def propose_trial(self, trial_id: str) -> dict[str, Any]:
        """Propose the first combination that is new and allowed."""
        return proposal(self.first() or self.new(combinations(self.plan)))


def is_finite(plan: SearchPlan) -> bool:
    """Whether there are only so many configurations."""
    return all(dimension.choices for dimension in plan.space)


def combinations(plan: SearchPlan) -> Iterator[Values]:
    """Yield every combination of the choices, each once."""
    seen = set()
    names = [dimension.name for dimension in plan.space]
    for choices in itertools.product(*(dimension.choices for dimension in plan.space)):
        values = settle(plan.space, dict(zip(names, choices, strict=True)))
        key = tuple(values.items())
        if key not in seen:
            seen.add(key)
            yield values


class BayesianOracle(SearchOracle):
    """Proposes what a Gaussian process expects to improve the most."""

    def propose_trial(self, trial_id: str) -> dict[str, Any]:
        """Propose the start, then a few spread points, then by the process."""
        return proposal(self.first() or self._spread() or self._by_process())

    def _spread(self) -> Values | None:
        if len(self.searched()) >= count_random_starts(self.plan):
            return None
        return self.spread_point()

    def _by_process(self) -> Values | None:
        running = [trial.trial_id for trial in self.unfinished()]
        scores = believed_scores(self.results())
        known, waiting = [], []
        for trial in self.searched():
            if trial.trial_id in running:
                waiting.append(self.values_of(trial))
            else:
                known.append((self.values_of(trial), scores[trial.trial_id]))
        seed = self.plan.config.run.seed
        proposed = propose(self.plan.space, known, waiting, seed, self.allowed)
        if proposed is None:
            return None
        self.why_ended = flatness(proposed.gain, self.results()) if self.plan.stop_when_flat else ""
        return None if self.why_ended else proposed.values


def flatness(gain: float, results: Sequence[TrialResult]) -> str:
    """Return why a search ends where so little more is expected; empty where it does not.

    It does below `FLAT_SHARE` of the best accuracy's `standard_error` on the images of validation: a
    gain that nobody could tell from chance (after Makarova et al. 2022, arXiv:2104.08166, who stop at
    the error of the validation itself).

    Args:
        gain: that the best proposal promises, as a share of the images.
        results: of the trials so far.
    """
    measured = [result.measured for result in results if result.purpose == SEARCH and result.status != FAILED]
    if not measured:
        return ""
    accuracy, _, images = max(measured)
    error = standard_error(accuracy, images)
    if gain >= FLAT_SHARE * error:
        return ""
    return (
        f"another trial is expected to gain {100 * gain:.3f} points, where chance alone moves the best "
        f"accuracy by {100 * error:.2f}"
    )


def believed_scores(results: Sequence[TrialResult]) -> dict[str, float | None]:
    """Return each trial's score, of what was stopped the one that it would have come to."""
    completed = [r.accuracies for r in results if r.purpose == SEARCH and r.status == COMPLETED]
    return {
        result.trial: result.score + believed_gain(len(result.accuracies), completed)
        if result.status == STOPPED and result.score is not None
        else result.score
        for result in results
    }


def count_random_starts(plan: SearchPlan) -> int:
    """Count the trials before the process proposes: the start and points spread at random.

    One more than there are hyperparameters, but at most a quarter of the trials, and 3 to 10.
    """
    trials = min(plan.max_trials, TRIALS) if plan.budget.is_set else plan.max_trials
    return min(max(min(len(plan.space) + 1, trials // 4), 3), 10)


ORACLES: dict[str, type[SearchOracle]] = {
    "bayesian": BayesianOracle,
    "random": RandomOracle,
    "grid": GridOracle,
    "hyperband": HyperbandOracle,
    "freeze_thaw": FreezeThawOracle,
}
"""Name of each tuner -> its oracle."""
