"""What happens around a step: stops, the best weights, the history and the estimate."""

import csv
import math
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipeline.config.presets import preset
from pipeline.console import progress
from pipeline.training import callbacks
from pipeline.training.callbacks import KeepBest, RecordHistory, ShowProgress, StopOnNonFinite
from pipeline.training.checkpoint import Progression
from pipeline.training.messages import shorter_run
from pipeline.training.variables import NonFinite


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still until a test moves it."""
    clock = SimpleNamespace(now=1000.0)
    for module in (callbacks, progress):
        monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock.now))
    return clock


@pytest.mark.parametrize("loss", [math.nan, math.inf, -math.inf])
def test_a_loss_that_is_not_finite_stops_with_its_step(loss):
    stop = StopOnNonFinite(Progression(step=1233))
    stop.on_train_batch_end(0, {"loss": 1e30})
    with pytest.raises(NonFinite) as error:
        stop.on_train_batch_end(1, {"loss": loss})
    # Step 1,233 counting from 0 is the 1,234th.
    assert str(error.value) == f"the loss became {loss} at step 1,234"


def test_the_first_loss_that_is_not_finite_is_seen_in_fit():
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    progression = Progression()
    count = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: setattr(progression, "step", progression.step + 1)
    )
    x = np.ones((8, 1), np.float32)
    x[4] = np.nan
    with pytest.raises(NonFinite, match=r"the loss became nan at step 5$"):
        model.fit(
            x, x, batch_size=1, shuffle=False, verbose=0, callbacks=[StopOnNonFinite(progression), count]
        )


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_validation_that_is_not_finite_stops_with_its_epoch(loss):
    stop = StopOnNonFinite(Progression(step=20))
    stop.on_epoch_end(0, {"val_cross_entropy": 1e30})
    with pytest.raises(NonFinite) as error:
        stop.on_epoch_end(1, {"val_cross_entropy": loss})
    assert str(error.value) == f"the cross-entropy of validation became {loss} in epoch 2"


# (validation accuracy, validation cross-entropy) of each epoch.
RISING = [(0.1, 3.0), (0.2, 2.0), (0.3, 1.0)]
FALLING = [(0.3, 1.0), (0.2, 0.5), (0.1, 0.4)]
LATE = [(0.3, 1.0), (0.2, 1.0), (0.4, 9.0), (0.3, 1.0), (0.3, 1.0)]


@pytest.mark.parametrize(
    ("epochs", "patience", "best", "ends_after"),
    [
        (RISING, 0, 3, None),
        (RISING, 1, 3, None),
        (FALLING, 0, 1, None),
        (FALLING, 1, 1, 2),
        (FALLING, 2, 1, 3),
        (LATE, 2, 3, 5),
        ([(0.5, 1.0), (0.5, 0.9), (0.5, 0.95)], 2, 2, None),  # a tie: the lower cross-entropy
        ([(0.5, 1.0), (0.5, 1.0)], 1, 1, 2),  # a full tie: the earlier
        ([(0.0, math.nan), (0.1, 2.0)], 0, 2, None),
    ],
)
def test_the_best_epoch_is_kept_and_patience_ends_the_run(tmp_path, epochs, patience, best, ends_after):
    progression, kernel = Progression(), keras.Variable(np.zeros(2, np.float32), name="kernel")
    path = tmp_path / "best.npz"
    keep = KeepBest({"the kernel": kernel}, path, progression, patience)
    keep.set_model(SimpleNamespace(stop_training=False))
    for epoch, (accuracy, cross_entropy) in enumerate(epochs):
        kernel.assign([epoch + 1.0, 0.0])
        row = {"val_accuracy": accuracy, "val_cross_entropy": cross_entropy}
        progression.history.append(row)
        keep.on_epoch_end(epoch)
        stops = epoch + 1 == ends_after
        assert (keep.model.stop_training, progression.stopped_early) == (stops, stops)
        if stops:
            break
    assert progression.best_epoch == best
    assert np.load(path)["the kernel"].tolist() == [best, 0.0]


LOGS = {
    "loss": 1.5,
    "accuracy": 0.25,
    "cross_entropy": 1.25,
    "val_loss": 9.0,
    "val_accuracy": 0.5,
    "val_cross_entropy": 1.125,
}
EARLIER = {
    "epoch": 1,
    "step": 4,
    "learning_rate": 0.3,
    "loss": 2.0,
    "accuracy": 0.1,
    "cross_entropy": 2.0,
    "val_accuracy": 0.2,
    "val_cross_entropy": 1.9,
    "seconds": 1.0,
    "images_per_second": 32.0,
}


def test_history_has_a_row_an_epoch_and_those_from_before_a_resume(tmp_path, clock):
    progression = Progression(step=4, history=[EARLIER])
    path = tmp_path / "history.csv"
    record = RecordHistory(path, lambda step: 0.1 * step, progression, examples_per_step=8)
    record.on_epoch_begin(1)
    for _ in range(4):
        clock.now += 0.5
        record.on_train_batch_end(0, LOGS)
        progression.step += 1
    clock.now += 3.0  # validation: counts as time, not in the rate
    record.on_epoch_end(1, LOGS)
    row = {
        "epoch": 2,
        "step": 8,
        "learning_rate": 0.1 * 7,  # the rate of the last step, from 0
        "loss": 1.5,
        "accuracy": 0.25,
        "cross_entropy": 1.25,
        "val_accuracy": 0.5,
        "val_cross_entropy": 1.125,
        "seconds": 5.0,
        "images_per_second": 16.0,  # 4 x 8 in 2 s
    }
    assert progression.history == [EARLIER, row]
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    expected = [{name: str(value) for name, value in each.items()} for each in (EARLIER, row)]
    assert rows == expected


def show(progression: Progression, total_steps: int) -> ShowProgress:
    return ShowProgress(
        progression,
        epochs=3,
        total_steps=total_steps,
        examples_per_step=32,
        shorter=lambda seconds: f"[{seconds:.0f} s is long]",
    )


@pytest.mark.parametrize(
    ("done", "total", "expected"),
    [
        # Two seconds a step, 32 images each; ten steps more are done when it is said.
        (0, 1810, "about 1 h 00 min of training left at 16 images/s"),
        (0, 1811, "about 1 h 00 min of training left at 16 images/s; [3602 s is long]"),
        (1780, 1810, "about 40 s of training left at 16 images/s"),
    ],
)
def test_the_estimate_leaves_the_first_step_and_validation_out(clock, capsys, done, total, expected):
    progression = Progression(step=done)
    shown = show(progression, total)
    shown.on_epoch_begin(0)
    clock.now += 500.0  # the first step compiles
    for step in range(12):
        if step == 6:
            clock.now += 300.0  # validation, at the end of an epoch of six steps
            shown.on_epoch_begin(1)
        clock.now += 2.0 if step else 0.0
        shown.on_train_batch_end(step, LOGS)
        progression.step += 1
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if line.startswith("about")] == [expected]
    counts = [line for line in lines if line.startswith("training: ")]
    assert counts[0].startswith(f"training: {done + 2:,} of {total:,} steps, ")
    assert counts[0].endswith(" left, loss 1.5000, accuracy 0.2500, 16 images/s")


def test_steps_within_one_tick_of_the_clock(clock):
    shown = show(Progression(), 100)
    shown.on_epoch_begin(0)
    for step in range(2):  # without a division by zero
        shown.on_train_batch_end(step, LOGS)
    assert shown._progress.done == 2
    shown.close()


def test_each_epoch_leaves_a_line(clock, capsys):
    shown = show(Progression(), 10)
    shown.close()  # before anything was shown
    shown.on_epoch_begin(0)
    shown.on_epoch_end(1, LOGS)
    shown.close()
    expected = "epoch 2/3: loss 1.5000, accuracy 0.2500, validation accuracy 0.5000\n"
    assert capsys.readouterr().out == expected


@pytest.mark.parametrize(
    ("name", "values", "seconds", "epochs", "smaller"),
    [
        # 90 epochs in 10 h: nine tenths of an hour hold 90 x 0.9 / 10 = 8.1; width 64 is 4 x 16.
        ("imagenet", {}, 36_000, 8, "; smaller: --width 16 needs about 1/16 of the multiply-adds"),
        ("imagenet", {"width": 32}, 36_000, 8, "; smaller: --width 16 needs about 1/4 of the multiply-adds"),
        ("imagenet", {"width": 16}, 36_000, 8, ""),
        ("imagenet", {"width": 16}, 90 * 3241, 0, ""),  # nine tenths of an hour are 3,240 s
        ("imagenet", {"width": 16}, 90 * 3240, 1, ""),
        ("cifar10", {}, 7_200, 13, "; smaller: the presets cifar10_10min and cifar10_1h (width 16)"),
        ("cifar10_small", {}, 7_200, 4, ""),
    ],
)
def test_a_shorter_run(name, values, seconds, epochs, smaller):
    first = f"--epochs {epochs} would fit in an hour" if epochs else "not even one epoch fits"
    received = shorter_run(preset(name).with_values(values), seconds)
    assert received.startswith(first)
    assert received.endswith(f" in an hour{smaller}")
