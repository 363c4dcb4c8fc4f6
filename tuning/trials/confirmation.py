"""Which configuration won: decided by several seeds, not by one lucky trial."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.config.config import Config
from tuning.plan import SearchPlan
from tuning.space.search_space import Values, apply, nearest_values
from tuning.trials.results import (
    COMPLETED,
    CONFIRMATION,
    FAILED,
    SEARCH,
    TrialResult,
    best_first,
    furthest_first,
)


@dataclass(frozen=True)
class Confirmed:
    """One configuration, trained with every seed of the confirmation.

    Attributes:
        trial: of the search, in which it was found.
        values: its hyperparameters.
        is_start: whether the search began with it.
        accuracies: on validation, one a seed.
        correct: images that were right, of all seeds together.
        cross_entropy: mean over the seeds, nats; decides where `correct` ties.
    """

    trial: str
    values: Values
    is_start: bool
    accuracies: tuple[float, ...]
    correct: int
    cross_entropy: float

    @property
    def name(self) -> str:
        """What it is called in reports."""
        return f"trial {self.trial}{' (start)' if self.is_start else ''}"

    @property
    def mean(self) -> float:
        """Mean accuracy."""
        return statistics.mean(self.accuracies)

    @property
    def deviation(self) -> float:
        """Standard deviation of the accuracy, of a sample; 0 for one seed."""
        return statistics.stdev(self.accuracies) if len(self.accuracies) > 1 else 0.0


def choose_finalists(plan: SearchPlan, results: list[TrialResult]) -> list[Values]:
    """Choose the best configurations, and the one that the search began with beside them.

    A budget may end hyperband or freeze_thaw before one has trained to the end; then those that came
    furthest take part.
    """
    searched = [result for result in results if result.purpose == SEARCH]
    chosen: list[Values] = []
    for result in best_first(searched) or furthest_first(searched):
        if result.values not in chosen and len(chosen) < plan.finalists:
            chosen.append(result.values)
    start = nearest_values(plan.space, plan.config)
    began = any(result.values == start and result.status != FAILED for result in searched)
    return [*chosen, start] if began and start not in chosen else chosen


def confirm(plan: SearchPlan, results: list[TrialResult]) -> list[Confirmed]:
    """Summarise the finalists that trained with every seed, the best first."""
    start = nearest_values(plan.space, plan.config)
    seeds = set(plan.confirmation_seeds)
    confirmed = []
    for values in choose_finalists(plan, results):
        trained = [r for r in results if r.values == values and r.status != FAILED]
        # A search that was asked for more may have less room for the confirmation than it had before.
        again = [r for r in trained if r.purpose == CONFIRMATION and r.seed in seeds]
        found = [r for r in trained if r.purpose == SEARCH]
        if {result.seed for result in again} == seeds:
            accuracies, cross_entropies, images = zip(*(r.measured for r in again), strict=True)
            confirmed.append(
                Confirmed(
                    trial=next((r.trial for r in found if r.status == COMPLETED), found[0].trial),
                    values=values,
                    is_start=values == start,
                    accuracies=accuracies,
                    correct=sum(round(a * n) for a, n in zip(accuracies, images, strict=True)),
                    cross_entropy=statistics.mean(cross_entropies),
                )
            )
    return sorted(confirmed, key=lambda one: (-one.correct, one.cross_entropy, one.trial))


def best_config(plan: SearchPlan, values: Values) -> Config:
    """Return the settings of a configuration, with the splits that the search kept apart.

    Whatever seed it is trained with, its test split is one that no trial looked at.
    """
    return apply(values, plan.config).with_values({"split_seed": plan.config.split_seed})


def describe_confirmed(confirmed: Sequence[Confirmed]) -> list[str]:
    """Describe each in a line."""
    lines = []
    for one in confirmed:
        seeds = " ".join(f"{100 * accuracy:.2f}" for accuracy in one.accuracies)
        lines.append(f"  {one.name:<18} {100 * one.mean:6.2f} ± {100 * one.deviation:.2f} %   of {seeds}")
    return lines


def verdict(confirmed: Sequence[Confirmed]) -> str:
    """Say what came out, against what the search began with."""
    best = confirmed[0]
    start = next((one for one in confirmed if one.is_start), None)
    seeds = f"over {len(best.accuracies)} seed{'s' if len(best.accuracies) > 1 else ''}"
    if start is None:
        return f"best: trial {best.trial}, {best.mean:.2%} {seeds}"
    if best.is_start:
        return f"best: the settings the search began with, {best.mean:.2%} {seeds}"
    points = 100 * (best.mean - start.mean)
    better = best.correct > start.correct
    what = f"beats the start by {points:.2f} points" if better else "ties with the start"
    return f"best: trial {best.trial} {what}, {best.mean:.2%} against {start.mean:.2%} {seeds}"
