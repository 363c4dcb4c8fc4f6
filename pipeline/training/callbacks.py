"""What happens around the steps of `fit`, one job a callback."""

import csv
import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras

from pipeline.console.progress import Progress, duration
from pipeline.files.whole import write_whole
from pipeline.training.checkpoint import Progression
from pipeline.training.variables import NonFinite, save_variables

LONG_RUN_SECONDS = 3600.0
ESTIMATE_AFTER_STEPS = 10


class StopOnNonFinite(keras.callbacks.Callback):
    """Raise `NonFinite` at the first step or validation whose loss is infinite or not a number.

    The running mean that Keras reports is not finite from the first such loss on. Come before what
    records an epoch.

    Args:
        progression: the run's.
    """

    def __init__(self, progression: Progression) -> None:
        super().__init__()
        self.progression = progression

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the loss."""
        assert logs is not None
        loss = logs["loss"]
        if not math.isfinite(loss):
            raise NonFinite(f"the loss became {loss} at step {self.progression.step + 1:,}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Check the validation, which is the first to see what an epoch's last step has made."""
        assert logs is not None
        loss = logs["val_cross_entropy"]
        if not math.isfinite(loss):
            raise NonFinite(f"the cross-entropy of validation became {loss} in epoch {epoch + 1:,}")


class KeepBest(keras.callbacks.Callback):
    """Save the weights that validate best; stop when they no longer get better.

    Better is a higher accuracy or, where a small validation split ties, a lower cross-entropy.

    Args:
        weights: what to save, the model's or their moving average, by the model's names.
        path: where.
        progression: the run's; its history has this epoch's row already.
        patience: epochs without a better one before stopping; 0 never stops.
    """

    def __init__(
        self, weights: dict[str, keras.Variable], path: Path, progression: Progression, patience: int
    ) -> None:
        super().__init__()
        self.weights, self.path = weights, path
        self.progression, self.patience = progression, patience

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Compare with the best so far."""
        best, row = self.progression.best, self.progression.history[-1]
        if best is None or _validates_better(row, best):
            save_variables(self.path, self.weights)
            self.progression.best_epoch = epoch + 1
        elif self.patience and epoch + 1 - self.progression.best_epoch >= self.patience:
            self.progression.stopped_early = True
            self.model.stop_training = True


def _validates_better(row: dict[str, float], other: dict[str, float]) -> bool:
    accuracies = row["val_accuracy"], other["val_accuracy"]
    if accuracies[0] != accuracies[1]:
        return accuracies[0] > accuracies[1]
    return row["val_cross_entropy"] < other["val_cross_entropy"]


class RecordHistory(keras.callbacks.Callback):
    """Write one row an epoch to history.csv, anew and in whole, so that a resumed run's is whole.

    Args:
        path: the file.
        schedule: step -> learning rate.
        progression: the run's, which holds the rows.
        examples_per_step: the global batch size.
    """

    def __init__(self, path: Path, schedule: Any, progression: Progression, examples_per_step: int) -> None:
        super().__init__()
        self.path, self.schedule, self.progression = path, schedule, progression
        self.examples_per_step = examples_per_step
        self._steps = 0
        self._started = time.monotonic()
        self._training_seconds = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Start the clock."""
        self._started, self._steps = time.monotonic(), 0

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Count the steps this process trained in this epoch."""
        self._steps += 1
        self._training_seconds = time.monotonic() - self._started

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Add the row."""
        assert logs is not None
        rate = self._steps * self.examples_per_step / max(self._training_seconds, 1e-9)
        row = {
            "epoch": epoch + 1,
            "step": self.progression.step,
            "learning_rate": float(self.schedule(self.progression.step - 1)),
            **{name: logs[name] for name in ("loss", "accuracy", "cross_entropy")},
            **{name: logs[name] for name in ("val_accuracy", "val_cross_entropy")},
            "seconds": round(time.monotonic() - self._started, 3),
            "images_per_second": round(rate, 1),
        }
        self.progression.history.append(row)

        def write(aside: Path) -> None:
            with aside.open("w", newline="") as file:
                writer = csv.DictWriter(file, row)
                writer.writeheader()
                writer.writerows(self.progression.history)

        write_whole(self.path, write)


class ShowProgress(keras.callbacks.Callback):
    """Show the run's loss, accuracy, images a second and time left.

    Args:
        progression: the run's.
        epochs: epochs of the whole run.
        total_steps: steps of the whole run.
        examples_per_step: the global batch size.
        shorter: seconds left -> what to say to whom that is too long.
    """

    def __init__(
        self,
        progression: Progression,
        *,
        epochs: int,
        total_steps: int,
        examples_per_step: int,
        shorter: Callable[[float], str],
    ) -> None:
        super().__init__()
        self.progression, self.epochs, self.total_steps = progression, epochs, total_steps
        self.examples_per_step, self.shorter = examples_per_step, shorter
        self._progress: Progress | None = None
        self._steps = 0
        self._training_seconds = 0.0
        self._last_step_at = 0.0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Open the bar once; start the clock again, which stands still in validation."""
        if self._progress is None:
            step = self.progression.step
            self._progress = Progress(self.total_steps, "training", "steps", done=step)
            if step == 0 and self.progression.start:
                accuracy = self.progression.start["val_accuracy"]
                self._progress.line(f"linear head: validation accuracy {accuracy:.4f}")
        self._last_step_at = time.monotonic()

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Advance; after the first steps, estimate how long the run will take."""
        assert self._progress is not None
        assert logs is not None
        self._steps += 1
        now = time.monotonic()
        if self._steps > 1:
            # The first step traces and compiles: it says nothing about the others.
            self._training_seconds += now - self._last_step_at
        self._last_step_at = now
        if self._steps == 1:
            self._progress.update(1)
            return
        step_seconds = max(self._training_seconds / (self._steps - 1), 1e-9)
        rate = self.examples_per_step / step_seconds
        self._progress.update(
            1, f"loss {logs['loss']:.4f}, accuracy {logs['accuracy']:.4f}, {rate:,.0f} images/s"
        )
        if self._steps == ESTIMATE_AFTER_STEPS:
            self._print_estimate(step_seconds, rate)

    def _print_estimate(self, step_seconds: float, rate: float) -> None:
        assert self._progress is not None
        left = (self.total_steps - self.progression.step - 1) * step_seconds
        hint = f"; {self.shorter(left)}" if left > LONG_RUN_SECONDS else ""
        self._progress.line(f"about {duration(left)} of training left at {rate:,.0f} images/s{hint}")

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Leave a line."""
        assert self._progress is not None
        assert logs is not None
        self._progress.line(
            f"epoch {epoch + 1}/{self.epochs}: loss {logs['loss']:.4f}, "
            f"accuracy {logs['accuracy']:.4f}, validation accuracy {logs['val_accuracy']:.4f}"
        )

    def close(self) -> None:
        """Remove the bar."""
        if self._progress is not None:
            self._progress.close()
