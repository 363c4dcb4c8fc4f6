"""The gallery: what is said of an image, and that its image is this very image."""

import numpy as np
import pytest

from evaluation.page.gallery import Gallery
from tests.evaluation.made_up import answers_of, build_data, images_of

NAMES = ("ant", "bee", "cat")
LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
SPLITS = {"validation": [7, 1], "calibration": [4], "test": [9, 2, 5]}
IMAGES = images_of(10)


@pytest.fixture
def gallery() -> Gallery:
    return Gallery(build_data(LABELS, SPLITS, NAMES))


def test_an_image_is_described_by_what_is_true_and_what_was_answered(gallery):
    rows = np.array([5, 7, 0, 4])
    answers = answers_of([2, 1, 0, 1], [[0.1, 0.6, 0.3], [0, 1, 0], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25]])
    found = gallery.describe(rows, answers)
    described = [(each["row"], each["split"], each["label"], each["predicted"]) for each in found]
    assert described == [
        (5, "test", "cat", "bee"),
        (7, "validation", "bee", "bee"),
        (0, "train", "ant", "cat"),
        (4, "calibration", "bee", "ant"),
    ]
    # Logarithms in float32.
    assert [each["confidence"] for each in found] == pytest.approx([0.6, 1, 0.5, 0.5], abs=1e-6)
    assert [each["path"] for each in found] == [None] * 4
    for each in found:
        np.testing.assert_array_equal(gallery.images[each["images"]["image"]], IMAGES[each["row"]])


def test_an_image_that_is_a_file_is_described_by_its_path():
    gallery = Gallery(build_data(LABELS, SPLITS, NAMES, [f"in/{row}.png" for row in range(10)]))
    found = gallery.describe(np.array([9, 3]), answers_of([0, 0], [[1, 0, 0], [1, 0, 0]]))
    assert [each["path"] for each in found] == ["in/9.png", "in/3.png"]


def test_views_are_kept_beside_their_image(gallery):
    rows, views = np.array([2, 9]), np.zeros((2, 8, 8, 3), np.uint8)
    views[0], views[1] = 10, 20
    found = gallery.describe(rows, answers_of([2, 0], np.eye(3)[[2, 0]]), {"int8": views})
    assert [list(each["images"]) for each in found] == [["image", "int8"]] * 2
    for place, each in enumerate(found):
        np.testing.assert_array_equal(gallery.images[each["images"]["image"]], IMAGES[rows[place]])
        np.testing.assert_array_equal(gallery.images[each["images"]["int8"]], views[place])


def test_a_view_of_an_image_is_not_that_of_the_same_name_elsewhere(gallery):
    row, answers = np.array([2]), answers_of([2], [[0, 0, 1]])
    views = [np.full((1, 8, 8, 3), colour, np.uint8) for colour in (10, 20)]
    found = [gallery.describe(row, answers, {"int8": view})[0]["images"] for view in views]
    for images, view in zip(found, views, strict=True):
        np.testing.assert_array_equal(gallery.images[images["int8"]], view[0])
        np.testing.assert_array_equal(gallery.images[images["image"]], IMAGES[2])


def test_no_image(gallery):
    nothing = np.zeros(0, np.int64)
    assert gallery.describe(nothing, answers_of([], np.zeros((0, 3)))) == []
    assert gallery.images == {}
    assert gallery.load(nothing).shape == (0, 8, 8, 3)


def test_class_names(gallery):
    assert gallery.class_names == NAMES
