"""TrivialAugment and RandAugment against Pillow, operation by operation."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from pipeline.data.augment import policies

SEED = tf.constant([3, 14])


def sample_images(count: int = 8, height: int = 24, width: int = 31) -> np.ndarray:
    """Smooth colour ramps with noise, each with its own range of values, one of them constant."""
    rng = np.random.default_rng(0)
    ramp = np.linspace(0, 150, height * width).reshape(1, height, width, 1)
    noise = rng.normal(0, 25, (count, height, width, 3))
    offset = rng.uniform(0, 100, (count, 1, 1, 3))
    images = np.clip(ramp * rng.uniform(0.2, 1, (count, 1, 1, 3)) + offset + noise, 0, 255)
    images[-1] = 77
    return images.astype(np.uint8)


def ours(name: str, images: np.ndarray, amount: float) -> np.ndarray:
    count = len(images)
    kinds = tf.fill([count], policies.OPERATIONS.index(name))
    return policies.apply_operations(tf.constant(images), kinds, tf.fill([count], float(amount))).numpy()


def pillow(operation, images: np.ndarray) -> np.ndarray:
    return np.stack([np.asarray(operation(Image.fromarray(image))) for image in images])


def affine(*matrix: float):
    return lambda image: image.transform(
        image.size, Image.Transform.AFFINE, matrix, Image.Resampling.NEAREST, fillcolor=(128,) * 3
    )


@pytest.mark.parametrize("bits", [2, 3, 5, 8])
def test_posterize_equals_pillow(bits):
    images = sample_images()
    expected = pillow(lambda image: ImageOps.posterize(image, bits), images)
    np.testing.assert_array_equal(ours("posterize", images, bits), expected)


@pytest.mark.parametrize("threshold", [0, 77, 128, 256])
def test_solarize_equals_pillow(threshold):
    images = sample_images()
    expected = pillow(lambda image: ImageOps.solarize(image, threshold), images)
    np.testing.assert_array_equal(ours("solarize", images, threshold), expected)


@pytest.mark.parametrize("size", [(24, 31), (5, 4), (64, 64)])
@pytest.mark.parametrize("name", ["autocontrast", "equalize"])
def test_autocontrast_and_equalize_equal_pillow(name, size):
    images = sample_images(32, *size)
    expected = pillow(getattr(ImageOps, name), images)
    np.testing.assert_array_equal(ours(name, images, 0), expected)


@pytest.mark.parametrize("factor", [0.01, 0.4, 1.0, 1.3, 1.99])
@pytest.mark.parametrize("name", ["brightness", "contrast", "color", "sharpness"])
def test_enhancements_equal_pillow(name, factor):
    images = sample_images()
    expected = pillow(lambda i: getattr(ImageEnhance, name.title())(i).enhance(factor), images)
    difference = np.abs(ours(name, images, factor).astype(int) - expected)
    # One level where float32 rounds to the other side of a whole number before truncation.
    assert difference.max() <= 1
    assert (difference > 0).mean() < 0.01


@pytest.mark.parametrize(
    ("name", "amount", "operation"),
    [
        ("shear_x", 0.37, affine(1, 0.37, 0, 0, 1, 0)),
        ("shear_x", -0.91, affine(1, -0.91, 0, 0, 1, 0)),
        ("shear_y", 0.37, affine(1, 0, 0, 0.37, 1, 0)),
        ("translate_x", 5, affine(1, 0, 5, 0, 1, 0)),
        ("translate_x", -7.3, affine(1, 0, -7.3, 0, 1, 0)),
        ("translate_y", 5, affine(1, 0, 0, 0, 1, 5)),
        ("rotate", 33, lambda image: image.rotate(33, fillcolor=(128,) * 3)),
        ("rotate", -121, lambda image: image.rotate(-121, fillcolor=(128,) * 3)),
    ],
)
def test_warps_equal_pillow(name, amount, operation):
    images = sample_images()
    differs = (ours(name, images, amount) != pillow(operation, images)).any(axis=-1)
    # Nearest pixels that lie half-way within rounding (Pillow counts in 1/65536) may fall to
    # either side: a few pixels of 744.
    assert differs.mean() < 0.01


def test_identity():
    images = sample_images()
    np.testing.assert_array_equal(ours("identity", images, 0), images)


def test_every_image_gets_its_own_operation():
    images = sample_images(len(policies.OPERATIONS))
    kinds = np.arange(len(policies.OPERATIONS))
    amounts = np.array([0.2, 0.2, 3, 3, 20, 0, 1.5, 1.5, 4, 100, 0, 0, 1.5, 1.5], np.float32)
    together = policies.apply_operations(images, kinds, amounts).numpy()
    alone = [ours(name, images[i : i + 1], amounts[i])[0] for i, name in enumerate(policies.OPERATIONS)]
    np.testing.assert_array_equal(together, np.stack(alone))


@pytest.mark.parametrize("kind", range(len(policies.OPERATIONS)))
def test_a_batch_of_one_keeps_shape_and_dtype(kind):
    result = policies.apply_operations(tf.constant(sample_images(1)), tf.constant([kind]), [2.0])
    assert result.shape == (1, 24, 31, 3)
    assert result.dtype == tf.uint8


def recorded(monkeypatch, policy, images):
    """Names and amounts of the operations that `policy` draws."""
    drawn = []
    monkeypatch.setattr(
        policies, "apply_operations", lambda i, kinds, amounts, _: drawn.append((kinds, amounts)) or i
    )
    policy(images)
    kinds, amounts = (np.concatenate(each) for each in zip(*drawn, strict=True))
    return np.array(policies.OPERATIONS)[kinds], amounts


def test_trivial_augment_draws_uniformly_over_the_wide_space(monkeypatch):
    count = 14_000
    images = tf.zeros([count, 1, 1, 3], tf.uint8)
    names, amounts = recorded(monkeypatch, lambda i: policies.trivial_augment(i, SEED), images)
    counts = np.array([(names == name).sum() for name in policies.OPERATIONS])
    # 1,000 expected of each; 4 sigma of the binomial is 4 sqrt(14000 / 14 * 13 / 14) = 122.
    assert np.abs(counts - 1000).max() < 122
    ranges = {
        "shear_x": (-0.99, 0.99),
        "translate_y": (-32, 32),
        "rotate": (-135, 135),
        "brightness": (0.01, 1.99),
        "sharpness": (0.01, 1.99),
        "posterize": (2, 8),
        "solarize": (0, 256),
    }
    for name, (low, high) in ranges.items():
        drawn = amounts[names == name]
        levels = 31 if name in ("posterize", "solarize") else 61
        # A missing one of 61 levels has a chance of 61 exp(-1000 / 62), about 6e-6.
        assert len(np.unique(drawn.round(4))) == levels, name
        np.testing.assert_allclose([drawn.min(), drawn.max()], [low, high], atol=1e-5)


def test_rand_augment_applies_layers_at_one_magnitude(monkeypatch):
    images = tf.zeros([2000, 4, 8, 3], tf.uint8)
    names, amounts = recorded(
        monkeypatch, lambda i: policies.rand_augment(i, SEED, layers=3, magnitude=10), images
    )
    assert len(names) == 3 * 2000
    sizes = {  # a third of AutoAugment's largest
        "shear_y": [-0.1, 0.1],
        "translate_x": [-8 * 50 / 331, 8 * 50 / 331],
        "translate_y": [-4 * 50 / 331, 4 * 50 / 331],
        "rotate": [-10, 10],
        "color": [0.7, 1.3],
        "posterize": [8 - 4 / 3],
        "solarize": [256 * 2 / 3],
    }
    for name, expected in sizes.items():
        np.testing.assert_allclose(np.unique(amounts[names == name].round(4)), expected, atol=1e-4)
    assert not (names[:2000] == names[2000:4000]).all()


@pytest.mark.parametrize(
    "policy",
    [
        policies.trivial_augment,
        lambda images, seed: policies.rand_augment(images, seed, layers=2, magnitude=9),
    ],
)
def test_pixels_are_a_function_of_the_seed(policy):
    images = sample_images(16)
    data = tf.data.Dataset.range(8).map(
        lambda step: policy(tf.constant(images), tf.stack([0, tf.cast(step, tf.int32)])), num_parallel_calls=2
    )
    batches = [batch.numpy() for batch in data]
    for step, batch in enumerate(batches):
        assert batch.dtype == np.uint8
        np.testing.assert_array_equal(batch, policy(tf.constant(images), tf.constant([0, step])))
    assert len({batch.tobytes() for batch in batches}) == len(batches)
