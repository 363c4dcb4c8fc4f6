"""What Keras 3 lacks under `tf.distribute.MultiWorkerMirroredStrategy`, in one place.

keras#20585 (github.com/keras-team/keras/issues/20585): `fit` and `evaluate` fail on the first batch, as
Keras takes the mean of a batch over hosts to learn its shape, and of each scalar over an axis that it has
not. `tests/pipeline/training/test_multi_worker.py` fails when Keras needs none of this any more.
"""

from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

Step = Callable[[Any], dict[str, tf.Tensor]]


def prepare_for_hosts(model: keras.Model, classes: int) -> None:
    """Let a compiled model train and evaluate on several hosts.

    Call it in the scope of the strategy.

    Args:
        model: from pixels uint8 or float32 to logits.
        classes: number of logits.
    """
    pixels = keras.KerasTensor(model.input_shape, "float32")
    model._symbolic_build(data_batch=(pixels, keras.KerasTensor((None, classes), "float32")))
    model._maybe_symbolic_build = lambda iterator=None, data_batch=None: None
    model.train_step, model.test_step = _with_axis(model.train_step), _with_axis(model.test_step)


def _with_axis(step: Step) -> Step:
    """Return each scalar of a step as a vector of one, the mean of which over all hosts Keras can take."""
    return lambda batch: {name: tf.reshape(value, [1]) for name, value in step(batch).items()}
