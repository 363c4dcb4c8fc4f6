"""Checkpoints: bit for bit, surviving damage, written on time and on a signal."""

import errno
import io
import json
import os
import signal
import sys
import threading
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.config import Config
from pipeline.errors import UserError
from pipeline.files.regular import open_regular
from pipeline.hosts.hosts import Hosts
from pipeline.run_directory import RunDirectory
from pipeline.training import checkpoint_callbacks
from pipeline.training import variables as variables_module
from pipeline.training.checkpoint import ROW, Checkpoints, Progression
from pipeline.training.checkpoint_callbacks import Interrupted, RestoreEpochMetrics, SaveCheckpoints
from pipeline.training.devices import build_strategy
from pipeline.training.networks import compile_for_training
from pipeline.training.optimization import WarmupSchedule
from pipeline.training.variables import Damaged, NonFinite, load_variables, name_variables, save_variables


@pytest.fixture
def directory(tmp_path) -> RunDirectory:
    directory = RunDirectory(tmp_path)
    directory.checkpoints.mkdir()
    return directory


def build_model() -> tuple[keras.Model, list[keras.metrics.Metric]]:
    """A compiled model with all that a network may have, and its running means."""
    keras.utils.clear_session()  # A new process counts the names of variables from the start.
    model = keras.Sequential(
        [
            keras.layers.Input((4,), name="input"),
            keras.layers.Dense(8, name="dense"),
            keras.layers.BatchNormalization(name="norm"),
            keras.layers.Dropout(0.5, seed=123_456_789, name="dropout"),
            keras.layers.Dense(2, name="logits"),
        ],
        name="model",
    )
    config = Config().with_values({"optimizer": "adam"})
    means = compile_for_training(model, config, WarmupSchedule("constant", 0.01, 10), None)
    return model, means


def everything(model: keras.Model) -> list[keras.Variable]:
    return [*model.variables, *model.optimizer.variables]


def row(epoch: int, step: int, **figures: float) -> dict[str, float]:
    """A row of a history."""
    return {**dict.fromkeys(ROW, 0.5), "epoch": epoch, "step": step, **figures}


def fit(model: keras.Model) -> None:
    generator = np.random.default_rng(0)
    x = generator.normal(size=(8, 4)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[generator.integers(0, 2, 8)]
    model.fit(x, y, batch_size=4, epochs=2, shuffle=False, verbose=0)


def bits(variables: list[keras.Variable]) -> list[bytes]:
    return [variable.numpy().tobytes() for variable in variables]


def test_state_comes_back_bit_for_bit_and_training_goes_on_the_same(directory):
    keras.utils.set_random_seed(0)
    model, _ = build_model()
    fit(model)
    paths = " ".join(variable.path for variable in everything(model))
    assert all(word in paths for word in ("momentum", "velocity", "iteration", "seed_generator"))
    progression = Progression(step=4, history=[row(1, 2, loss=0.1 + 0.2)], best_epoch=1, stopped_early=True)
    save_variables(directory.best_weights, {})
    checkpoints = Checkpoints(directory, everything(model))
    checkpoints.save(progression)
    saved = bits(everything(model))
    fit(model)
    later = bits(everything(model))
    assert sum(a != b for a, b in zip(saved, later, strict=True)) > 10

    other, _ = build_model()  # other initial weights
    restored = Checkpoints(directory, everything(other)).restore()
    assert restored == progression
    assert bits(everything(other)) == saved
    # The optimizer and Dropout's generator go on from where they were.
    fit(other)
    for received, expected in zip(everything(other), everything(model), strict=True):
        # Two sums in threads of their own order: float32 rounds at 6e-8, over four steps.
        np.testing.assert_allclose(received.numpy(), expected.numpy(), rtol=1e-5, atol=1e-6)


def test_no_checkpoint_is_a_fresh_start(directory):
    assert Checkpoints(directory, []).restore() == Progression(0, [], 0, False)


def simple(value: float = 0.0) -> list[keras.Variable]:
    return [
        keras.Variable(np.full((2, 3), value, np.float32), name="kernel"),
        keras.Variable(int(value), dtype="int64", name="count"),
    ]


def save_steps(directory: RunDirectory, steps: list[int]) -> Checkpoints:
    """Save a state at each of the steps, whose values are the step."""
    variables = simple()
    checkpoints = Checkpoints(directory, variables)
    for step in steps:
        variables[0].assign(np.full((2, 3), step))
        variables[1].assign(step)
        checkpoints.save(Progression(step=step))
    return checkpoints


def test_only_the_newest_two_are_kept(directory):
    checkpoints = save_steps(directory, [9, 10, 1_000, 20_000])
    assert [path.name for path in checkpoints.saved()] == ["step_000001000.npz", "step_000020000.npz"]
    assert len(list(directory.checkpoints.iterdir())) == 2


def test_what_is_trained_meanwhile_is_not_in_the_state_that_is_written(directory, monkeypatch):
    checkpoints, savez, trained = Checkpoints(directory, simple(10)), np.savez, threading.Event()
    read, readers = keras.Variable.numpy, []

    def read_noted(variable):
        readers.append(threading.current_thread())
        return read(variable)

    def savez_late(file, **arrays: np.ndarray):
        assert trained.wait(60)
        savez(file, **arrays)

    monkeypatch.setattr(np, "savez", savez_late)
    monkeypatch.setattr(keras.Variable, "numpy", read_noted)
    progression = Progression(step=10)
    checkpoints.begin_to_save(progression)
    progression.step = 11
    for variable in checkpoints.variables.values():
        variable.assign(variable + 1)
    checkpoints.check()
    assert checkpoints.saved() == []
    trained.set()
    checkpoints.wait()
    assert set(readers) == {threading.main_thread()}  # in the other, steps might be mixed
    mine = Checkpoints(directory, simple())
    assert mine.restore() == Progression(step=10)
    kernel, count = mine.variables.values()
    assert (kernel.numpy().tolist(), int(count.numpy())) == ([[10.0] * 3] * 2, 10)


def test_a_state_that_cannot_be_written_ends_the_training(directory):
    checkpoints = Checkpoints(directory, simple())
    saver = SaveCheckpoints(
        checkpoints, Progression(), steps_per_epoch=10**9, every_seconds=1e9, every_steps=3, hosts=Hosts()
    )
    (directory.checkpoints / ".aside-step_000000003.npz").mkdir()
    for step in range(3):
        saver.on_train_batch_end(step)
    saver.every_steps = 0  # What raises is not the next state, which may be minutes away.

    def train_on() -> None:
        until = time.monotonic() + 60
        while time.monotonic() < until:
            saver.on_train_batch_end(0)

    with pytest.raises(UserError, match=r"step_000000003\.npz must be writable"):
        train_on()
    checkpoints.wait()  # told once


def compression_method(data: bytes) -> bytes:
    """Change the compression method that the zip's directory gives its last file."""
    place = data.rindex(b"PK\1\2") + 10
    return data[:place] + b"\x63" + data[place + 1 :]


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],
        lambda data: data[:-1],
        lambda data: b"",
        lambda data: b"not an archive at all",
        lambda data: data.replace(np.full(3, 30, "<f4").tobytes(), b"\0" * 12),
        compression_method,
    ],
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(directory, capsys, damage):
    checkpoints = save_steps(directory, [10, 30])
    newest = checkpoints.saved()[-1]
    data = newest.read_bytes()
    newest.write_bytes(damage(data))
    assert newest.read_bytes() != data
    assert checkpoints.restore() == Progression(step=10)
    kernel, count = checkpoints.variables.values()
    assert (kernel.numpy().tolist(), int(count.numpy())) == ([[10.0] * 3] * 2, 10)
    out = capsys.readouterr().out
    assert out.startswith(f"checkpoint {newest} cannot be read (")
    assert out.count("\n") == 1


def rewritten(path: Path, change: Callable[[dict[str, np.ndarray]], object], **how: bool) -> None:
    """Write an .npz file again with other arrays; its checksums hold."""
    with np.load(path) as file:
        arrays = dict(file)
    change(arrays)
    (np.savez_compressed if how.get("compressed") else np.savez)(path, **arrays)


def progression_text(**changes: object) -> np.ndarray:
    text = json.dumps({**asdict(Progression(step=30)), **changes})
    return np.frombuffer(text.encode(), np.uint8)


def put(name: str, array: object) -> Callable[[dict[str, np.ndarray]], None]:
    return lambda arrays: arrays.update({name: np.asarray(array)})


def kernel_with(value: float) -> np.ndarray:
    kernel = np.full((2, 3), 30, np.float32)
    kernel[1, 1] = value
    return kernel


LIES = {
    "NaN": put("0000 kernel", kernel_with(np.nan)),
    "infinity": put("0000 kernel", kernel_with(np.inf)),
    "float64": put("0000 kernel", np.zeros((2, 3))),
    "text": put("0000 kernel", np.full((2, 3), "a")),
    "a float as count": put("0001 count", np.float32(1)),
    "no progression": lambda arrays: arrays.pop("progression"),
    "progression of floats": put("progression", np.zeros(3)),
    "progression no JSON": put("progression", np.zeros(3, np.uint8)),
    "progression nested": put("progression", np.frombuffer(b"[" * 100_000, np.uint8)),
    "progression a list": put("progression", np.frombuffer(b"[1]", np.uint8)),
    "another field": put("progression", progression_text(more=1)),
    "another step": put("progression", progression_text(step=29)),
    "step a text": put("progression", progression_text(step="30")),
    "step true": put("progression", progression_text(step=True)),
    "history a text": put("progression", progression_text(history="none")),
    "rows of nothing": put("progression", progression_text(history=[{}], best_epoch=1)),
    "rows that are none": put("progression", progression_text(history=[1], best_epoch=1)),
    "a row of text": put("progression", progression_text(history=[row(1, 10, loss="low")], best_epoch=1)),
    "a row of later": put("progression", progression_text(history=[row(1, 31)], best_epoch=1)),
    "a row twice": put("progression", progression_text(history=[row(1, 10)] * 2, best_epoch=1)),
    "best of none": put("progression", progression_text(best_epoch=1)),
    "best below 0": put("progression", progression_text(best_epoch=-1)),
    "stopped a number": put("progression", progression_text(stopped_early=1)),
}


@pytest.mark.parametrize("lie", LIES)
def test_a_checkpoint_that_no_run_saves_gives_way_to_the_one_before(directory, capsys, lie):
    checkpoints = save_steps(directory, [10, 30])
    newest = checkpoints.saved()[-1]
    rewritten(newest, LIES[lie])
    assert checkpoints.restore() == Progression(step=10)
    kernel, count = checkpoints.variables.values()
    assert (kernel.numpy().tolist(), int(count.numpy())) == ([[10.0] * 3] * 2, 10)
    out = capsys.readouterr().out
    assert out.startswith(f"checkpoint {newest} cannot be read (")
    assert out.endswith("); going back to the one before\n")
    assert out.count("\n") == 1


def test_a_lying_header_asks_for_no_memory(directory):
    checkpoints = save_steps(directory, [10, 30])
    newest = checkpoints.saved()[-1]
    with zipfile.ZipFile(newest) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    kernel = entries["0000 kernel.npy"]
    longer = kernel.replace(b"(2, 3)", b"(99999999999, 99999)".ljust(6))
    # The header keeps its length: spaces make way.
    longer = longer.replace(b" " * (len(longer) - len(kernel)), b"", 1)
    assert len(longer) == len(kernel)
    assert longer != kernel
    with zipfile.ZipFile(newest, "w") as archive:
        for name, content in {**entries, "0000 kernel.npy": longer}.items():
            archive.writestr(name, content)
    assert checkpoints.restore() == Progression(step=10)


def test_a_checkpoint_that_unfolds_is_refused(directory):
    checkpoints = save_steps(directory, [10, 30])
    rewritten(checkpoints.saved()[-1], put("beside", np.zeros(10**6)), compressed=True)
    assert checkpoints.restore() == Progression(step=10)


def test_a_fifo_in_the_place_of_a_checkpoint_is_not_waited_for(directory):
    checkpoints = save_steps(directory, [10])
    os.mkfifo(directory.checkpoints / "step_000000030.npz")
    (directory.checkpoints / "step_of_mine.npz").write_text("a note")
    assert checkpoints.restore() == Progression(step=10)
    assert (directory.checkpoints / "step_of_mine.npz").exists()


def test_damaged_states_of_one_name_are_all_kept(directory):
    checkpoints = save_steps(directory, [10, 30])
    newest = checkpoints.saved()[-1]
    (newest.parent / f"damaged_{newest.name}").mkdir()
    newest.write_bytes(b"no archive")
    assert checkpoints.restore() == Progression(step=10)
    assert (newest.parent / f"damaged_{newest.name}.1").read_bytes() == b"no archive"


def test_nothing_of_a_damaged_state_remains_where_none_is_whole(directory, capsys):
    checkpoints = save_steps(directory, [10, 30])
    for path in checkpoints.saved():
        rewritten(path, LIES["no progression"])
    mine = Checkpoints(directory, simple(7))
    assert mine.restore() == Progression()
    assert mine.variables["0000 kernel"].numpy().tolist() == [[7.0] * 3] * 2
    assert capsys.readouterr().out.count("; starting from the beginning\n") == 2


def test_a_state_of_another_model_gives_way_to_a_whole_one(directory):
    checkpoints = save_steps(directory, [10, 30])
    rewritten(checkpoints.saved()[-1], put("0000 kernel", np.zeros((3, 2), np.float32)))
    assert checkpoints.restore() == Progression(step=10)
    assert [path.name for path in checkpoints.saved()] == ["step_000000010.npz"]


BEST_LOST = {
    "missing": lambda path: path.unlink(),
    "cut short": lambda path: path.write_bytes(path.read_bytes()[:-30]),
    "NaN": lambda path: rewritten(path, put("0000 kernel", kernel_with(np.nan))),
    "a FIFO": lambda path: (path.unlink(), os.mkfifo(path)),
}


def save_epochs(directory: RunDirectory) -> Checkpoints:
    """Save the end of epoch 1, the best so far, and a state in the middle of epoch 2."""
    variables = simple(10)
    checkpoints = Checkpoints(directory, variables, best=name_variables(variables[:1]))
    progression = Progression(step=10, history=[row(1, 10)], best_epoch=1)
    save_variables(directory.best_weights, checkpoints.best)
    checkpoints.save(progression)
    variables[0].assign(np.full((2, 3), 14))
    checkpoints.save(replace(progression, step=14))
    return checkpoints


@pytest.mark.parametrize("lost", BEST_LOST)
def test_without_the_best_weights_a_run_goes_back_to_where_it_has_them(directory, capsys, lost):
    checkpoints = save_epochs(directory)
    BEST_LOST[lost](directory.best_weights)
    assert checkpoints.restore().step == 10
    assert f"(its best weights, in {directory.best_weights}: " in capsys.readouterr().out
    with np.load(directory.best_weights) as file:
        assert file["0000 kernel"].tolist() == [[10.0] * 3] * 2


def test_with_the_best_weights_a_run_goes_on_where_it_was(directory, capsys):
    assert save_epochs(directory).restore().step == 14
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("lost", BEST_LOST)
def test_best_weights_that_are_not_whole_are_not_loaded(directory, lost):
    checkpoints = save_epochs(directory)
    BEST_LOST[lost](directory.best_weights)
    with pytest.raises(Damaged):
        load_variables(directory.best_weights, checkpoints.best)
    assert checkpoints.best["0000 kernel"].numpy().tolist() == [[14.0] * 3] * 2


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES])
@pytest.mark.parametrize("name", ["step_000000014.npz", "best.npz"])
def test_a_file_that_the_machine_does_not_read_now_is_left_for_another_time(
    directory, monkeypatch, capsys, number, name
):
    checkpoints = save_epochs(directory)

    def open_with_a_fault(path: Path):
        if path.name == name:
            raise OSError(number, os.strerror(number), str(path))
        return open_regular(path)

    with monkeypatch.context() as fault:
        fault.setattr(variables_module, "open_regular", open_with_a_fault)
        with pytest.raises(UserError, match=rf"{name}: {os.strerror(number)}$"):
            checkpoints.restore()
    assert capsys.readouterr().out == ""
    assert checkpoints.restore().step == 14


def test_what_is_saved_after_two_damaged_ones_is_kept(directory):
    checkpoints = save_steps(directory, [20, 30])
    for path in checkpoints.saved():
        path.write_bytes(b"")
    assert checkpoints.restore() == Progression()
    assert checkpoints.save(Progression(step=5)).exists()


def renamed() -> list[keras.Variable]:
    kernel, count = simple()
    return [keras.Variable(kernel.numpy(), name="other"), count]


def reshaped() -> list[keras.Variable]:
    return [keras.Variable(np.zeros((3, 2), np.float32), name="kernel"), simple()[1]]


@pytest.mark.parametrize(
    ("variables", "message"),
    [
        (renamed, r"has nothing for 0000 other, which needs \(2, 3\)"),
        (reshaped, r"has \(2, 3\) for 0000 kernel, which needs \(3, 2\)"),
        (lambda: [*simple(), keras.Variable(0.0, name="more")], "has nothing for 0002 more"),
    ],
)
def test_a_checkpoint_of_another_model_is_refused_and_changes_nothing(directory, variables, message):
    save_steps(directory, [10])
    mine = variables()
    before = bits(mine)
    with pytest.raises(UserError, match=f"must come from the same model; .*step_.*{message}"):
        Checkpoints(directory, mine).restore()
    assert bits(mine) == before


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_not_saved(directory, value):
    checkpoints = save_steps(directory, [10, 20])
    checkpoints.variables["0000 kernel"].assign([[0, 0, 0], [0, value, 0]])
    with pytest.raises(NonFinite, match=r"^variable 0000 kernel is no longer finite$"):
        checkpoints.save(Progression(step=30))
    assert [path.name for path in directory.checkpoints.iterdir() if "30" in path.name] == []
    assert len(checkpoints.saved()) == 2


def test_names_are_unique_and_arrays_beside_the_variables_come_back(tmp_path):
    pair = [keras.Variable([1.0], name="w"), keras.Variable([2.0], name="w")]
    assert list(name_variables(pair)) == ["0000 w", "0001 w"]
    path = tmp_path / "weights.npz"
    save_variables(path, name_variables(pair), beside=np.arange(3))
    with zipfile.ZipFile(path) as archive:
        assert archive.testzip() is None
    pair[1].assign([5.0])
    rest = load_variables(path, name_variables(pair))
    assert [variable.numpy().tolist() for variable in pair] == [[1.0], [2.0]]
    assert {name: array.tolist() for name, array in rest.items()} == {"beside": [0, 1, 2]}


class Saver:
    """A `SaveCheckpoints` over noted saves, at a clock of its own."""

    def __init__(self, monkeypatch, **settings: float) -> None:
        self.now, self.saves, self.progression = 0.0, [], Progression(settings.pop("step", 0))
        monkeypatch.setattr(checkpoint_callbacks, "time", SimpleNamespace(monotonic=lambda: self.now))
        note = SimpleNamespace(
            begin_to_save=lambda progression: self.saves.append(progression.step),
            check=lambda: None,
            wait=lambda: None,
        )
        limits = {"every_seconds": 1e9, "every_steps": 0, **settings}
        self.callback = SaveCheckpoints(note, self.progression, steps_per_epoch=10, hosts=Hosts(), **limits)

    def run(self, steps: int) -> list[int]:
        """Train so many steps of a second each; return the steps that were saved."""
        for _ in range(steps):
            self.now += 1
            self.callback.on_train_batch_end(0)
            if self.progression.step % 10 == 0:
                self.callback.on_epoch_end(self.progression.step // 10 - 1)
        return self.saves


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({}, [10, 20]),
        ({"every_steps": 4}, [4, 8, 10, 14, 18, 20]),
        ({"every_seconds": 6.0}, [6, 10, 16, 20]),
        ({"every_seconds": 6.0, "every_steps": 4}, [4, 8, 10, 14, 18, 20]),
        ({"every_steps": 5}, [5, 10, 15, 20]),  # step 10 once, with the epoch's end
        ({"every_steps": 4, "step": 2}, [6, 10, 14, 18, 20]),
    ],
)
def test_when_a_state_is_saved(monkeypatch, settings, expected):
    saver = Saver(monkeypatch, **settings)
    assert saver.run(20) == expected
    assert saver.progression.step == settings.get("step", 0) + 20


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize(("before", "saved_at"), [(3, 4), (9, 10)])  # the last step: with its epoch
def test_a_signal_saves_and_stops(monkeypatch, capsys, number, before, saved_at):
    saver = Saver(monkeypatch)
    with saver.callback.listening():
        saver.run(before)
        os.kill(os.getpid(), number)
        assert saver.saves == []
        assert "once more to stop at once" in capsys.readouterr().out
        with pytest.raises(Interrupted):
            saver.run(1)
    assert saver.saves == [saved_at]


def test_a_signal_while_a_line_is_being_written_saves_and_stops(monkeypatch):
    class Slow(io.RawIOBase):
        """A pipe that is full, until a signal has come."""

        def writable(self) -> bool:
            return True

        def write(self, content) -> int:
            if saver.callback.signal is None:
                signal.raise_signal(signal.SIGTERM)
            return len(content)

    saver = Saver(monkeypatch)
    with saver.callback.listening():
        with monkeypatch.context() as patched:
            patched.setattr(sys, "stdout", io.TextIOWrapper(io.BufferedWriter(Slow())))
            print("a line of progress", flush=True)
        with pytest.raises(Interrupted):
            saver.run(1)
    assert saver.saves == [1]


def test_a_second_signal_stops_at_once_and_the_handlers_come_back(monkeypatch):
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    saver = Saver(monkeypatch)
    with saver.callback.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert saver.saves == []
    assert [signal.getsignal(number) for number in numbers] == before


def test_a_terminal_that_closes_and_hangs_up_twice_does_not_stop_at_once(monkeypatch):
    saver = Saver(monkeypatch)
    with saver.callback.listening():
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGHUP)
        with pytest.raises(Interrupted):
            saver.run(1)
    assert saver.saves == [1]


def test_the_metrics_of_half_an_epoch_come_back_once():
    metric = keras.metrics.Mean()
    metric.update_state([1.0, 2.0, 6.0])
    restore = RestoreEpochMetrics([metric])
    metric.reset_state()
    restore.on_epoch_begin(0)
    metric.update_state(11.0)
    assert float(metric.result()) == 5.0  # (1 + 2 + 6 + 11) / 4
    metric.reset_state()
    restore.on_epoch_begin(1)
    metric.update_state(7.0)
    assert float(metric.result()) == 7.0


def test_the_running_means_can_be_saved_before_the_first_batch():
    model, means = build_model()
    at_first = [variable for metric in means for variable in metric.variables]
    fit(model)
    in_use = [variable for metric in model.metrics for variable in metric.variables]
    assert len(in_use) == 6  # sum and weight of loss, accuracy and cross-entropy
    assert {id(variable) for variable in in_use} == {id(variable) for variable in at_first}


def test_each_replica_gets_its_own_part_of_a_sum_back(directory):
    """Half of the whole for each would round what is added later in another way."""
    strategy = build_strategy("cpu:2")
    with strategy.scope():
        metric = keras.metrics.Mean()

    @tf.function
    def update() -> None:
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        metric.update_state(tf.where(replica == 0, 0.1, 0.7))

    strategy.run(update)
    saved = Checkpoints(directory, metric.variables, sums=metric.variables)
    saved.save(Progression(step=1))
    metric.reset_state()
    assert saved.restore().step == 1
    total = metric.variables[0].value
    parts = [part.numpy() for part in strategy.experimental_local_results(total)]
    np.testing.assert_array_equal(parts, np.float32([0.1, 0.7]))
