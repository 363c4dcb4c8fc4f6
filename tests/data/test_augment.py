"""Each augmentation's exact content and its distribution over the batch."""

import colorsys

import numpy as np
import pytest
import tensorflow as tf
from scipy import ndimage, stats

from pipeline.config import AugmentConfig
from pipeline.data import augment
from pipeline.data.augment import Keys

SEED = tf.constant([5, 7])
HEIGHT, WIDTH = 12, 15


def pictures(count: int = 16, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3), np.uint8)


def keys(count: int = 16, *, step: int = 0, run: int = 1, epoch: int = 0, first: int = 0) -> Keys:
    examples = tf.range(first, first + count, dtype=tf.int64)
    return Keys(
        tf.constant([run, step]), tf.constant([run, 0]), examples, tf.constant(epoch, tf.int64)
    )


def four_sigma(count: int, probability: float | np.ndarray) -> float | np.ndarray:
    return 4 * np.sqrt(count * probability * np.maximum(1 - probability, 0))


def augmented(config: AugmentConfig, images: np.ndarray, **of_keys: int) -> np.ndarray:
    labels = tf.zeros([len(images), 2])
    function = augment.build_augmentation(config)
    return function(tf.constant(images), labels, keys(len(images), **of_keys))[0].numpy()


def offsets_of_windows(crops: np.ndarray, padded: np.ndarray) -> list[tuple[int, int]]:
    """Offset at which each crop lies in its padded picture; fails where it lies nowhere."""
    height, width = crops.shape[1:3]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), axis=(1, 2))
    windows = np.moveaxis(windows, 3, -1)
    equal = (windows == crops[:, None, None]).all(axis=(3, 4, 5))
    assert (equal.sum(axis=(1, 2)) == 1).all()
    return [tuple(np.argwhere(each)[0]) for each in equal]


@pytest.mark.parametrize("padding", [1, 2, 20])
@pytest.mark.parametrize(("mode", "numpy_mode"), [("reflect", "reflect"), ("zero", "constant")])
def test_a_crop_is_a_window_of_the_padded_picture(mode, numpy_mode, padding):
    images = pictures(400, 6, 8)
    border = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = np.pad(images, border, mode=numpy_mode)
    crops = augmented(AugmentConfig(crop_padding=padding, crop_mode=mode), images)
    assert crops.dtype == np.uint8
    if padding > 2:  # far beyond the picture a window may recur
        inside = [(crop == padded[i, y : y + 6, x : x + 8]).all()
                  for i, crop in enumerate(crops[:20])
                  for y in range(2 * padding + 1) for x in range(2 * padding + 1)]  # fmt: skip
        assert np.reshape(inside, [20, -1]).any(axis=1).all()
        return
    counts = np.zeros([2 * padding + 1] * 2)
    for offset in offsets_of_windows(crops, padded):
        counts[offset] += 1
    # All offsets are reached, evenly: each count within 4 sigma (5 sigma for 25 of them).
    expected = 400 / counts.size
    assert np.abs(counts - expected).max() < 1.25 * four_sigma(400, 1 / counts.size)
    assert counts.min() > 0


@pytest.mark.parametrize(
    ("flip", "axes", "share"),
    [
        ("horizontal", (1,), 0.5),
        ("vertical", (0,), 0.5),
        ("alternating", (1,), 0.5),
        ("both", (0,), 0.25),
        ("both", (1,), 0.25),
        ("both", (0, 1), 0.25),
    ],
)
def test_flips_are_fair_coins(flip, axes, share):
    images = pictures(2000, 4, 5)
    result = augmented(AugmentConfig(flip=flip), images)
    mirrored = np.flip(images, [axis + 1 for axis in axes])
    flipped = (result == mirrored).all(axis=(1, 2, 3))
    assert abs(flipped.sum() - 2000 * share) < four_sigma(2000, share)
    if flip != "both":
        np.testing.assert_array_equal(result[~flipped], images[~flipped])


def test_alternating_flip_shows_the_mirror_image_every_other_epoch():
    images = pictures(64)
    epochs = [
        augmented(AugmentConfig(flip="alternating"), images, epoch=epoch, step=epoch)
        for epoch in range(4)
    ]
    np.testing.assert_array_equal(epochs[1], epochs[0][:, :, ::-1])
    np.testing.assert_array_equal(epochs[2], epochs[0])
    np.testing.assert_array_equal(epochs[3], epochs[1])


def test_alternating_flip_depends_on_run_and_example_only():
    count = 20_000
    coins = augment.alternating_coins(keys(count)).numpy()
    np.testing.assert_array_equal(
        coins[500:600], augment.alternating_coins(keys(100, first=500, step=9)).numpy()
    )
    for other in (
        augment.alternating_coins(keys(count, run=2)).numpy(),
        np.roll(coins, 1),
        np.roll(coins, 2),
    ):
        assert abs((coins == other).sum() - count / 2) < four_sigma(count, 0.5)


def test_crop_and_flip_in_one_gather_equal_flip_of_crop():
    images = pictures(64)
    both = augmented(AugmentConfig(crop_padding=3, flip="horizontal"), images)
    crop = augmented(AugmentConfig(crop_padding=3), images)
    equal = (both == crop).all(axis=(1, 2, 3))
    mirrored = (both == crop[:, :, ::-1]).all(axis=(1, 2, 3))
    assert (equal ^ mirrored).all()
    assert equal.any()
    assert mirrored.any()


@pytest.mark.parametrize(("height", "width"), [(224, 224), (90, 400)])
def test_resized_crop_boxes_follow_the_inception_definition(height, width):
    count = 4000
    boxes = augment.resized_crop_boxes(
        SEED, tf.constant(height, tf.int64), tf.constant(width), 0.2, count
    ).numpy()
    assert boxes.shape == (count, 4)
    assert boxes.dtype == np.float32
    y1, x1, y2, x2 = boxes.T * np.array([[height, width] * 2]).T
    for edge in (y1, x1, y2, x2):  # whole pixels, up to float32's rounding of 400
        np.testing.assert_allclose(edge, edge.round(), atol=1e-4)
    assert (min(y1.min(), x1.min()) >= 0) & (y2.max() <= height) & (x2.max() <= width)
    area, aspect = (y2 - y1) * (x2 - x1) / (height * width), (x2 - x1) / (y2 - y1)
    # Sides are rounded to whole pixels: half a pixel of the shortest, 0.2 ** 0.5 * 90 = 40.
    if height == width:
        assert area.min() > 0.2 * 0.98
        assert (aspect.min() > 0.74) & (aspect.max() < 1.35)
        small = area < 0.5  # where every attempt fits, so that nothing is selected by fitting
        uniform = stats.uniform(0.2, 0.3)
        assert stats.kstest(area[small], uniform.cdf).pvalue > 1e-4
        log_uniform = stats.uniform(np.log(3 / 4), 2 * np.log(4 / 3))
        assert stats.kstest(np.log(aspect[small]), log_uniform.cdf).pvalue > 1e-4
        # Place is uniform over the whole numbers that fit; a pixel's width blurs the continuous.
        place = (y1 + np.random.default_rng(0).random(count)) / (height - (y2 - y1) + 1)
        assert stats.kstest(place, "uniform").pvalue > 1e-4
    else:  # most attempts are taller than 90 pixels, yet ten rarely all fail
        assert ((aspect > 0.72) & (aspect < 1.38) | (area == 1)).all()


def test_resized_crop_boxes_fall_back_to_the_whole_picture():
    boxes = augment.resized_crop_boxes(SEED, 10, 200, 0.9, 8).numpy()
    np.testing.assert_array_equal(boxes, [[0, 0, 1, 1]] * 8)


def test_resized_crop_reads_its_box_bilinearly():
    images = pictures(32)
    result = augment.random_resized_crop(tf.constant(images), SEED, min_area=0.1)
    assert result.dtype == tf.uint8
    boxes = augment.resized_crop_boxes(SEED, HEIGHT, WIDTH, 0.1, 32).numpy()
    assert len(np.unique(boxes, axis=0)) > 16
    for image, box, ours in zip(images, boxes, result.numpy(), strict=True):
        y1, x1, y2, x2 = box
        y = (y1 + (np.arange(HEIGHT) + 0.5) / HEIGHT * (y2 - y1)) * HEIGHT - 0.5
        x = (x1 + (np.arange(WIDTH) + 0.5) / WIDTH * (x2 - x1)) * WIDTH - 0.5
        places = np.meshgrid(y, x, indexing="ij")
        expected = np.stack(
            [ndimage.map_coordinates(image[..., c] * 1.0, places, order=1, mode="nearest")
             for c in range(3)], -1)  # fmt: skip
        # Half a level of rounding to uint8, and float32 against float64.
        np.testing.assert_allclose(ours, expected, atol=0.51)


@pytest.mark.parametrize(
    ("mode", "scipy_mode"), [("zero", "grid-constant"), ("reflect", "reflect")]
)
def test_rotation_turns_about_the_centre(mode, scipy_mode, monkeypatch):
    angles = tf.constant([0.0, 90.0, 37.0, -120.0])
    monkeypatch.setattr(tf.random, "stateless_uniform", lambda *_: angles)
    images = pictures(4, 13, 13)
    result = augment.random_rotation(tf.constant(images), SEED, degrees=180, mode=mode).numpy()
    assert result.dtype == np.uint8
    np.testing.assert_array_equal(result[0], images[0])
    for image, angle, ours in zip(images, angles.numpy(), result, strict=True):
        expected = ndimage.rotate(image * 1.0, angle, reshape=False, order=1, mode=scipy_mode)
        # Half a level of rounding; a float32 position is off by 1e-6 of 13 pixels times 255.
        np.testing.assert_allclose(ours, expected, atol=0.51)


def test_rotation_angles_are_uniform():
    ramp = np.tile(np.arange(65, dtype=np.uint8)[:, None, None], [1, 65, 3])
    images = np.repeat(ramp[None], 500, axis=0)
    result = augment.random_rotation(tf.constant(images), SEED, degrees=30, mode="zero").numpy()
    # On a ramp of 1 level a pixel, 20 pixels right of the centre lie 20 sin(angle) levels away.
    sines = (result[:, 32, 52, 0] - 32.0) / 20
    degrees = np.degrees(np.arcsin(np.clip(sines, -1, 1)))
    assert (np.abs(degrees) < 32).all()  # 30, and half a level is 1.4 degrees
    blur = np.random.default_rng(0).uniform(-1.5, 1.5, 500)
    assert stats.kstest(degrees + blur, stats.uniform(-30, 60).cdf).pvalue > 1e-4


def grey(images: np.ndarray) -> np.ndarray:
    return images @ np.array([[0.299], [0.587], [0.114]])


@pytest.mark.parametrize(
    ("operation", "start"),
    [
        (augment.random_brightness, lambda images: np.zeros_like(images)),
        (augment.random_contrast, lambda images: grey(images).mean(axis=(1, 2), keepdims=True)),
        (augment.random_saturation, grey),
    ],
)
def test_photometric_factors_follow_colorjitter(operation, start):
    images = pictures(500, 4, 4) * 1.0
    result = operation(tf.constant(images.astype(np.uint8)), SEED, strength=0.4)
    assert result.dtype == tf.float32
    from_start = images - start(images)
    inside = (result > 0) & (result < 255)
    factor = np.where(inside, (result - start(images)) / from_start, np.nan)
    factor[np.abs(from_start * np.ones_like(images)) < 20] = np.nan
    each = np.nanmedian(factor, axis=(1, 2, 3))
    # float32 of values up to 255 over differences of at least 20.
    np.testing.assert_allclose(factor - each[:, None, None, None], 0 * factor, atol=1e-4)
    assert stats.kstest(each, stats.uniform(0.6, 0.8).cdf).pvalue > 1e-4
    expected = np.clip(start(images) + each[:, None, None, None] * from_start, 0, 255)
    np.testing.assert_allclose(result, expected, atol=0.01)  # 255 times the 1e-4 above, or less


def test_hue_turns_the_circle_by_one_shift_a_picture():
    images = pictures(300, 3, 3)
    result = augment.random_hue(tf.constant(images), SEED, strength=0.2).numpy()
    assert result.dtype == np.float32
    before, after = (
        np.apply_along_axis(lambda rgb: colorsys.rgb_to_hsv(*rgb), -1, each / 255.0)
        for each in (images, result)
    )
    # A level of float32 in 255 is 1e-7 of the range; a hue divides by the chroma, so 20 levels.
    np.testing.assert_allclose(after[..., 1:], before[..., 1:], atol=1e-4)
    vivid = before[..., 1] * before[..., 2] > 20 / 255
    turns = np.where(vivid, (after[..., 0] - before[..., 0] + 0.5) % 1 - 0.5, np.nan)
    shift = np.nanmedian(turns, axis=(1, 2))
    np.testing.assert_allclose(turns - shift[:, None, None], 0 * turns, atol=1e-4)
    assert stats.kstest(shift, stats.uniform(-0.2, 0.4).cdf).pvalue > 1e-4


@pytest.mark.parametrize("side", [1, 4, 5, 40])
def test_cutout_fills_a_clipped_square_at_a_uniform_centre(side):
    images = np.full([3000, 6, 8, 3], 9, np.uint8)
    result = augment.cutout(tf.constant(images), SEED, side=side).numpy()
    assert result.dtype == np.uint8
    assert set(np.unique(result)) <= {9, 128}
    expected = {}
    for y in range(6):
        for x in range(8):
            mask = np.zeros([6, 8], bool)
            top, left = y - side // 2, x - side // 2
            mask[max(top, 0) : top + side, max(left, 0) : left + side] = True
            expected[mask.tobytes()] = expected.get(mask.tobytes(), 0) + 1 / 48
    found = [mask.tobytes() for mask in (result == 128).all(axis=-1)]
    assert set(found) == set(expected)
    for mask, share in expected.items():
        assert abs(found.count(mask) - 3000 * share) <= four_sigma(3000, share) + 1e-6  # rounding


def test_erasing_fills_rectangles_of_noise():
    count, size = 2000, 40
    images = np.zeros([count, size, size, 3], np.uint8)
    result = augment.random_erasing(tf.constant(images), SEED, probability=0.4).numpy()
    assert result.dtype == np.uint8
    erased = result.any(axis=(1, 2, 3))
    assert abs(erased.sum() - count * 0.4) < four_sigma(count, 0.4)
    values = []
    for picture in result[erased]:
        mask = picture.any(axis=-1)
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        height, width = np.ptp(rows) + 1, np.ptp(columns) + 1
        values.append(picture[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1].ravel())
        assert mask.sum() >= height * width - 2  # black noise has a chance of 2e-7 a pixel
        # Each side is rounded by up to half a pixel.
        assert (height - 0.5) * (width - 0.5) <= 0.33 * size**2
        assert (height + 0.5) * (width + 0.5) >= 0.02 * size**2
        assert (width + 0.5) / (height - 0.5) >= 0.3
        assert (width - 0.5) / (height + 0.5) <= 1 / 0.3
    counts = np.bincount(np.concatenate(values), minlength=256)
    assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("alpha", [0.01, 0.2, 1.0, 3.0])
def test_shares_of_mixup_follow_the_beta_distribution(alpha):
    images = np.zeros([4000, 1, 1, 3], np.uint8)
    images[::2] = 255
    labels = tf.one_hot(tf.range(4000) % 2, 2)
    mixed, targets = augment.mixup(tf.constant(images), labels, SEED, alpha=alpha)
    shares = np.where(np.arange(4000) % 2, 255 - mixed[:, 0, 0, 0], mixed[:, 0, 0, 0]) / 255
    # float32 has eps 6e-8 at 1, and some shares of a small alpha round to 0 or 1.
    exact = stats.beta(alpha, alpha)
    thresholds = np.array([0.001, 0.1, 0.5, 0.9, 0.999])
    below = (shares[:, None] < thresholds).sum(axis=0)
    expected = 4000 * exact.cdf(thresholds)
    assert (np.abs(below - expected) <= four_sigma(4000, exact.cdf(thresholds))).all()
    np.testing.assert_allclose(targets[:, 0], mixed[:, 0, 0, 0] / 255, atol=1e-6)


def test_mixup_blends_pictures_as_it_blends_labels():
    images, labels = pictures(32), np.eye(32, dtype=np.float32)
    mixed, targets = augment.mixup(tf.constant(images), labels, SEED, alpha=0.7)
    assert mixed.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
    # With one class a picture, row i of the labels is the weight of every picture in picture i.
    expected = np.tensordot(targets.numpy(), images.astype(np.float32), 1)
    np.testing.assert_allclose(mixed, expected, atol=1e-3)  # float32 sums of values up to 255


def test_cutmix_labels_are_the_exact_area():
    count = 500
    images = np.broadcast_to(np.arange(count)[:, None, None, None] % 256, [count, 9, 7, 3])
    labels = np.eye(count, dtype=np.float32)
    mixed, targets = augment.cutmix(tf.constant(images, tf.uint8), labels, SEED, alpha=1.0)
    own = (mixed.numpy() == images).all(axis=-1)
    partner = (mixed.numpy() == np.roll(images, 1, axis=0)).all(axis=-1)
    assert (own ^ partner).all()
    np.testing.assert_allclose(np.diag(targets), own.mean(axis=(1, 2)), atol=1e-6)
    np.testing.assert_allclose(tf.reduce_sum(targets, axis=1), 1, atol=1e-6)
    for mask in partner:  # one rectangle
        rows, columns = mask.any(axis=1), mask.any(axis=0)
        np.testing.assert_array_equal(mask, rows[:, None] & columns)
        assert (np.abs(np.diff(rows.astype(int))).sum() <= 2) & (rows.sum() <= 9)
    assert len({mask.tobytes() for mask in partner}) > 200


def test_cutmix_boxes_have_the_area_and_place_of_the_paper():
    size, count = 101, 1500
    images = np.zeros([count, size, size, 3], np.uint8)
    images[::2] = 1
    labels = tf.one_hot(tf.range(count) % 2, 2)
    mixed, _ = augment.cutmix(tf.constant(images), labels, SEED, alpha=1.0)
    pasted = (mixed.numpy() != images)[..., 0]
    # Expected share of pixel p: P(box covers p), by Monte Carlo of section 3.1's definition.
    rng = np.random.default_rng(0)
    side = size * np.sqrt(1 - rng.random(200_000))
    centre = rng.uniform(0, size, [2, 200_000])
    for y, x in ((50, 50), (0, 0), (50, 3)):
        place = np.array([[y + 0.5], [x + 0.5]])
        share = (np.abs(centre - place) < side / 2).all(axis=0).mean()
        assert abs(pasted[:, y, x].sum() - count * share) < four_sigma(count, share) + 0.01 * count


def test_mixup_and_cutmix_share_the_batch():
    images = np.full([400, 6, 6, 3], 200, np.uint8)
    images[::2] = 100
    mixed = augmented(AugmentConfig(mixup=1.0, cutmix=1.0), images)
    blended = ((mixed > 100.01) & (mixed < 199.99)).all(axis=(1, 2, 3))
    assert mixed.dtype == np.float32
    assert abs(blended.sum() - 200) < four_sigma(400, 0.5)


EVERYTHING = AugmentConfig(
    resized_crop_area=0.3, rotation=15, crop_padding=2, flip="both", policy="trivialaugment",
    brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1, cutout=3, erasing=0.5, mixup=0.2,
    cutmix=1.0,
)  # fmt: skip
COMMON = AugmentConfig(crop_padding=2, flip="alternating", cutout=3)


@pytest.mark.parametrize(("config", "dtype"), [(EVERYTHING, tf.float32), (COMMON, tf.uint8)])
def test_eager_equals_parallel_map_of_unknown_size(config, dtype):
    images, labels = pictures(), np.eye(16, dtype=np.float32)
    function = augment.build_augmentation(config)

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
        return function(
            images, labels, Keys(tf.stack([1, step]), tf.constant([1, 0]), examples, zero)
        )

    data = tf.data.Dataset.range(6).map(
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
    assert len(seen) == 6


def test_strength_zero_is_the_identity():
    images, labels = tf.constant(pictures()), tf.eye(16)
    result, targets = augment.build_augmentation(AugmentConfig())(images, labels, keys())
    assert result is images
    assert targets is labels


SWITCHES = [
    {"crop_padding": 2}, {"resized_crop_area": 0.3}, {"flip": "horizontal"},
    {"flip": "alternating"}, {"rotation": 10}, {"brightness": 0.3}, {"contrast": 0.3},
    {"saturation": 0.3}, {"hue": 0.1}, {"policy": "trivialaugment"}, {"policy": "randaugment"},
    {"cutout": 4}, {"erasing": 1.0}, {"mixup": 1.0}, {"cutmix": 1.0},
]  # fmt: skip


@pytest.mark.parametrize("switch", SWITCHES, ids=str)
def test_every_switch_draws_for_each_picture_from_its_key(switch):
    images = np.repeat(pictures(2, 16, 16), 16, axis=0)  # pairs to mix, else one picture 16 times
    images = images[np.arange(32).reshape(2, 16).T.ravel()]
    result = augmented(AugmentConfig(**switch), images)
    assert (result != images).any()
    distinct = len({picture.tobytes() for picture in result[::2]})
    assert distinct >= (2 if "flip" in switch else 5)
    np.testing.assert_array_equal(result, augmented(AugmentConfig(**switch), images))
    assert (result != augmented(AugmentConfig(**switch), images, step=1, run=3)).any()


def test_switching_one_operation_leaves_the_draws_of_another():
    images = pictures()
    alone = augmented(AugmentConfig(cutout=5), images)
    with_flip = augmented(AugmentConfig(cutout=5, flip="horizontal"), images)
    np.testing.assert_array_equal(
        (alone == 128).all(axis=-1).sum(axis=(1, 2)),
        (with_flip == 128).all(axis=-1).sum(axis=(1, 2)),
    )


def test_patches_are_cut_after_the_photometric_operations():
    result = augmented(AugmentConfig(cutout=40, brightness=0.9, policy="randaugment"), pictures())
    patched = (result == 128).all(axis=-1).mean()
    assert patched > 0.5  # a square of 40 centred in 12 by 15 covers everything
