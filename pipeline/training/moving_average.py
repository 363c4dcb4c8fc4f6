"""Exponential moving average of the weights, kept beside them and swapped in for evaluation."""

from typing import Any

import keras
import tensorflow as tf


class MovingAverage(keras.callbacks.Callback):
    """After each step, for every weight w and batch-norm statistic: a <- d a + (1 - d) w.

    d = min(decay, (1 + step) / (10 + step)), so that the first steps do not linger (the
    `num_updates` rule of TensorFlow's ExponentialMovingAverage). Validation sees the averages.
    Keras' own `use_ema` leaves the batch-norm statistics out and overwrites the weights at the
    end of `fit`; here the weights being trained are never touched by rounding: they are copied
    aside and copied back.

    Args:
        weights: the model's weights.
        decay: d's bound, in [0, 1).
    """

    def __init__(self, weights: list[keras.Variable], decay: float) -> None:
        super().__init__()
        self.weights, self.decay = weights, decay
        self.averages = [_copy(weight, "average") for weight in weights]
        self.updates = keras.Variable(0, dtype="int64", trainable=False, name="average_updates")
        self._aside: list[Any] | None = None
        self._update = tf.function(self._update_all)

    @property
    def variables(self) -> list[keras.Variable]:
        """What a checkpoint must hold."""
        return [*self.averages, self.updates]

    def _update_all(self) -> None:
        updates = keras.ops.cast(self.updates.value, "float32")
        decay = keras.ops.minimum(self.decay, (1 + updates) / (10 + updates))
        for average, weight in zip(self.averages, self.weights, strict=True):
            # In this form a weight that stands still is its own average, bit for bit.
            average.assign(average.value + (1 - decay) * (weight.value - average.value))
        self.updates.assign_add(1)

    def restart(self) -> None:
        """Begin at the weights as they are now."""
        for average, weight in zip(self.averages, self.weights, strict=True):
            average.assign(weight.value)

    def on_train_batch_end(self, batch: int, logs: dict[str, Any] | None = None) -> None:
        """Update the averages."""
        self._update()

    def on_test_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Evaluate with the averages."""
        self._aside = [keras.ops.convert_to_numpy(weight.value) for weight in self.weights]
        for average, weight in zip(self.averages, self.weights, strict=True):
            weight.assign(average.value)

    def on_test_end(self, logs: dict[str, Any] | None = None) -> None:
        """Go back to the weights that are being trained."""
        for value, weight in zip(self._aside or [], self.weights, strict=True):
            weight.assign(value)
        self._aside = None


def _copy(variable: keras.Variable, name: str) -> keras.Variable:
    return keras.Variable(
        keras.ops.convert_to_numpy(variable.value), trainable=False, name=f"{variable.name}_{name}"
    )
