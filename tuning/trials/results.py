"""What one trial found out, and what it is worth."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files.json_file import read_json, verify_fields, write_json
from tuning.space.search_space import Values

SEARCH, CONFIRMATION = "search", "confirmation"
COMPLETED, STOPPED, FAILED = "completed", "stopped early", "failed"

TYPES = {
    "trial": str,
    "purpose": str,
    "status": str,
    "values": dict,
    "seed": int,
    "epochs": int,
    "seconds": float,
    "accuracies": list,
    "reason": str,
}
"""What `result.json` tells of every trial, and its type."""

MEASURED = {"accuracy": float, "images": int, "best_epoch": int}
"""What it tells of one that did not fail."""


def score_of(accuracy: float, cross_entropy: float, images: int) -> float:
    """Rank by accuracy and, where a small validation split ties, by cross-entropy:

        score = a - h / (1 + h) / (2 n)

    The last term is less than half an image, so that it never outweighs one.

    Args:
        accuracy: a, share of the validation images.
        cross_entropy: h, nats an image, at least 0.
        images: n, of the validation split.
    """
    if math.isinf(cross_entropy):
        return accuracy - 1 / (2 * images)
    return accuracy - cross_entropy / (1 + cross_entropy) / (2 * images)


def standard_error(accuracy: float, images: int) -> float:
    """Return the standard error of an accuracy:

        sqrt(p (1 - p) / n),  p = (a n + 1) / (n + 2)

    with one image more of each kind, lest an accuracy of 1 have none.

    Args:
        accuracy: a, share of the images.
        images: n, at least 1.
    """
    share = (accuracy * images + 1) / (images + 2)
    return math.sqrt(share * (1 - share) / images)


@dataclass(frozen=True)
class TrialResult:
    """One trial: hyperparameters trained once, and measured on validation alone.

    Attributes:
        trial: its name, four digits.
        purpose: `search` or `confirmation`.
        status: `completed`, `stopped early` (as one of the weak) or `failed`.
        values: hyperparameters by name.
        seed: of the training.
        accuracy: on validation, of the best epoch; None where it failed, as all that follow.
        cross_entropy: of that epoch, nats.
        images: validation images.
        best_epoch: which it was, from 1.
        epochs: that this trial trained.
        seconds: that it took.
        accuracies: on validation after each epoch.
        reason: why it failed.
    """

    trial: str
    purpose: str
    status: str
    values: Values
    seed: int
    accuracy: float | None = None
    cross_entropy: float | None = None
    images: int | None = None
    best_epoch: int | None = None
    epochs: int = 0
    seconds: float = 0.0
    accuracies: tuple[float, ...] = ()
    reason: str = ""

    @property
    def measured(self) -> tuple[float, float, int]:
        """Accuracy, cross-entropy and images of one that did not fail."""
        assert self.accuracy is not None
        assert self.cross_entropy is not None
        assert self.images is not None
        return self.accuracy, self.cross_entropy, self.images

    @property
    def percent(self) -> float:
        """Accuracy of one that did not fail, %."""
        assert self.accuracy is not None
        return 100 * self.accuracy

    @property
    def score(self) -> float | None:
        """What it is worth; None where it failed."""
        if self.status == FAILED:
            return None
        return score_of(*self.measured)

    def save(self, path: Path) -> None:
        """Write it as JSON, in whole."""
        content = asdict(self)
        if self.cross_entropy is not None and not math.isfinite(self.cross_entropy):
            # JSON has no word for it, and a trial that did not fail always has one. No number, of logits
            # that overflow in validation alone, is as bad as infinity.
            content["cross_entropy"] = None
        write_json(path, content)


def load_result(path: Path) -> TrialResult:
    """Read what `TrialResult.save` wrote.

    Raises:
        UserError: it is missing or damaged.
    """
    names = tuple(TrialResult.__dataclass_fields__)
    content = read_json(path, names, of="a trial")
    verify_fields(content, TYPES, path, of="a trial")
    if content["status"] != FAILED:
        verify_fields(content, MEASURED, path, of="a trial")
        if content["cross_entropy"] is None:
            content["cross_entropy"] = math.inf
        elif type(content["cross_entropy"]) not in (int, float):
            verify_fields(content, {"cross_entropy": float}, path, of="a trial")
    content["accuracies"] = tuple(content["accuracies"])
    if not all(isinstance(accuracy, int | float) for accuracy in content["accuracies"]):
        raise UserError(f"a trial must have a whole {path.name}; accuracies in {path} must be numbers")
    return TrialResult(**{name: content[name] for name in names})


def load_results(trials: Path) -> list[TrialResult]:
    """Read the results of a search's trials that have ended, in order of trial.

    Args:
        trials: the folder with a run directory for each trial.
    """
    return [load_result(path) for path in sorted(trials.glob("[0-9]*/result.json"))]


def best_first(results: list[TrialResult]) -> list[TrialResult]:
    """Return those that completed, best first; of equals the earlier one."""
    completed = [result for result in results if result.status == COMPLETED]
    return sorted(completed, key=lambda result: (-score_of(*result.measured), result.trial))


def furthest_first(results: list[TrialResult]) -> list[TrialResult]:
    """Return those that stopped early, what trained for longest first; of equals the better one."""
    stopped = [result for result in results if result.status == STOPPED]
    return sorted(stopped, key=lambda r: (-len(r.accuracies), -score_of(*r.measured), r.trial))
