"""What a search is asked to do, and what makes it this search and no other.

Standard library only: the command line must answer without importing TensorFlow.
"""

from dataclasses import asdict, dataclass
from typing import Any

from pipeline.config.config import Config
from tuning.space.budget import Budget
from tuning.space.limits import Limits
from tuning.space.search_space import Space

TUNERS = ("bayesian", "random", "grid", "hyperband", "freeze_thaw")

TRIALS = 20
"""Of a search that is not told how many, and what a budget is expected to be good for."""

MAX_TRIALS = 100_000


@dataclass(frozen=True)
class SearchPlan:
    """What is searched, how and for how long.

    Attributes:
        tuner: one of `TUNERS`.
        config: the settings that hyperparameters change; its seed is the search's.
        space: the hyperparameters.
        limits: what a device allows.
        max_trials: trials of the search, confirmation not counted; of freeze_thaw, which freezes and thaws
            them, the epochs that so many whole ones have.
        finalists: configurations that are trained again in the end.
        seeds: that each of them is trained with.
        stop_weak: whether weak trials end early.
        budget: what search and confirmation may take together.
        stop_when_flat: whether the search ends where the next trial is expected to gain too little.
    """

    tuner: str
    config: Config
    space: Space
    limits: Limits
    max_trials: int
    finalists: int
    seeds: int
    stop_weak: bool
    budget: Budget
    stop_when_flat: bool

    @property
    def freezes(self) -> bool:
        """Whether trials are frozen and thawed."""
        return self.tuner == "freeze_thaw"

    @property
    def confirmation_seeds(self) -> range:
        """Seeds of the confirmation: other ones than the search's, which favoured its winners."""
        first = self.config.run.seed + 1
        return range(first, first + self.seeds)

    def identity(self) -> dict[str, Any]:
        """Everything that must stay the same where a search goes on; more of it may be asked."""
        fields = asdict(self)
        for name in ("max_trials", "budget", "stop_when_flat"):
            del fields[name]
        return fields

    def extent(self) -> dict[str, Any]:
        """How far the search goes, which may be raised."""
        return {"max_trials": self.max_trials, "stop_when_flat": self.stop_when_flat, **asdict(self.budget)}
