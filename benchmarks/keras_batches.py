"""The input pipeline's peer in Keras: its own augmentation layers inside tf.data."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.measure import CORES

PREFETCHED_BATCHES = 4
MID_GREY = 128
Image = Callable[[tf.Tensor], tf.Tensor]


def keras_batches(
    images: np.ndarray, labels: np.ndarray, *, variant: str, batch_size: int, padding: int, cutout: int
) -> tf.data.Dataset:
    """Shuffle, crop after padding, flip and cut out, without end.

    Args:
        images: uint8 [images, size, size, 3].
        labels: int64 [images].
        variant: how the crop is drawn, as Keras' RandomCrop draws one crop a call:
            image: RandomCrop for each image, the rest for the batch.
            translation: RandomTranslation, nearest pixel, for the batch, drawn for each image.
            batch: RandomCrop for the batch. One crop for all its images: less work.
        batch_size: images a batch.
        padding: pixels on each side, mirrored.
        cutout: side in pixels of the grey square. Keras' nearest to cutout is RandomErasing of
            a fixed area; its square is never clipped at the border.

    Yields:
        float32 [batch, size, size, 3] in [0, 255], and labels.
    """
    size = images.shape[1]
    crop_one, crop_batch = _crops(variant, size, padding)
    flip = layers.RandomFlip("horizontal")
    area = (cutout / size) ** 2
    erase = layers.RandomErasing(factor=(1.0, 1.0), scale=(area, area), fill_value=MID_GREY)

    def vary_batch(images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return erase(flip(crop_batch(images), training=True), training=True), labels

    dataset = tf.data.Dataset.from_tensor_slices((images, labels)).shuffle(len(images)).repeat()
    if crop_one is not None:

        def vary_one(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            return crop_one(image), label

        dataset = _map(dataset, vary_one)
    batches = _map(dataset.batch(batch_size, drop_remainder=True), vary_batch)
    return batches.prefetch(PREFETCHED_BATCHES)


def _crops(variant: str, size: int, padding: int) -> tuple[Image | None, Image]:
    """Return what crops one image, if anything does, and what crops the batch."""
    if variant == "translation":
        share = padding / size
        layer = layers.RandomTranslation(share, share, fill_mode="reflect", interpolation="nearest")
        return None, lambda images: layer(images, training=True)
    crop: keras.Layer = layers.RandomCrop(size, size)
    sides = [[padding, padding], [padding, padding], [0, 0]]
    if variant == "image":
        return lambda image: crop(tf.pad(image, sides, "REFLECT"), training=True), tf.identity
    return None, lambda images: crop(tf.pad(images, [[0, 0], *sides], "REFLECT"), training=True)


def _map(dataset: tf.data.Dataset, function: Callable[..., Any]) -> tf.data.Dataset:
    # Keras' layers give no reproducible stream in a parallel map, so its order is free as well.
    return dataset.map(function, num_parallel_calls=CORES, deterministic=False)
