"""Training for int8: its loss, what moves until when, and that it may end at any step and go on."""

import errno
import os
import signal
from itertools import pairwise
from pathlib import Path

import keras
import numpy as np
import pytest
from scipy.special import log_softmax, softmax

from export.convert.converter import Range, quantize_to_int8
from export.finetune import training
from export.finetune.training import Training, train_for_int8
from export.quantize.ranges import Calibrator
from export.quantize.strategies import Trained
from export.verify.accuracy import KerasAnswers, Split, answer_with_keras
from pipeline.console.progress import Progress
from pipeline.data.batches import load_images
from pipeline.errors import UserError
from pipeline.files.regular import open_regular
from pipeline.finished_run import FinishedRun, load_finished_run
from pipeline.run_directory import RunDirectory
from pipeline.tflite.file import TFLiteFile
from pipeline.training import variables as variables_module
from pipeline.training.optimization import SoftmaxCrossEntropy
from pipeline.training.variables import NonFinite
from tests.export.finetune.samples import IMAGES


@pytest.fixture(scope="module")
def run(digits_run) -> FinishedRun:
    return load_finished_run(RunDirectory(digits_run))


@pytest.fixture(scope="module")
def validation(run) -> KerasAnswers:
    return answer_with_keras(run.network, Split(run.data.examples("validation")))


@pytest.fixture(scope="module")
def small(converter_of) -> TFLiteFile:
    """For the digits, but no more than a convolution and a head: what matters is when it stops."""
    pixels = keras.Input((8, 8, 3), name="pixels")
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(pixels)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    return converter_of(keras.Model(pixels, keras.layers.Dense(10, name="head")(x))).float32()


@pytest.fixture(scope="module")
def train(run, validation, small):
    images = load_images(run.data.examples("calibration"))

    def train(state: Path, *, epochs: int = 2, network: TFLiteFile = small) -> Trained:
        ranges = Calibrator(network, images).full
        return train_for_int8(network, ranges, run=run, epochs=epochs, validation=validation, state=state)

    return train


@pytest.fixture(scope="module")
def trained(train, tmp_path_factory) -> Trained:
    """What two epochs made of the small network that nothing interrupted."""
    return train(tmp_path_factory.mktemp("trained") / "state.npz")


def test_it_learns_from_labels_and_from_the_float_network(every_operation, observed):
    """Cross-entropies, by SciPy, of what the simulation answers before the step."""
    images, labels = IMAGES[:20], np.eye(5, dtype=np.float32)[np.arange(20) % 5]
    learning = Training(every_operation, observed, SoftmaxCrossEntropy(0.2), total_steps=4)
    answers = log_softmax(learning.predict(images), axis=-1)
    smoothed, floats = 0.8 * labels + 0.2 / 5, softmax(learning.float_logits(images).numpy(), axis=-1)
    expected = [np.mean(-np.sum(targets * answers, axis=-1)) for targets in (smoothed, floats)]
    losses = [float(learning.take_step(images, labels)) for _ in range(2)]
    # Sums of a dozen terms in float32.
    assert losses[0] == pytest.approx(np.mean(expected), rel=1e-5)
    assert losses[1] < losses[0]
    assert learning.step == 2


def test_labels_are_compared_with_the_logits_that_the_run_was_trained_with(every_operation, observed):
    """Where the file's are divided by a temperature, so that the float network's are not sharpened again."""
    images, labels = IMAGES[:20], np.eye(5, dtype=np.float32)[np.arange(20) % 5]
    learning = Training(every_operation, observed, SoftmaxCrossEntropy(), total_steps=4, temperature=2.0)
    logits, floats = learning.predict(images), learning.float_logits(images).numpy()
    of_labels = -np.sum(labels * log_softmax(2 * logits, axis=-1), axis=-1)
    of_floats = -np.sum(softmax(floats, axis=-1) * log_softmax(logits, axis=-1), axis=-1)
    # Sums of a dozen terms in float32.
    assert float(learning.take_step(images, labels)) == pytest.approx(
        np.mean(of_labels + of_floats) / 2, rel=1e-5
    )


def test_ranges_stay_from_half_of_the_steps_on_and_those_of_pixels_always(every_operation, observed):
    labels = np.eye(5, dtype=np.float32)[np.arange(20) % 5]
    learning = Training(every_operation, observed, SoftmaxCrossEntropy(), total_steps=4)
    kernels, ranges = [], []
    for _ in range(4):
        learning.take_step(IMAGES[:20], labels)
        file, of_now = learning.simulation.trained()
        kernels.append(learning.simulation.weights[0].numpy())
        ranges.append(of_now)
        assert of_now[file.graph.input.name] == Range(0, 255)
    assert observed != ranges[0] != ranges[1] == ranges[2] == ranges[3]
    assert all((one != other).any() for one, other in pairwise(kernels))


def test_the_file_answers_as_the_simulation_that_was_trained(train, validation, digits_float32, tmp_path):
    trained = train(tmp_path / "state.npz", epochs=1, network=digits_float32)
    file = quantize_to_int8(trained.float32, trained.ranges)
    answers = validation.split.predict({"file": file.predict})["file"]
    assert np.mean(answers.argmax(axis=-1) == trained.scores.argmax(axis=-1)) >= 0.999
    # To two steps of the scores, as float32 and integers round ties apart.
    assert np.abs(answers - trained.scores).max() < 2.1 * file.graph.output.scales[0]
    assert trained.float32 != digits_float32


class Stopping(Progress):
    """Interrupts when so many steps are done."""

    at = 0

    def update(self, count: int, note: str = "") -> None:
        super().update(count, note)
        if "training" in self.label and self.done == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_after_an_interrupt_it_ends_with_the_same_bits(train, trained, tmp_path, monkeypatch):
    """In the middle of the second epoch; what is left of another training before changes nothing."""
    state = tmp_path / "state.npz"
    with monkeypatch.context() as patch:
        patch.setattr(training, "Progress", Stopping)
        for steps, epochs in ((2, 1), (20, 2)):
            Stopping.at = steps
            with pytest.raises(KeyboardInterrupt):
                train(state, epochs=epochs)
    seen = []

    class Watched(Progress):
        def update(self, count: int, note: str = "") -> None:
            super().update(count, note)
            seen.append(self.done)

    monkeypatch.setattr(training, "Progress", Watched)
    again = train(state)
    assert seen[0] == 20 + 1
    assert again.float32.content == trained.float32.content
    assert again.ranges == trained.ranges
    np.testing.assert_array_equal(again.scores, trained.scores)


def test_an_interrupt_stays_one_where_weights_are_no_longer_finite(train, tmp_path, monkeypatch):
    def astray(*_: object, **__: object) -> None:
        raise NonFinite

    monkeypatch.setattr(training, "Progress", Stopping)
    monkeypatch.setattr(training, "save_variables", astray)
    monkeypatch.setattr(Stopping, "at", 2)
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "state.npz")


@pytest.mark.parametrize("make", [lambda p: p.write_text("mine"), Path.mkdir, os.mkfifo])
def test_something_else_in_the_place_of_the_state_is_refused(make, train, tmp_path):
    make(tmp_path / "state.npz")
    with pytest.raises(
        UserError, match=r"^--finetune .*/state.npz, which holds something else: .*elsewhere\)$"
    ):
        train(tmp_path / "state.npz")
    assert list(tmp_path.iterdir()) == [tmp_path / "state.npz"]


@pytest.mark.parametrize("number", [errno.EIO, errno.EACCES])
def test_a_state_that_the_machine_does_not_read_now_is_left_for_another_time(
    number, train, tmp_path, monkeypatch
):
    state = tmp_path / "state.npz"
    train(state, epochs=1)
    kept = state.read_bytes()

    def open_with_a_fault(path: Path):
        if path == state:
            raise OSError(number, os.strerror(number), str(path))
        return open_regular(path)

    monkeypatch.setattr(variables_module, "open_regular", open_with_a_fault)
    with pytest.raises(UserError, match=rf"state.npz: {os.strerror(number)}$"):
        train(state, epochs=1)
    assert state.read_bytes() == kept
