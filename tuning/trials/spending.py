"""What a search has used up of its budget, and what still fits: another trial, and the confirmation."""

import dataclasses
import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from tuning.plan import SearchPlan
from tuning.space.budget import Budget
from tuning.space.search_space import Values
from tuning.trials.confirmation import choose_finalists
from tuning.trials.results import CONFIRMATION, FAILED, TrialResult

REPORT_SECONDS = 15.0
"""Of the minutes, what is kept back for the report."""

CONFIRMATION_SHARE = 0.5
"""Of a budget, the most that is kept back for the confirmation."""


@dataclass(frozen=True)
class Meter:
    """A budget in one unit.

    Attributes:
        total: all of it.
        left: of it, once what trains now has ended.
        epoch: what an epoch costs in the mean; 0 where that is not known yet.
        epoch_of: what an epoch of one configuration costs.
    """

    total: float
    left: float
    epoch: float
    epoch_of: Callable[[Values], float]


def read_meters(
    plan: SearchPlan, results: Sequence[TrialResult], running_epochs: int, seconds: float
) -> list[Meter]:
    """Return a meter for each budget that is set.

    An epoch's price in seconds is that of all so far: with loading, building and measuring, and with
    as many side by side as there are workers. Configurations differ as their trainings did.

    Args:
        plan: of the search.
        results: of what was trained so far.
        running_epochs: that running trials have still to train.
        seconds: that the search has taken, those of former processes with them.
    """
    meters = []
    if plan.budget.max_epochs_total is not None:
        total = float(plan.budget.max_epochs_total)
        meters.append(Meter(total, total - epochs_spent(results) - running_epochs, 1.0, lambda values: 1.0))
    if plan.budget.minutes is not None:
        # Before the first epoch has ended, nothing is known of how long one takes.
        trained = sum(result.epochs for result in results)
        total, epoch = 60 * plan.budget.minutes - REPORT_SECONDS, seconds / trained if trained else 0.0
        mean = seconds_per_epoch(results)

        def epoch_of(values: Values) -> float:
            own = seconds_per_epoch([result for result in results if result.values == values])
            return epoch * own / mean if own and mean else epoch

        meters.append(Meter(total, total - seconds - running_epochs * epoch, epoch, epoch_of))
    return meters


def epochs_spent(results: Sequence[TrialResult]) -> int:
    """Return the epochs that count against a budget.

    A trial that failed in its first one spends that, lest others fail like it for ever.
    """
    return sum(max(result.epochs, int(result.status == FAILED)) for result in results)


def describe_taken(budget: Budget, results: Sequence[TrialResult], seconds: float) -> str:
    """Say in words what a search has taken of its budget.

    Args:
        budget: of the search.
        results: of all trials.
        seconds: that it has taken.
    """
    epochs, parts = epochs_spent(results), []
    if budget.minutes is not None:
        parts.append(f"{seconds / 60:.1f} of {budget.minutes:g} minutes")
    if budget.max_epochs_total is not None:
        parts.append(f"{epochs:,} of {budget.max_epochs_total:,} epochs")
    return ", ".join(parts)


def seconds_per_epoch(results: Sequence[TrialResult]) -> float:
    """Return the mean time of an epoch, s; 0 where none was trained."""
    epochs = sum(result.epochs for result in results)
    return sum(result.seconds for result in results) / epochs if epochs else 0.0


def round_price(plan: SearchPlan, results: list[TrialResult], meter: Meter) -> float:
    """Return what it costs to train the finalists once more with one seed."""
    return sum(map(meter.epoch_of, choose_finalists(plan, results))) * plan.config.total_epochs


def confirmation_price(plan: SearchPlan, results: list[TrialResult], meter: Meter) -> float:
    """Return what it costs to train the finalists with every seed, but for what was trained already."""
    trained = [(result.values, result.seed) for result in results if result.purpose == CONFIRMATION]
    wanted = itertools.product(choose_finalists(plan, results), plan.confirmation_seeds)
    missing = [values for values, seed in wanted if (values, seed) not in trained]
    return sum(map(meter.epoch_of, missing)) * plan.config.total_epochs


def search_epochs_left(plan: SearchPlan, results: list[TrialResult], meters: Sequence[Meter]) -> float:
    """Return the epochs that the search may still train so that its confirmation fits as well.

    That gets what `plan` asks, but at most `CONFIRMATION_SHARE` of the budget.
    """
    # The start is one more. A finalist that is not known yet costs what the mean does.
    unknown = plan.finalists + 1 - len(choose_finalists(plan, results))
    left = math.inf
    for meter in meters:
        if not meter.epoch:
            # Whatever one takes, it takes time.
            left = min(left, math.inf if meter.left > 0 else 0.0)
            continue
        training = meter.epoch * plan.config.total_epochs
        confirmation = plan.seeds * (round_price(plan, results, meter) + unknown * training)
        kept = min(confirmation, CONFIRMATION_SHARE * meter.total)
        left = min(left, (meter.left - kept) / meter.epoch)
    return left


def fit_confirmation(plan: SearchPlan, results: list[TrialResult], meters: Sequence[Meter]) -> SearchPlan:
    """Return the plan with a confirmation that fits: first fewer configurations, then fewer seeds."""
    smaller = [dataclasses.replace(plan, finalists=count) for count in range(plan.finalists, 0, -1)]
    smaller += [dataclasses.replace(smaller[-1], seeds=count) for count in range(plan.seeds - 1, 0, -1)]
    for one in smaller:
        if all(confirmation_price(one, results, meter) <= meter.left for meter in meters):
            return one
    return smaller[-1]


def fits_round(plan: SearchPlan, results: list[TrialResult], meters: Sequence[Meter]) -> bool:
    """Whether the finalists can be trained with another seed."""
    return all(round_price(plan, results, meter) <= meter.left for meter in meters)
