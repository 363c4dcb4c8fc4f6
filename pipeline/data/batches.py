"""The only place that orders shuffle / fetch / decode / augment / batch / prefetch.

Batch `s` is a pure function of (seed, s): an epoch's order is a keyed permutation evaluated at
the positions of the batch, and every random draw is keyed by the seed and the step. So a run may
start at any step, at no cost, and sees what a run that never stopped would have seen.
"""

import dataclasses
import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.config.reading import Reading
from pipeline.config.settings import AugmentConfig
from pipeline.data.augment import Keys, Part, build_augmentation, mixes
from pipeline.data.augment.boxes import resized_crop_boxes
from pipeline.data.augment.keys import fold_in
from pipeline.data.decoding.decode import decode_image
from pipeline.data.decoding.quick_reading import read_quickly
from pipeline.data.decoding.resize import (
    crop_and_resize_image,
    fit_image,
    middle_square,
    read_image,
    window_of,
)
from pipeline.data.table import ArrayImages, EncodedImages, Source

THREADS = os.cpu_count() or 1
PREFETCHED_BATCHES = 4
CACHE_LIMIT_BYTES = 1 << 30
"""A split for evaluation that takes no more than this once decoded is decoded only once."""

Reader = Callable[[tf.Tensor, tf.Tensor, int, Reading], tf.Tensor]
"""Encoded image, its int32 [2] key, a size and how it is read -> uint8 [size, size, 3]."""


@dataclass(frozen=True)
class Examples:
    """The images of one split, at the size the model takes.

    Attributes:
        source: the table they are rows of.
        rows: int64 [images].
        image_size: height and width, pixels.
    """

    source: Source
    rows: np.ndarray
    image_size: int

    def __len__(self) -> int:
        return len(self.rows)

    def spread(self, count: int) -> "Examples":
        """Return `count` of them, evenly spread, or all where there are no more."""
        places = np.linspace(0, len(self) - 1, min(len(self), count)).astype(int)
        return dataclasses.replace(self, rows=self.rows[places])


@dataclass(frozen=True)
class Share:
    """What one of several hosts reads of each batch: the images of its own replicas.

    Attributes:
        index: of the host.
        hosts: how many there are; each has the same number of replicas.
        replicas: of all of them together.
    """

    index: int = 0
    hosts: int = 1
    replicas: int = 1

    def slots(self, batch_size: int) -> np.ndarray:
        """Places of its images in a batch that divides by the replicas, int64 [images]."""
        own = batch_size // self.hosts
        return np.arange(self.index * own, (self.index + 1) * own)

    def by_replica(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Divide each of its batches among its replicas: so many elements, as `tf.distribute` takes them."""
        own = self.replicas // self.hosts
        if own == 1:
            return batches

        def divide(*batch: tf.Tensor) -> tf.data.Dataset:
            shares = [tf.reshape(part, [own, -1, *part.shape[1:]]) for part in batch]
            return tf.data.Dataset.from_tensor_slices(tuple(shares))

        return batches.flat_map(divide)


WHOLE = Share()


@dataclass(frozen=True)
class Order:
    """Which examples each step of the endless training stream holds.

    Epoch e visits the rows in the e-th keyed permutation; what does not fill a batch is left
    out of that epoch.

    Attributes:
        rows: int64 [images].
        global_batch_size: images a step.
        seed: the run's seed.
        part: of each batch; None: all of it.
    """

    rows: np.ndarray
    global_batch_size: int
    seed: int
    part: Part | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in one pass."""
        return len(self.rows) // self.global_batch_size

    @property
    def slots(self) -> tf.Tensor:
        """Places in a batch, int64 [images]."""
        if self.part is not None:
            return tf.constant(self.part.slots, tf.int64)
        return tf.range(self.global_batch_size, dtype=tf.int64)

    @functools.cached_property
    def _row_tensor(self) -> tf.Tensor:
        # Outside of the graph, which would be copied with a million of them whenever it is passed on.
        with tf.init_scope(), tf.device("CPU"):
            return tf.constant(self.rows)

    def keys(self, step: tf.Tensor) -> Keys:
        """Return everything that the random draws of step `step` (int64 scalar) depend on."""
        run = tf.constant([self.seed, -1], tf.int32)
        # Stateless draws scramble their seed, so that of the batch need not be scrambled before.
        batch = tf.stack([self.seed, tf.cast(step, tf.int32)])
        epoch = step // self.steps_per_epoch
        first = (step % self.steps_per_epoch) * self.global_batch_size
        positions = first + self.slots
        shuffled = tf.random.experimental.index_shuffle(
            positions, seed=fold_in(run, epoch), max_index=len(self.rows) - 1
        )
        examples = tf.gather(self._row_tensor, shuffled)
        return Keys(batch=batch, run=run, examples=examples, epoch=epoch)


def build_training_batches(
    examples: Examples,
    augment: AugmentConfig,
    *,
    global_batch_size: int,
    seed: int,
    first_step: int,
    last_step: int,
    share: Share = WHOLE,
) -> tf.data.Dataset:
    """Build batches `first_step` to `last_step - 1` of the stream that `seed` defines.

    Args:
        examples: the training split.
        augment: how they are varied.
        global_batch_size: images a step over all hosts.
        seed: the run's.
        first_step: of the stream.
        last_step: where it ends.
        share: of one host, whose images are bit for bit those of the whole batch.

    Yields:
        images [batch, size, size, 3] uint8 or float32 in [0, 255], and labels float32
        [batch, classes], one-hot or mixed; of a share that of a replica at a time.
    """
    part = _part_of_batch(share, global_batch_size, with_previous=mixes(augment))
    order = Order(examples.rows, global_batch_size, seed, part)
    read: Reader = _whole_image
    if isinstance(examples.source.images, EncodedImages):
        read = _training_reader(
            augment.resized_crop_area, examples.source.images.quick, examples.source.reading
        )
        augment = dataclasses.replace(augment, resized_crop_area=0.0)
    vary = build_augmentation(augment, part)
    partners = 0 if part is None else len(part.slots) - global_batch_size // share.hosts
    one_hot = _one_hot(examples.source)

    def augment_batch(images: tf.Tensor, keys: Keys) -> tuple[tf.Tensor, tf.Tensor]:
        images, labels = vary(images, one_hot(keys.examples), keys)
        return images[partners:], labels[partners:]

    steps = tf.data.Dataset.range(first_step, last_step)
    if isinstance(examples.source.images, ArrayImages):
        take = _array_taker(examples)

        def build_batch(step: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            keys = order.keys(step)
            return augment_batch(take(keys.examples), keys)

        # All in one map: three would take a third longer for small images.
        return _finish(_map(steps, build_batch), share, count=last_step - first_step)
    keys = _map(steps, order.keys)
    images = _read_batches(keys, read, examples, order.slots)
    # After batching, so that one vectorised call varies every image; before prefetching, so
    # that it overlaps with the training step.
    batches = _map(tf.data.Dataset.zip(images, keys), augment_batch)
    return _finish(batches, share, count=last_step - first_step)


def _part_of_batch(share: Share, batch_size: int, *, with_previous: bool) -> Part | None:
    """Return what a host reads of a batch; where images are mixed, the one before its first as well."""
    if share.hosts == 1:
        return None
    slots = share.slots(batch_size)
    if with_previous:
        slots = np.concatenate([(slots[:1] - 1) % batch_size, slots])
    return Part(slots, batch_size)


def build_evaluation_batches(
    examples: Examples, *, global_batch_size: int, replicas: int = 1, share: Share = WHOLE
) -> tf.data.Dataset:
    """Build one pass over the split in table order, un-augmented, each image once.

    The last batch is filled up to a multiple of `replicas` with copies of weight 0, because a
    replica cannot take an empty batch.

    Args:
        examples: the split.
        global_batch_size: images a step over all hosts; a multiple of `replicas`.
        replicas: of all hosts together.
        share: of one host.

    Yields:
        images uint8 [batch, size, size, 3], labels float32 [batch, classes], one-hot, and
        weights float32 [batch], 1 or 0.
    """
    padding = -len(examples) % replicas
    rows = np.concatenate([examples.rows, np.repeat(examples.rows[-1:], padding)])
    weights = np.repeat(np.array([1, 0], np.float32), [len(examples), padding])
    one_hot = _one_hot(examples.source)
    if share.hosts > 1:
        starts = range(0, len(rows), global_batch_size)
        own = [start + share.slots(min(global_batch_size, len(rows) - start)) for start in starts]
        rows, weights = (each[np.concatenate(own)] for each in (rows, weights))
    own_batch_size = global_batch_size // share.hosts

    batches = tf.data.Dataset.from_tensor_slices((rows, weights)).batch(own_batch_size)
    if isinstance(examples.source.images, ArrayImages):
        take = _array_taker(examples)
        images = _map(batches, lambda rows, _: take(rows))
    else:
        no_key = tf.zeros([2], tf.int32)
        keys = batches.map(lambda rows, _: Keys(no_key, no_key, rows, tf.constant(0, tf.int64)))
        slots = tf.range(own_batch_size, dtype=tf.int64)
        images = _read_batches(keys, _whole_image, examples, slots)
    batches = tf.data.Dataset.zip(images, batches).map(
        lambda images, batch: (images, one_hot(batch[0]), batch[1])
    )
    if len(rows) * examples.image_size**2 * 3 <= CACHE_LIMIT_BYTES:
        batches = batches.cache()
    return _finish(batches, share, count=-(-len(rows) // own_batch_size))


def _array_taker(examples: Examples) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a graph function from rows int64 [batch] to uint8 [batch, size, size, 3]."""
    stored, size, reading = examples.source.images, examples.image_size, examples.source.reading
    assert isinstance(stored, ArrayImages)
    images = stored.tensor
    if images.shape[1:3] == [size, size] and reading.resize != "crop":
        return lambda rows: tf.gather(images, rows)
    return lambda rows: fit_image(tf.gather(images, rows), size, reading)


def _read_batches(
    keys: tf.data.Dataset, read: Reader, examples: Examples, slots: tf.Tensor
) -> tf.data.Dataset:
    """Turn batches of keys, at the places `slots`, into images on disk, uint8 [batch, size, size, 3]."""
    images, size, reading = examples.source.images, examples.image_size, examples.source.reading
    assert isinstance(images, EncodedImages)

    def single_keys(key: Keys) -> tuple[tf.Tensor, tf.Tensor]:
        # The last batch of an evaluation may be smaller.
        places = tf.cast(slots[: tf.size(key.examples)], tf.int32)
        return key.examples, tf.vectorized_map(lambda slot: fold_in(key.batch, slot), places)

    # Images on disk differ in size, so each is decoded and resized alone, in parallel.
    singles = keys.map(single_keys).unbatch()
    singles = _map(singles, lambda row, key: read(images.read(row), key, size, reading))
    return singles.batch(len(slots))


def _training_reader(min_area: float, quick: bool, reading: Reading) -> Reader:
    """Return what reads images on disk for training: all of each, or a random part from `min_area` on."""
    # Cropping an image before its resize keeps the full resolution.
    exact = functools.partial(_random_crop_of_image, min_area) if min_area else _whole_image
    if not quick or (reading.resize == "pad" and not min_area):
        return exact

    def read(content: tf.Tensor, key: tf.Tensor, size: int, reading: Reading) -> tf.Tensor:
        def window(height: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
            if min_area:
                box = resized_crop_boxes(key, height, width, min_area, 1)[0]
                return window_of(box, height, width)
            if reading.resize == "crop":
                return middle_square(height, width, reading.crop_share)
            return tf.stack([0, 0, height, width])

        return read_quickly(content, window, size, upright=reading.exif_orientation)

    return read


def _whole_image(content: tf.Tensor, key: tf.Tensor, size: int, reading: Reading) -> tf.Tensor:
    del key
    return read_image(content, size, reading)


def _random_crop_of_image(
    min_area: float, content: tf.Tensor, key: tf.Tensor, size: int, reading: Reading
) -> tf.Tensor:
    image = decode_image(content, upright=reading.exif_orientation)
    height, width = tf.shape(image)[0], tf.shape(image)[1]
    box = resized_crop_boxes(key, height, width, min_area, 1)[0]
    return crop_and_resize_image(image, box, size)


def _one_hot(source: Source) -> Callable[[tf.Tensor], tf.Tensor]:
    """Return a graph function from rows int64 [batch] to float32 [batch, classes]."""
    labels = tf.constant(source.labels)
    return lambda rows: tf.one_hot(tf.gather(labels, rows), len(source.class_names))


def _map(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    # AutoGraph would rewrite whatever is called, for most of a second; no Python `if` here is on a tensor.
    plain = tf.autograph.experimental.do_not_convert(function)
    return dataset.map(plain, num_parallel_calls=THREADS, deterministic=True)


def _finish(batches: tf.data.Dataset, share: Share, count: int) -> tf.data.Dataset:
    """Prefetch and tell Keras how many batches there are, which it cannot see through `unbatch`.

    The autotuner is off, because destroying an iterator waits for its sleeping thread, up to a
    minute at the end of `fit`.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    count *= share.replicas // share.hosts
    batches = share.by_replica(batches).apply(tf.data.experimental.assert_cardinality(count))
    return batches.prefetch(PREFETCHED_BATCHES).with_options(options)


def load_images(examples: Examples) -> np.ndarray:
    """Decode and resize images as evaluation does: uint8 [images, size, size, 3]."""
    batches = build_evaluation_batches(examples, global_batch_size=64)
    return np.concatenate([images.numpy() for images, _, _ in batches])
