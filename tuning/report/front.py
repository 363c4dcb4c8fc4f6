"""The Pareto front of a search: a configuration for each network that none beats for what it costs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from pipeline.files.whole import write_text
from pipeline.pareto import pareto_front
from tuning.plan import SearchPlan
from tuning.search_directory import SearchDirectory
from tuning.space.search_space import apply
from tuning.trials.confirmation import best_config
from tuning.trials.results import COMPLETED, SEARCH, TrialResult, standard_error

if TYPE_CHECKING:  # What trials found out can be told without TensorFlow, which measuring costs takes.
    from tuning.cost import Cost

CERTAIN = 1.96
"""Standard errors by which two accuracies differ at 95 %."""


def list_front(results: Sequence[TrialResult], costs: Mapping[str, Cost]) -> list[TrialResult]:
    """List the completed trials that none beats at its size or at its latency, the smallest first."""
    trials = [result for result in results if result.purpose == SEARCH and result.status == COMPLETED]
    by_size = pareto_front([(costs[trial.trial].int8_bytes, trial.percent) for trial in trials])
    by_latency = pareto_front([(costs[trial.trial].latency_ms, trial.percent) for trial in trials])
    front = [trials[index] for index in {*by_size, *by_latency}]
    return sorted(front, key=lambda trial: (costs[trial.trial].int8_bytes, trial.trial))


def write_front(plan: SearchPlan, directory: SearchDirectory, front: Sequence[TrialResult]) -> None:
    """Write each trial's settings as `python train.py --config` takes them, and nothing else beside.

    Raises:
        UserError: a file cannot be written.
    """
    directory.front.mkdir(exist_ok=True)
    files = {directory.front / f"{trial.trial}.json": trial for trial in front}
    for path, trial in files.items():
        write_text(path, best_config(plan, trial.values).to_json())
    # Of an earlier end of this search.
    for path in set(directory.front.glob("*.json")) - files.keys():
        path.unlink()


def describe_front(
    plan: SearchPlan, front: Sequence[TrialResult], costs: Mapping[str, Cost], images: int
) -> list[str]:
    """Describe each in a line, and which of them the images cannot tell apart from the one before.

    Two accuracies differ where they are `CERTAIN` standard errors of their difference apart, each
    taken by itself; see `standard_error`.

    Args:
        plan: of the search.
        front: the smallest first.
        costs: trial -> what its network costs.
        images: n, of validation.
    """
    lines = []
    for before, trial in pairwise([None, *front]):
        assert trial is not None
        model, cost = apply(trial.values, plan.config).model, costs[trial.trial]
        size = f", {trial.values['image_size']} pixels" if "image_size" in trial.values else ""
        error = 100 * standard_error(trial.measured[0], images)
        line = (
            f"  {trial.trial}  {trial.percent:6.2f} ± {error:.2f} %  {cost.int8_bytes / 1024:9,.1f} KiB"
            f"  {cost.latency_ms:8.3f} ms  {model.model}, width {model.width}{size}"
        )
        if before and not differ(before, trial, images):
            line += f"  (not told apart from {before.trial})"
        lines.append(line)
    return lines


def differ(one: TrialResult, other: TrialResult, images: int) -> bool:
    """Whether two accuracies are further apart than chance would have them."""
    accuracies = one.measured[0], other.measured[0]
    error = math.hypot(*(standard_error(accuracy, images) for accuracy in accuracies))
    return abs(accuracies[0] - accuracies[1]) > CERTAIN * error
