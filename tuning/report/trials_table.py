"""trials.csv: every trial of a search in one table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.files.csv_file import write_csv
from tuning.space.search_space import Space
from tuning.trials.results import TrialResult

if TYPE_CHECKING:  # The table can be written without TensorFlow, which measuring costs takes.
    from tuning.cost import Cost

RESULT_COLUMNS = (
    "trial",
    "purpose",
    "status",
    "accuracy",
    "cross_entropy",
    "best_epoch",
    "epochs",
    "seconds",
)
COST_COLUMNS = ("parameters", "multiply_adds", "int8_bytes", "latency_ms", "arena_kib")


def write_trials(path: Path, results: Sequence[TrialResult], costs: Mapping[str, Cost], space: Space) -> None:
    """Write one row a trial, in order of their names, in whole.

    A cell is empty where there is nothing to say: a hyperparameter that does not matter beside
    the others, the accuracy of a failed trial, the cost of a network that was not measured.

    Args:
        path: where to.
        results: of search and confirmation.
        costs: trial -> what its network costs.
        space: one column a dimension.

    Raises:
        UserError: the file cannot be written.
    """
    names = [dimension.name for dimension in space]
    header = [*RESULT_COLUMNS, *COST_COLUMNS, "seed", *names, "reason"]
    rows = [
        [
            *(getattr(result, column) for column in RESULT_COLUMNS),
            *(getattr(costs.get(result.trial), column, None) for column in COST_COLUMNS),
            result.seed,
            *(result.values.get(name) for name in names),
            result.reason,
        ]
        for result in sorted(results, key=lambda result: result.trial)
    ]
    write_csv(path, [header, *rows])
