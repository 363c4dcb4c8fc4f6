"""Images made squares, in training and in the bundle's run.py, against Pillow and the formulas."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from export.device import run
from pipeline.config.reading import Reading
from pipeline.data.decoding.resize import crop_and_resize_image, fit_image, resize_image
from tests.encodings import COLOURS, HEIGHT, WIDTH


@pytest.mark.parametrize("size", [5, 16, 60])
def test_resize_equals_pillow(size):
    expected = Image.fromarray(COLOURS).resize((size, size), Image.Resampling.BILINEAR)
    resized = resize_image(tf.constant(COLOURS), size)
    # Pillow rounds to a level after each of its two passes.
    assert np.abs(resized.numpy().astype(int) - np.asarray(expected)).max() <= 1


def test_resize_to_own_size_changes_nothing():
    square = tf.constant(COLOURS[:, :HEIGHT])
    np.testing.assert_array_equal(resize_image(square, HEIGHT), square)


def test_resize_rounds_to_the_nearest_level():
    pair = tf.constant([[[10, 10, 10], [13, 12, 15]]], tf.uint8)
    # The mean of each channel, 11.5, 11 and 12.5; a half rounds to even, as np.round does.
    np.testing.assert_array_equal(resize_image(pair, 1)[0, 0], [12, 11, 12])


@pytest.mark.parametrize("rows", [(0, 24), (3, 20), (23, 24)])
@pytest.mark.parametrize("columns", [(0, 37), (5, 30), (0, 1)])
def test_crop_and_resize_equals_pillow(rows, columns):
    # Edges a third of a pixel inside, so that rounding is what brings them back.
    inside = np.array([rows[0] + 0.3, columns[0] + 0.3, rows[1] - 0.3, columns[1] - 0.3])
    box = inside / [HEIGHT, WIDTH, HEIGHT, WIDTH]
    cut = Image.fromarray(COLOURS).crop((columns[0], rows[0], columns[1], rows[1]))
    expected = np.asarray(cut.resize((9, 9), Image.Resampling.BILINEAR)).astype(int)
    resized = crop_and_resize_image(tf.constant(COLOURS), tf.constant(box, tf.float32), 9)
    assert resized.shape == (9, 9, 3)
    assert np.abs(resized.numpy() - expected).max() <= 1  # as for the whole image


@pytest.mark.parametrize("corner", [0.0, 0.5, 0.999, 1.0])
def test_a_crop_holds_at_least_one_pixel(corner):
    box = tf.fill([4], corner)
    row, column = min(round(corner * HEIGHT), HEIGHT - 1), min(round(corner * WIDTH), WIDTH - 1)
    expected = np.broadcast_to(COLOURS[row, column], (4, 4, 3))
    np.testing.assert_array_equal(crop_and_resize_image(COLOURS, box, 4), expected)


TALL = np.random.default_rng(4).integers(0, 256, (91, 40, 3), dtype=np.uint8)
SHAPES = {"wide": COLOURS, "tall": TALL, "row": COLOURS[:1, :30], "column": COLOURS[:, :1]}
BILINEAR = Image.Resampling.BILINEAR


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [8, 33, 96])
@pytest.mark.parametrize(
    "how", [{"resize": "crop"}, {"resize": "crop", "crop_share": 1.0}, {"resize": "pad"}]
)
def test_training_and_run_py_make_the_same_square(shape, size, how):
    image, reading = SHAPES[shape], Reading(**how)
    ours = fit_image(tf.constant(image), size, reading)
    theirs = run.fit(Image.fromarray(image), size, size, dataclasses.asdict(reading))
    assert ours.shape == theirs.shape == (size, size, 3)
    # Pillow rounds to a level after each of its two passes.
    assert np.abs(ours.numpy().astype(int) - theirs).max() <= 1


def test_crop_is_the_square_in_the_middle():
    # Of 40 columns 35, of 91 rows those from 28 on.
    found = fit_image(tf.constant(TALL), 35, Reading(resize="crop"))
    np.testing.assert_array_equal(found, TALL[28:63, 2:37])
    # 0.875 of 33 is 28.9: 29 columns, and what is left over rounded down before them.
    found = fit_image(tf.constant(TALL[:, :33]), 29, Reading(resize="crop"))
    np.testing.assert_array_equal(found, TALL[31:60, 2:31])
    found = fit_image(tf.constant(TALL), 10, Reading(resize="crop", crop_share=0.5)).numpy()
    expected = Image.fromarray(TALL[35:55, 10:30]).resize((10, 10), BILINEAR)
    assert np.abs(found.astype(int) - np.asarray(expected)).max() <= 1


def test_pad_keeps_the_shape_and_says_the_border():
    found = fit_image(tf.constant(TALL), 91, Reading(resize="pad", border=7)).numpy()
    np.testing.assert_array_equal(found[:, 25:65], TALL)
    assert (found[:, :25] == 7).all()
    assert (found[:, 65:] == 7).all()
    # 40 / 91 of 13 is 5.7: 6 columns of 13, and the odd one on the right.
    found = fit_image(tf.constant(TALL), 13, Reading(resize="pad")).numpy()
    expected = Image.fromarray(TALL).resize((6, 13), BILINEAR)
    assert np.abs(found[:, 3:9].astype(int) - np.asarray(expected)).max() <= 1
    assert (found[:, [0, 1, 2, 9, 10, 11, 12]] == 128).all()


@pytest.mark.parametrize("how", ["squash", "crop", "pad"])
def test_a_batch_is_made_squares_as_each_of_it(how):
    images = np.stack([COLOURS, 255 - COLOURS])
    found = fit_image(tf.constant(images), 16, Reading(resize=how))
    for image, square in zip(images, found, strict=True):
        np.testing.assert_array_equal(fit_image(tf.constant(image), 16, Reading(resize=how)), square)


def test_by_default_all_of_an_image_is_squashed():
    np.testing.assert_array_equal(fit_image(COLOURS, 9, Reading()), resize_image(COLOURS, 9))
