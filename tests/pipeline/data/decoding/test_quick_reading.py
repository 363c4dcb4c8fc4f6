"""What training reads quickly is what evaluation reads, up to rounding, and of large JPEGs nearly so."""

import dataclasses
import io

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from pipeline.config.reading import Reading
from pipeline.config.settings import AugmentConfig
from pipeline.data.batches import Examples, build_training_batches
from pipeline.data.decoding.decode import decode_image, decode_jpeg_window
from pipeline.data.decoding.quick_reading import read_quickly, resize_by_products
from pipeline.data.decoding.resize import resize_image
from pipeline.data.folders.folder import load_folder
from tests.encodings import ENCODED

ORIENTATION = 0x0112
"""Tag of EXIF 2.3, 4.6.4 A."""


def scene(height: int, width: int, shortest: float = 3) -> np.ndarray:
    """uint8 [height, width, 3]: five waves, whose lengths in pixels begin with 2 pi `shortest`, and noise."""
    rng = np.random.default_rng(height * width)
    y, x = np.mgrid[:height, :width]
    image = 128 + rng.normal(0, 5, (height, width, 3))
    for _ in range(5):
        phase = x / rng.uniform(shortest, 10 * shortest) + y / rng.uniform(shortest, 10 * shortest)
        image += np.sin(phase)[..., np.newaxis] * rng.uniform(9, 30, 3)
    return np.clip(image, 0, 255).astype(np.uint8)


def jpeg(pixels: np.ndarray, orientation: int = 1, mode: str = "RGB") -> bytes:
    exif, file = Image.Exif(), io.BytesIO()
    exif[ORIENTATION] = orientation
    options = {"exif": exif} if orientation > 1 else {}
    Image.fromarray(pixels).convert(mode).save(file, "JPEG", quality=90, **options)
    return file.getvalue()


def see(content: bytes, window: tuple[int, ...], size: int, *, upright: bool = True) -> np.ndarray:
    """What is read of one window."""
    return read_quickly(tf.constant(content), lambda *_: tf.constant(window), size, upright=upright).numpy()


def differences(one, other) -> np.ndarray:
    return np.abs(np.asarray(one).astype(int) - np.asarray(other))


@pytest.mark.parametrize("shape", [(75, 100), (61, 33), (16, 16), (5, 90), (1, 1), (400, 7)])
@pytest.mark.parametrize("size", [16, 21, 3])
def test_products_equal_resizing(shape, size):
    image = scene(*shape)
    apart = differences(resize_by_products(image, size), resize_image(image, size))
    # Sums in another order turn a value that lies on a half.
    assert apart.max() <= 1
    assert np.mean(apart > 0) < 0.01


def test_products_equal_pillow():
    image = scene(75, 100)
    expected = Image.fromarray(image).resize((24, 24), Image.Resampling.BILINEAR)
    # Pillow rounds to a level after each of its two passes.
    assert differences(resize_by_products(image, 24), expected).max() <= 1


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("upright", [True, False])
def test_a_window_of_a_turned_jpeg_is_what_is_seen_there(orientation, upright):
    content = jpeg(scene(75, 100), orientation)
    image = decode_image(content, upright=upright)
    height, width = image.shape[:2]
    top, left, rows, columns = 3, height // 2, height // 3, width // 4
    expected = resize_image(image[top : top + rows, left : left + columns], 16)
    assert differences(see(content, (top, left, rows, columns), 16, upright=upright), expected).max() <= 1


def test_a_window_gets_the_sizes_of_the_upright_image():
    sizes = []

    def window(height, width):
        sizes.append((int(height), int(width)))
        return tf.constant([0, 0, 8, 8])

    content = jpeg(scene(75, 100), 6)
    for upright in (True, False):
        read_quickly(tf.constant(content), window, 16, upright=upright)
    assert sizes == [(100, 75), (75, 100)]


@pytest.mark.parametrize("window", [(0, 0, 75, 100), (7, 16, 40, 50), (74, 99, 1, 1), (33, 0, 42, 17)])
def test_part_of_a_jpeg_is_decoded_as_all_of_it(window):
    # Pillow halves the colours' resolution; columns 16 and 32 begin blocks of them.
    content = jpeg(scene(75, 100))
    top, left, rows, columns = window
    part = decode_jpeg_window(tf.constant(content), tf.constant(window), 1)
    np.testing.assert_array_equal(part, decode_image(content)[top : top + rows, left : left + columns])


@pytest.mark.parametrize("name", ENCODED)
def test_every_kind_of_file_is_read(name):
    image = decode_image(ENCODED[name])
    seen = see(ENCODED[name], (0, 0, *image.shape[:2]), 8)
    assert differences(seen, resize_image(image, 8)).max() <= 1


@pytest.mark.parametrize(("by", "mode"), [(2, "RGB"), (4, "L"), (8, "RGB")])
def test_a_large_jpeg_is_nearly_the_same_from_fewer_coefficients(by, mode):
    size, rows = 12, 2 * 12 * by
    content = jpeg(scene(rows, rows + 3 * by, shortest=2 * by), mode=mode)
    exact = resize_image(decode_image(content)[:, 3 * by :], size)
    seen = see(content, (0, 3 * by, rows, rows), size)
    # An independent way: Pillow's own reduced decoding, which thumbnails are made by.
    with Image.open(io.BytesIO(content)) as reduced:
        reduced.draft(reduced.mode, (reduced.width // by, reduced.height // by))
        assert reduced.height == 2 * size
        cut = reduced.convert("RGB").crop((3, 0, *reduced.size))
        expected = cut.resize((size, size), Image.Resampling.BILINEAR)
    assert differences(seen, expected).max() <= 2
    assert differences(seen, exact).mean() < 1.5
    # Of what is decoded at full size fewer than one in a hundred differ.
    assert np.mean(differences(seen, exact) > 0) > 0.03


def test_what_is_a_little_less_large_is_decoded_as_it_is():
    content = jpeg(scene(47, 90))
    assert differences(see(content, (0, 0, 47, 90), 12), resize_image(decode_image(content), 12)).max() <= 1


@pytest.fixture
def photos(tmp_path):
    """Two classes of six JPEGs of 60 x 80 pixels, one of them turned."""
    for number in range(12):
        path = tmp_path / "photos" / ("a" if number % 2 else "b") / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(jpeg(np.roll(scene(60, 80), 5 * number, axis=1), 6 if number == 3 else 1))
    return load_folder(tmp_path / "photos", max_bad_share=0)


@pytest.mark.parametrize("resize", ["squash", "crop", "pad"])
@pytest.mark.parametrize("area", [0.0, 0.3])
def test_batches_hold_the_same_parts_of_the_same_images(photos, resize, area):
    batches = []
    for quick in (True, False):
        images = dataclasses.replace(photos.images, quick=quick)
        source = dataclasses.replace(photos, images=images, reading=Reading(resize=resize))
        (batch,) = build_training_batches(
            Examples(source, np.arange(12), 16),
            AugmentConfig(resized_crop_area=area, flip="horizontal"),
            **{"global_batch_size": 12, "seed": 3, "first_step": 4, "last_step": 5},
        )
        batches.append(batch)
    (quickly, labels), (exactly, expected_labels) = batches
    np.testing.assert_array_equal(labels, expected_labels)
    assert differences(quickly, exactly).max() <= 1
    assert quickly.dtype == exactly.dtype
    assert len({image.tobytes() for image in quickly.numpy()}) == 12
