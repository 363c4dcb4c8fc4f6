"""Random variation of training images, vectorised over the batch: every image its own draw.

Batch number s is a pure function of (run seed, s): nothing here holds state. Images stay uint8
until an operation changes single values, so that the common path (crop, flip, cutout) only moves
bytes. `build_augmentation` says in which order the operations of the other files apply, and why.
"""

from collections.abc import Callable
from functools import partial

import tensorflow as tf

from pipeline.config.settings import AugmentConfig
from pipeline.data.augment.crop_and_flip import crop_and_flip
from pipeline.data.augment.keys import Keys, Part, drawing_for
from pipeline.data.augment.mixing import mix
from pipeline.data.augment.patches import cutout, random_erasing
from pipeline.data.augment.photometric import (
    random_brightness,
    random_contrast,
    random_hue,
    random_saturation,
)
from pipeline.data.augment.policies import rand_augment, trivial_augment
from pipeline.data.augment.resampling import random_resized_crop, random_rotation

__all__ = ["Keys", "Part", "boxes", "build_augmentation", "keys", "mixes"]

Augmentation = Callable[[tf.Tensor, tf.Tensor, Keys], tuple[tf.Tensor, tf.Tensor]]
"""(images, labels, keys) -> (images, labels), see `build_augmentation`."""

Operation = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
"""(images, seed) -> images."""


def mixes(config: AugmentConfig) -> bool:
    """Whether an image is mixed with the one before it in the batch."""
    return config.mixup > 0 or config.cutmix > 0


def build_augmentation(config: AugmentConfig, part: Part | None = None) -> Augmentation:
    """Compose the operations that `config` switches on.

    Args:
        config: which, and how strong.
        part: the images are this part of a batch; where they are mixed, that of its first has no meaning.

    Returns:
        A function from images (uint8 [batch, height, width, 3]), labels (float32 [batch,
        classes]) and keys to images (uint8, or float32 in [0, 255] where photometric operations
        or mixup are on) and labels of the same shapes.
    """

    def augment(images: tf.Tensor, labels: tf.Tensor, keys: Keys) -> tuple[tf.Tensor, tf.Tensor]:
        operations = _operations(config, keys)
        # An operation's seed goes by its place in the list, not its rank among those that are on:
        # switching one off leaves the draws of the others as they were.
        seeds = tf.random.stateless_uniform([len(operations) + 1, 2], keys.batch, None, None, tf.int32)
        with drawing_for(part):
            for number, (is_on, operation) in enumerate(operations):
                if is_on:
                    images = operation(images, seeds[number])
            # Last, because it mixes finished images, and their labels with them.
            return mix(images, labels, seeds[-1], mixup_alpha=config.mixup, cutmix_alpha=config.cutmix)

    return augment


def _operations(config: AugmentConfig, keys: Keys) -> list[tuple[bool, Operation]]:
    """List (is it on, operation on images alone) in the order in which the operations apply.

    The order is semantics. What resamples comes first, on the original pixels; then crop and
    flip; then the policy, which wants uint8; then the photometric operations, the first to need
    float32. Cutout and erasing follow, because a patch must stay mid grey or noise.
    """
    padding, mode, flip = config.crop_padding, config.crop_mode, config.flip
    layers, magnitude = config.randaugment_layers, config.randaugment_magnitude
    return [
        (config.resized_crop_area > 0, partial(random_resized_crop, min_area=config.resized_crop_area)),
        (config.rotation > 0, partial(random_rotation, degrees=config.rotation, mode=mode)),
        (
            padding > 0 or flip != "none",
            partial(crop_and_flip, keys=keys, padding=padding, mode=mode, flip=flip),
        ),
        (config.policy == "trivialaugment", trivial_augment),
        (config.policy == "randaugment", partial(rand_augment, layers=layers, magnitude=magnitude)),
        (config.brightness > 0, partial(random_brightness, strength=config.brightness)),
        (config.contrast > 0, partial(random_contrast, strength=config.contrast)),
        (config.saturation > 0, partial(random_saturation, strength=config.saturation)),
        (config.hue > 0, partial(random_hue, strength=config.hue)),
        (config.cutout > 0, partial(cutout, side=config.cutout)),
        (config.erasing > 0, partial(random_erasing, probability=config.erasing)),
    ]
