"""Checkpoints: bit for bit, surviving damage, written on time and on a signal."""

import os
import signal
import zipfile
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from pipeline.config.config import Config
from pipeline.errors import UserError
from pipeline.run_directory import RunDirectory
from pipeline.training import checkpoint
from pipeline.training.checkpoint import (
    Checkpoints,
    Interrupted,
    NonFinite,
    Progression,
    RestoreEpochMetrics,
    SaveCheckpoints,
    load_variables,
    name_variables,
    save_variables,
)
from pipeline.training.networks import compile_for_training
from pipeline.training.optimization import WarmupSchedule


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
    progression = Progression(
        step=4, history=[{"epoch": 1, "loss": 0.1 + 0.2}], best_epoch=1, stopped_early=True
    )
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
        monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=lambda: self.now))
        note = SimpleNamespace(save=lambda progression: self.saves.append(progression.step))
        limits = {"every_seconds": 1e9, "every_steps": 0, **settings}
        self.callback = SaveCheckpoints(note, self.progression, steps_per_epoch=10, **limits)

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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
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


def test_a_second_signal_stops_at_once_and_the_handlers_come_back(monkeypatch):
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.getsignal(number) for number in numbers]
    saver = Saver(monkeypatch)
    with saver.callback.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert saver.saves == []
    assert [signal.getsignal(number) for number in numbers] == before


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
