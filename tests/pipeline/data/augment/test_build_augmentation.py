"""What holds for every operation, and the order of those that are switched on."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.config.settings import AugmentConfig
from pipeline.data.augment import Keys, build_augmentation
from tests.pipeline.data.augment.samples import augmented, keys, sample_images

EVERYTHING = AugmentConfig(
    resized_crop_area=0.3,
    rotation=15,
    crop_padding=2,
    flip="both",
    policy="trivialaugment",
    brightness=0.2,
    contrast=0.2,
    saturation=0.2,
    hue=0.1,
    cutout=3,
    erasing=0.5,
    mixup=0.2,
    cutmix=1.0,
)
COMMON = AugmentConfig(crop_padding=2, flip="alternating", cutout=3)


@pytest.mark.parametrize(("config", "dtype"), [(EVERYTHING, tf.float32), (COMMON, tf.uint8)])
def test_eager_equals_parallel_map_of_unknown_size(config, dtype):
    images, labels = sample_images(), np.eye(16, dtype=np.float32)
    function = build_augmentation(config)

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, None, None, 3], tf.uint8),
            tf.TensorSpec([None, 16]),
            tf.TensorSpec([], tf.int32),
        ]
    )
    def traced(images, labels, step):
        examples = tf.range(16, dtype=tf.int64)
        zero = tf.constant(0, tf.int64)
        return function(images, labels, Keys(tf.stack([1, step]), tf.constant([1, 0]), examples, zero))

    data = tf.data.Dataset.range(3).map(
        lambda step: traced(images, labels, tf.cast(step, tf.int32)), num_parallel_calls=2
    )
    seen = set()
    for step, (mapped, mapped_labels) in enumerate(data):
        eager, eager_labels = function(tf.constant(images), tf.constant(labels), keys(step=step))
        assert mapped.dtype == eager.dtype == dtype
        assert eager.shape == images.shape
        # Grappler may reorder float32 sums; integers have none.
        np.testing.assert_allclose(mapped, eager, atol=0 if dtype == tf.uint8 else 1e-3)
        np.testing.assert_allclose(mapped_labels, eager_labels, atol=1e-6)
        assert (tf.reduce_min(mapped) >= 0) & (tf.reduce_max(mapped) <= 255)
        seen.add(mapped.numpy().tobytes())
    assert len(seen) == 3


def test_strength_zero_is_the_identity():
    images, labels = tf.constant(sample_images()), tf.eye(16)
    result, targets = build_augmentation(AugmentConfig())(images, labels, keys())
    assert result is images
    assert targets is labels


SWITCHES = [
    {"crop_padding": 2},
    {"resized_crop_area": 0.3},
    {"flip": "horizontal"},
    {"flip": "alternating"},
    {"rotation": 10},
    {"brightness": 0.3},
    {"contrast": 0.3},
    {"saturation": 0.3},
    {"hue": 0.1},
    {"policy": "trivialaugment"},
    {"policy": "randaugment"},
    {"cutout": 4},
    {"erasing": 1.0},
    {"mixup": 1.0},
    {"cutmix": 1.0},
]


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_draws_for_each_image_from_its_key(switch):
    images = np.repeat(sample_images(2, 16, 16), 16, axis=0)  # pairs to mix, else one image 16 times
    images = images[np.arange(32).reshape(2, 16).T.ravel()]
    result = augmented(AugmentConfig(**switch), images)
    assert (result != images).any()
    distinct = len({image.tobytes() for image in result[::2]})
    assert distinct >= (2 if "flip" in switch else 5)
    np.testing.assert_array_equal(result, augmented(AugmentConfig(**switch), images))
    assert (result != augmented(AugmentConfig(**switch), images, step=1, run=3)).any()


def test_switching_one_operation_leaves_the_draws_of_another():
    images = sample_images()
    alone = augmented(AugmentConfig(cutout=5), images)
    with_flip = augmented(AugmentConfig(cutout=5, flip="horizontal"), images)
    np.testing.assert_array_equal(
        (alone == 128).all(axis=-1).sum(axis=(1, 2)), (with_flip == 128).all(axis=-1).sum(axis=(1, 2))
    )


def test_patches_are_cut_after_the_photometric_operations():
    result = augmented(AugmentConfig(cutout=40, brightness=0.9, policy="randaugment"), sample_images())
    patched = (result == 128).all(axis=-1).mean()
    assert patched > 0.5  # a square of 40 centred in 12 by 15 covers everything
