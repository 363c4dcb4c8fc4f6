"""What the tests of augmentation share: noisy images, keys, and the bound of a count."""

import numpy as np
import tensorflow as tf

from pipeline.config.settings import AugmentConfig
from pipeline.data.augment import Keys, build_augmentation

SEED = tf.constant([5, 7])
HEIGHT, WIDTH = 12, 15


def sample_images(count: int = 16, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def keys(count: int = 16, *, step: int = 0, run: int = 1, epoch: int = 0, first: int = 0) -> Keys:
    examples = tf.range(first, first + count, dtype=tf.int64)
    return Keys(tf.constant([run, step]), tf.constant([run, 0]), examples, tf.constant(epoch, tf.int64))


def four_sigma(count: int, probability: float | np.ndarray) -> float | np.ndarray:
    return 4 * np.sqrt(count * probability * np.maximum(1 - probability, 0))


def augmented(config: AugmentConfig, images: np.ndarray, **of_keys: int) -> np.ndarray:
    labels = tf.zeros([len(images), 2])
    function = build_augmentation(config)
    return function(tf.constant(images), labels, keys(len(images), **of_keys))[0].numpy()
