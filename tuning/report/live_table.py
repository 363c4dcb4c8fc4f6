"""The table of trials while they run: a line for each that has ended, and the time left."""

import time
from collections.abc import Sequence

from pipeline.console.progress import Progress, duration
from tuning.plan import SearchPlan
from tuning.space.search_space import nearest_values
from tuning.trials.results import CONFIRMATION, FAILED, SEARCH, TrialResult

HEADER = f"trial  {'what':<14}{'accuracy':>9}{'best':>9}{'epochs':>8}{'time':>8}{'left':>9}  hyperparameters"


class LiveTable:
    """Shows trials as they end.

    Args:
        plan: of the search.
        known: what trials have found out before this process began.
    """

    def __init__(self, plan: SearchPlan, known: Sequence[TrialResult]) -> None:
        self.plan = plan
        self.epochs = plan.config.total_epochs
        self.start = nearest_values(plan.space, plan.config)
        self.best = max((result.measured[0] for result in known if _counts(result)), default=0.0)
        # The start is a finalist more, unless it is one of the best anyway.
        trials = plan.max_trials + (plan.finalists + 1) * plan.seeds
        self._counted = {result.trial: self._count(result) for result in known}
        self._before = sum(self._counted.values())
        self._progress = Progress(trials * self.epochs, "tuning", "epochs", done=self._before)
        self._begun = time.monotonic()
        self._shown: dict[str, int] = {}
        self._progress.line(HEADER)

    def epoch(self, trial: str, accuracies: Sequence[float]) -> None:
        """Show how far a trial is."""
        self._shown[trial] = self._shown.get(trial, 0) + 1
        note = f"trial {trial} epoch {len(accuracies)}/{self.epochs} {accuracies[-1]:.2%}"
        self._progress.update(1, note)

    def ended(self, result: TrialResult) -> None:
        """Leave a line for a trial."""
        new = self._count(result) - self._counted.get(result.trial, 0)
        self._progress.update(max(new - self._shown.pop(result.trial, 0), 0))
        self._counted[result.trial] = self._count(result)
        if _counts(result):
            self.best = max(self.best, result.measured[0])
        progress = self._progress
        rate = (time.monotonic() - self._begun) / max(progress.done - self._before, 1)
        progress.line(self._row(result, rate * max(progress.total - progress.done, 0)))

    def _count(self, result: TrialResult) -> int:
        """Count the epochs that a trial takes of those planned: all, unless it is frozen and thawed."""
        frozen = self.plan.freezes and result.purpose == SEARCH
        return result.epochs if frozen else self.epochs

    def _row(self, result: TrialResult, seconds_left: float) -> str:
        what = f"seed {result.seed}" if result.purpose == CONFIRMATION else result.status
        if result.status == FAILED:
            return f" {result.trial}  {what:<14}  {result.reason}"
        return (
            f" {result.trial}  {what:<14}{result.accuracy:>9.2%}{self.best:>9.2%}"
            f"{result.epochs:>8}{duration(result.seconds):>8}{duration(seconds_left):>9}"
            f"  {self.describe(result)}"
        )

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
