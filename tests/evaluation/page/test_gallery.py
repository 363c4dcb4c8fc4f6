"""The gallery: what is said of an image, and that its image is this very image."""

import json

import numpy as np
import pytest

from evaluation.page.gallery import describe_images, load_rows, name_images
from tests.evaluation.made_up import answers_of, build_data, images_of

NAMES = ("ant", "bee", "cat")
LABELS = [0, 1, 2, 0, 1, 2, 0, 1, 2, 0]
SPLITS = {"validation": [7, 1], "calibration": [4], "test": [9, 2, 5]}
IMAGES = images_of(10)


DATA = build_data(LABELS, SPLITS, NAMES)


def test_an_image_is_described_by_what_is_true_and_what_was_answered():
    rows = np.array([5, 7, 0, 4])
    answers = answers_of([2, 1, 0, 1], [[0.1, 0.6, 0.3], [0, 1, 0], [0.25, 0.25, 0.5], [0.5, 0.25, 0.25]])
    found = describe_images(DATA, rows, answers)
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
        np.testing.assert_array_equal(each["images"]["image"].values, IMAGES[each["row"]])


def test_an_image_that_is_a_file_is_described_by_its_path():
    data = build_data(LABELS, SPLITS, NAMES, [f"in/{row}.png" for row in range(10)])
    found = describe_images(data, np.array([9, 3]), answers_of([0, 0], [[1, 0, 0], [1, 0, 0]]))
    assert [each["path"] for each in found] == ["in/9.png", "in/3.png"]


def test_views_are_kept_beside_their_image():
    rows, views = np.array([2, 9]), np.zeros((2, 8, 8, 3), np.uint8)
    views[0], views[1] = 10, 20
    found = describe_images(DATA, rows, answers_of([2, 0], np.eye(3)[[2, 0]]), {"int8": views})
    assert [list(each["images"]) for each in found] == [["image", "int8"]] * 2
    for place, each in enumerate(found):
        np.testing.assert_array_equal(each["images"]["image"].values, IMAGES[rows[place]])
        np.testing.assert_array_equal(each["images"]["int8"].values, views[place])


def test_a_view_of_an_image_is_not_that_of_the_same_name_elsewhere():
    row, answers = np.array([2]), answers_of([2], [[0, 0, 1]])
    views = [np.full((1, 8, 8, 3), colour, np.uint8) for colour in (10, 20)]
    described = {"first": views[0].sum().item(), "galleries": []}
    for view in views:
        described["galleries"].append({"shown": describe_images(DATA, row, answers, {"int8": view})})
    named, images = name_images(described)
    assert named["first"] == described["first"]
    assert list(images) == ["0: image of 2", "1: int8 of 2", "2: image of 2", "3: int8 of 2"]
    for gallery, view in zip(named["galleries"], views, strict=True):
        shown = gallery["shown"][0]["images"]
        np.testing.assert_array_equal(images[shown["int8"]], view[0])
        np.testing.assert_array_equal(images[shown["image"]], IMAGES[2])
    json.dumps(named)


def test_no_image():
    nothing = np.zeros(0, np.int64)
    assert describe_images(DATA, nothing, answers_of([], np.zeros((0, 3)))) == []
    assert name_images({"ranked": []}) == ({"ranked": []}, {})
    assert load_rows(DATA, nothing).shape == (0, 8, 8, 3)
