"""The moving average against its recurrence, on one device and mirrored over two."""

import keras
import numpy as np
import pytest

from pipeline.training.devices import build_strategy
from pipeline.training.moving_average import MovingAverage

DECAY = 0.2
# min(0.2, (1 + n) / (10 + n)): the warm-up rules the first two updates, the bound the others.
DECAYS = [1 / 10, 2 / 11, 0.2, 0.2, 0.2, 0.2]


class Record(keras.callbacks.Callback):
    """Weights after each step, before, during and after each evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.steps, self.before, self.during, self.after = [], [], [], []

    def weights(self) -> list[np.ndarray]:
        return [weight.numpy() for weight in self.model.weights]

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(self.weights())

    def on_test_batch_end(self, batch, logs=None):
        self.during.append(self.weights())

    def on_epoch_end(self, epoch, logs=None):
        self.after.append(self.weights())


def build_model() -> keras.Model:
    model = keras.Sequential(
        [
            keras.layers.Input((4,)),
            keras.layers.Dense(3),
            keras.layers.BatchNormalization(momentum=0.5, synchronized=True),
            keras.layers.Dense(2),
        ]
    )
    model.compile("sgd", keras.losses.CategoricalCrossentropy(from_logits=True), jit_compile=False)
    return model


@pytest.fixture(scope="module", params=["cpu", "cpu:2"])
def trained(request):
    """Two epochs of three steps with validation: first weights, what was seen, and the data."""
    generator = np.random.default_rng(0)
    x = generator.normal(2, 3, (12, 4)).astype(np.float32)
    y = np.eye(2, dtype=np.float32)[generator.integers(0, 2, 12)]
    with build_strategy(request.param).scope():
        keras.utils.set_random_seed(0)
        model = build_model()
        average, record = MovingAverage(model.weights, DECAY), Record()
    first = [weight.numpy() for weight in model.weights]
    history = model.fit(
        x,
        y,
        batch_size=4,
        epochs=2,
        shuffle=False,
        verbose=0,
        validation_data=(x, y),
        validation_batch_size=12,
        callbacks=[average, record],
    )
    return first, model, average, record, history.history["val_loss"], (x, y)


def recurrence(first: list[np.ndarray], steps: list[list[np.ndarray]]) -> list[list[np.ndarray]]:
    """The averages after each step."""
    averages, rows = [np.float64(value) for value in first], []
    for decay, weights in zip(DECAYS, steps, strict=True):
        averages = [decay * a + (1 - decay) * w for a, w in zip(averages, weights, strict=True)]
        rows.append(averages)
    return rows


def test_averages_follow_the_recurrence_and_evaluation_sees_them(trained):
    first, _, average, record, losses, (x, y) = trained
    expected = recurrence(first, record.steps)
    assert int(average.updates.numpy()) == len(record.steps) == 6
    # float32 rounds at 6e-8, three operations a step, six steps.
    close = {"rtol": 2e-6, "atol": 1e-6}
    for variable, value in zip(average.averages, expected[-1], strict=True):
        np.testing.assert_allclose(variable.numpy(), value, **close)
    for epoch, seen in enumerate(record.during):
        for received, value in zip(seen, expected[3 * epoch + 2], strict=True):
            np.testing.assert_allclose(received, value, **close)
    # An independent model with the averages, batch-norm statistics too, has the same loss.
    alone = build_model()
    alone.set_weights([np.float32(value) for value in expected[-1]])
    loss = alone.evaluate(x, y, batch_size=12, verbose=0)
    assert loss == pytest.approx(losses[-1], rel=1e-5)


def test_training_goes_on_with_the_same_bits(trained):
    _, model, _, record, _, _ = trained
    assert len(record.after) == len(record.during) == 2
    for epoch, after in enumerate(record.after):
        for value, trained_on in zip(after, record.steps[3 * epoch + 2], strict=True):
            np.testing.assert_array_equal(value, trained_on)
    for weight, value in zip(model.weights, record.steps[-1], strict=True):
        np.testing.assert_array_equal(weight.numpy(), value)


def test_a_checkpoint_holds_the_averages_and_their_count():
    weights = [keras.Variable(np.ones(2, np.float32), name="kernel")]
    average = MovingAverage(weights, 0.9)
    assert average.variables == [*average.averages, average.updates]
    weights[0].assign([11.0, 1.0])
    average.on_train_batch_end(0)
    # 0.1 x 1 + 0.9 x 11, in float32
    np.testing.assert_allclose(average.averages[0].numpy(), [10.0, 1.0], rtol=1e-6)
