"""Trials that are frozen and thawed: step by step a new configuration, or more of an old one.

A run stops at the end of an epoch and goes on from there bit for bit, so that a few epochs of many
configurations cost no more than what is seen (Swersky et al. 2014, arXiv:1406.3896).
"""

import dataclasses
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from keras_tuner.engine.trial import TrialStatus
from keras_tuner.src.engine.metrics_tracking import MetricsTracker
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from tuning.oracles.curve_model import CurveModel, chance_of_improvement, rungs
from tuning.oracles.search_oracle import SearchOracle
from tuning.oracles.surrogate import BEST, encode, list_candidates
from tuning.space.search_space import Values
from tuning.trials.results import COMPLETED, FAILED, TrialResult
from tuning.trials.trial import LAST_EPOCH

RANDOM_STARTS = 3
"""Trials before the model proposes: the start, and points spread at random."""


@dataclass(frozen=True)
class Curve:
    """A trial and how far it is.

    Attributes:
        trial: its name.
        values: its hyperparameters.
        scores: the best accuracy up to each rung that it has come to.
        epochs: that it has trained, or trains now.
        frozen: it can be thawed.
    """

    trial: str
    values: Values
    scores: tuple[float, ...]
    epochs: int
    frozen: bool


class FreezeThawOracle(SearchOracle):
    """Chooses between a new configuration and continuing a frozen one, by their learning curves.

    `max_trials` is a budget here: it trains as many epochs as so many whole trials have, and brings
    one trial at least to the end.
    """

    def has_trials_left(self) -> bool:
        """Leave it to `propose_trial`, which counts epochs."""
        return True

    def propose_trial(self, trial_id: str) -> dict[str, Any]:
        """Thaw a trial, or begin with another configuration; stop where the epochs are spent."""
        ladder, curves = rungs(self.plan.config.total_epochs), self._curves()
        left = self.plan.max_trials * ladder[-1] - sum(curve.epochs for curve in curves)
        if curves:
            left = int(min(left, self.epochs_left()))
        failed = {result.trial for result in self.results() if result.status == FAILED}
        ahead = max((curve.epochs for curve in curves if curve.trial not in failed), default=0)
        # What brings one to the end is kept back until one is there, or on its way; where there is none,
        # a new one is the first.
        spare = left - (ladder[-1] - max(ahead, ladder[0]))
        first = max((c for c in curves if c.frozen), key=lambda c: (c.epochs, c.scores), default=None)
        affordable = [
            curve
            for curve in curves
            if curve.frozen and _step(curve, ladder) <= (left if curve is first else spare)
        ]
        chosen = self.choose(curves, affordable, ladder, with_new=ladder[0] <= spare)
        if isinstance(chosen, Curve):
            return self._thaw(chosen, chosen.epochs + _step(chosen, ladder))
        if chosen is None:
            return {"status": TrialStatus.STOPPED, "values": None}
        return {"status": TrialStatus.RUNNING, "values": chosen | {LAST_EPOCH: ladder[0]}}

    def choose(
        self, curves: list[Curve], frozen: list[Curve], ladder: list[int], *, with_new: bool
    ) -> Curve | Values | None:
        """Choose what to train next.

        Args:
            curves: of all trials.
            frozen: those that may be thawed.
            ladder: epochs of the rungs.
            with_new: whether a new configuration may begin.

        Returns:
            One of `frozen`, a new configuration, or None where there is nothing.
        """
        known = [curve for curve in curves if curve.scores]
        if with_new and len(known) < RANDOM_STARTS and (values := self.first() or self.spread_point()):
            return values
        if not known:
            return None
        seed, spent = self.plan.config.run.seed, sum(curve.epochs for curve in curves)
        generator = np.random.default_rng((seed, spent))
        fresh: list[Values] = []
        if with_new:
            best = sorted(known, key=lambda curve: -max(curve.scores))[:BEST]
            fresh = list_candidates(self.plan.space, [curve.values for curve in best], generator)
        candidates: list[Curve | Values] = [*frozen, *fresh]
        if not candidates:
            return None
        merit = self._merit(known, frozen, fresh, len(ladder), generator)
        tried = self.tried()
        for index in np.argsort(-merit, kind="stable"):
            candidate = candidates[index]
            if isinstance(candidate, Curve) or (candidate not in tried and self.allowed(candidate)):
                return candidate
        return None

    def _merit(
        self,
        known: list[Curve],
        frozen: list[Curve],
        fresh: list[Values],
        count: int,
        generator: np.random.Generator,
    ) -> np.ndarray:
        space = self.plan.space
        scores = [curve.scores[-1] for curve in frozen] + [0.0] * len(fresh)
        rung = [len(curve.scores) - 1 for curve in frozen] + [-1] * len(fresh)
        features = [encode(space, values) for values in [*(curve.values for curve in frozen), *fresh]]
        # Beside TensorFlow's threads, several of BLAS' make so small a fit ten times slower.
        with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
            # The kernel's bounds are there to be reached: a dozen trials tell little.
            warnings.simplefilter("ignore", ConvergenceWarning)
            features_known = np.array([encode(space, curve.values) for curve in known])
            model = CurveModel(features_known, [curve.scores for curve in known], count)
            return chance_of_improvement(
                model, np.array(features), np.array(scores), np.array(rung), count, generator
            )

    def _curves(self) -> list[Curve]:
        results = {result.trial: result for result in self.results()}
        running = {trial.trial_id for trial in self.unfinished()}
        ladder = rungs(self.plan.config.total_epochs)
        curves = []
        for trial in self.searched():
            curve = _curve(trial.trial_id, self.values_of(trial), results.get(trial.trial_id), ladder)
            if trial.trial_id in running:
                epochs = trial.hyperparameters.values[LAST_EPOCH]
                curve = dataclasses.replace(curve, epochs=epochs, frozen=False)
            curves.append(curve)
        worst = min((curve.scores[0] for curve in curves if curve.scores), default=None)
        # What failed is no better than the worst, so that nothing near it is tried.
        return [
            dataclasses.replace(curve, scores=(worst,))
            if worst is not None and (result := results.get(curve.trial)) and result.status == FAILED
            else curve
            for curve in curves
        ]

    def _thaw(self, curve: Curve, last_epoch: int) -> dict[str, Any]:
        """Put a trial where KerasTuner takes its next one from; asked again, it gives that out.

        Nothing is written before that, so that a kill in between leaves the trial frozen.
        """
        trial = self.trials[curve.trial]
        trial.hyperparameters.values[LAST_EPOCH] = last_epoch
        # KerasTuner takes one score a trial.
        trial.metrics = MetricsTracker()
        self.end_order.remove(trial.trial_id)
        self._retry_queue.append(trial.trial_id)
        return {"status": TrialStatus.IDLE}


def _step(curve: Curve, ladder: list[int]) -> int:
    """Count the epochs to the next rung."""
    return next(rung for rung in ladder if rung > curve.epochs) - curve.epochs


def _curve(trial: str, values: Values, result: TrialResult | None, ladder: list[int]) -> Curve:
    """Describe a trial by what it has found out so far."""
    if result is None:
        return Curve(trial, values, (), 0, frozen=False)
    accuracies = result.accuracies
    scores = tuple(max(accuracies[:rung]) for rung in ladder if len(accuracies) >= rung)
    # A failed one spends something too, lest nothing else is tried for ever.
    epochs = max(result.epochs, ladder[0])
    return Curve(trial, values, scores, epochs, frozen=result.status not in (COMPLETED, FAILED))
