"""What random draws are keyed by."""

from typing import NamedTuple

import tensorflow as tf

fold_in = tf.random.experimental.stateless_fold_in
"""(seed, number) -> another seed; both int32 [2]."""


class Keys(NamedTuple):
    """What a batch's randomness may depend on.

    Attributes:
        batch: int32 [2], stateless seed of this batch, a function of run seed and step.
        run: int32 [2], stateless seed of the run.
        examples: int64 [batch], which example each image is.
        epoch: int64 scalar.
    """

    batch: tf.Tensor
    run: tf.Tensor
    examples: tf.Tensor
    epoch: tf.Tensor


def fair_coins(seed: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Toss `count` coins: bool [count]."""
    return tf.random.stateless_uniform([count], seed) < 0.5
