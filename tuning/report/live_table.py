"""The table of trials while they run: a line for each that has ended, and the time left."""

import time
from collections.abc import Callable, Sequence

from pipeline.console.progress import Progress, duration
from tuning.plan import SearchPlan
from tuning.space.search_space import nearest_values
from tuning.trials.results import CONFIRMATION, FAILED, SEARCH, STOPPED, TrialResult

HEADER = f"trial  {'what':<18}{'accuracy':>9}{'best':>9}{'epochs':>8}{'time':>8}{'left':>9}  hyperparameters"


class LiveTable:
    """Shows trials as they end.

    Args:
        plan: of the search.
        known: what trials have found out before this process began.
        seconds: returns what the search has taken so far.
    """

    def __init__(self, plan: SearchPlan, known: Sequence[TrialResult], seconds: Callable[[], float]) -> None:
        self.plan = plan
        self.epochs = plan.config.total_epochs
        self.start = nearest_values(plan.space, plan.config)
        self.best = max((result.measured[0] for result in known if _counts(result)), default=0.0)
        # The start is a finalist more, unless it is one of the best anyway.
        epochs = (plan.max_trials + (plan.finalists + 1) * plan.seeds) * self.epochs
        if plan.budget.max_epochs_total is not None:
            epochs = min(epochs, plan.budget.max_epochs_total)
        self._seconds = seconds
        self._total_seconds = 60 * plan.budget.minutes if plan.budget.minutes is not None else None
        self._counted = {result.trial: self._count(result) for result in known}
        self._before = sum(self._counted.values())
        self._progress = Progress(epochs, "tuning", "epochs", done=self._before)
        if self._total_seconds is not None:
            self._progress = Progress(round(self._total_seconds), "tuning", "s")
        self._begun = time.monotonic()
        self._shown: dict[str, int] = {}
        self._progress.line(HEADER)

    def epoch(self, trial: str, accuracies: Sequence[float]) -> None:
        """Show how far a trial is."""
        self._shown[trial] = self._shown.get(trial, 0) + 1
        note = f"trial {trial} epoch {len(accuracies)}/{self.epochs} {accuracies[-1]:.2%}"
        self._advance(1, note)

    def ended(self, result: TrialResult) -> None:
        """Leave a line for a trial."""
        new = self._count(result) - self._counted.get(result.trial, 0)
        self._advance(max(new - self._shown.pop(result.trial, 0), 0))
        thawed = result.trial in self._counted
        self._counted[result.trial] = self._count(result)
        if _counts(result):
            self.best = max(self.best, result.measured[0])
        self._progress.line(self._row(result, self._seconds_left(), thawed=thawed))

    def _advance(self, epochs: int, note: str = "") -> None:
        if self._total_seconds is not None:
            self._progress.update(int(self._seconds()) - self._progress.done, note)
        else:
            self._progress.update(epochs, note)

    def _seconds_left(self) -> float:
        if self._total_seconds is not None:
            return max(self._total_seconds - self._seconds(), 0.0)
        progress = self._progress
        rate = (time.monotonic() - self._begun) / max(progress.done - self._before, 1)
        return rate * max(progress.total - progress.done, 0)

    def _count(self, result: TrialResult) -> int:
        """Count the epochs that a trial takes of those planned: all, unless the others get what it leaves."""
        frozen = self.plan.freezes and result.purpose == SEARCH
        return result.epochs if frozen or self.plan.budget.is_set else self.epochs

    def _row(self, result: TrialResult, seconds_left: float, *, thawed: bool) -> str:
        what = self._what(result, thawed=thawed)
        if result.status == FAILED:
            return f" {result.trial}  {what:<18}  {result.reason}"
        return (
            f" {result.trial}  {what:<18}{result.accuracy:>9.2%}{self.best:>9.2%}"
            f"{result.epochs:>8}{duration(result.seconds):>8}{duration(seconds_left):>9}"
            f"  {self.describe(result)}"
        )

    def _what(self, result: TrialResult, *, thawed: bool) -> str:
        """Say what became of a trial."""
        if result.purpose == CONFIRMATION:
            return f"seed {result.seed}"
        status = "frozen" if self.plan.freezes and result.status == STOPPED else result.status
        return f"thawed, {status}" if thawed else status

    def describe(self, result: TrialResult) -> str:
        """List in what a trial's hyperparameters differ from what the search began with."""
        different = {name: value for name, value in result.values.items() if value != self.start.get(name)}
        if not different:
            return "the start"
        return ", ".join(
            f"{name} {value:.3g}" if isinstance(value, float) else f"{name} {value}"
            for name, value in different.items()
        )

    def close(self) -> None:
        """Remove the bar."""
        self._progress.close()


def _counts(result: TrialResult) -> bool:
    return result.purpose == SEARCH and result.status != FAILED
