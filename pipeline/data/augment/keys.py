"""What random draws are keyed by, and how the draws of a part of a batch are made."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import numpy as np
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


class Part(NamedTuple):
    """A part of a batch, whose images are drawn for as in the whole.

    Attributes:
        slots: int64 [images], their places in the batch.
        batch_size: images of the whole.
    """

    slots: np.ndarray
    batch_size: int


_part: ContextVar[Part | None] = ContextVar("part", default=None)


@contextlib.contextmanager
def drawing_for(part: Part | None) -> Iterator[None]:
    """Have `draw` draw for a part of a batch; None: for all that it is given.

    A draw depends on its place among all that are made with a seed, and the last bit of a sine or a
    logarithm on its place in the array, so that those of a part are taken from those of the whole.
    """
    token = _part.set(part)
    try:
        yield
    finally:
        _part.reset(token)


def draw(
    sample: Callable[..., Any], shape: Sequence[int | tf.Tensor], seed: tf.Tensor, *rest: Any, axis: int = 0
) -> Any:
    """Draw `sample(shape, seed, *rest)`, one tensor or several; `axis` of each is the images of the batch."""
    part = _part.get()
    if part is None:
        return sample(shape, seed, *rest)
    whole = [part.batch_size if place == axis else length for place, length in enumerate(shape)]
    return tf.nest.map_structure(
        lambda drawn: tf.gather(drawn, part.slots, axis=axis), sample(whole, seed, *rest)
    )


def fair_coins(seed: tf.Tensor, count: tf.Tensor) -> tf.Tensor:
    """Toss `count` coins: bool [count]."""
    return draw(tf.random.stateless_uniform, [count], seed) < 0.5
