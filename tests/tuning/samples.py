"""Made-up plans and results, for tests of what is done with them."""

from typing import Any

from pipeline.config.presets import preset
from tuning.plan import SearchPlan
from tuning.space.budget import Budget
from tuning.space.limits import Limits
from tuning.space.search_space import Dimension
from tuning.trials.results import COMPLETED, SEARCH, TrialResult

SPACE = (
    Dimension("width", "channels of the first stage", choices=(8, 16, 32)),
    Dimension("dropout", "share of features dropped", 0.0, 0.5),
)
START = {"width": 16, "dropout": 0.0}
"""Where a search over `SPACE` begins: the settings of the digits preset."""


def make_plan(**changes: Any) -> SearchPlan:
    """A plan over `SPACE`: 5 trials of 10 epochs, the best 2 with 3 seeds."""
    plan = {
        "tuner": "random",
        "config": preset("digits").with_values({"epochs": 10}),
        "space": SPACE,
        "limits": Limits(),
        "max_trials": 5,
        "finalists": 2,
        "seeds": 3,
        "stop_weak": True,
        "budget": Budget(),
        "stop_when_flat": False,
    }
    return SearchPlan(**{**plan, **changes})


def make_result(number: int, accuracy: float | None = 0.5, **changes: Any) -> TrialResult:
    """A completed trial of a search, measured on 100 images."""
    fields = {
        "purpose": SEARCH,
        "status": COMPLETED,
        "values": START,
        "seed": 0,
        "cross_entropy": 1.0,
        "images": 100,
        "best_epoch": 10,
        "epochs": 10,
        "seconds": 60.0,
    }
    return TrialResult(f"{number:04d}", accuracy=accuracy, **{**fields, **changes})
