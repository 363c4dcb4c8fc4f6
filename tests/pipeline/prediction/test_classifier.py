"""`load_classifier`: images in every form, decoded as in training."""

import numpy as np
import pytest
from PIL import Image

from pipeline import load_classifier
from pipeline.errors import UserError
from tests.encodings import ENCODED
from tests.prediction_samples import digits


@pytest.fixture(scope="module")
def classify(digits_run):
    return load_classifier(digits_run)


def test_forms_of_one_image_are_one_image(classify, tmp_path):
    image = digits()[0][7]
    path = tmp_path / "seven.png"
    Image.fromarray(image).save(path)
    opaque = np.dstack([image, np.full((8, 8), 255, np.uint8)])
    forms = [
        path,
        str(path),
        path.read_bytes(),
        Image.open(path),
        Image.fromarray(image).convert("L"),
        image,
        image[..., 0],
        opaque,
    ]
    answers = classify(forms)
    assert answers.classes == ["7"] * len(forms)
    assert answers.probabilities.shape == (len(forms), 10)
    assert answers.probabilities.dtype == np.float32
    np.testing.assert_allclose(answers.probabilities.sum(axis=1), 1, atol=1e-6)
    for form, row in zip(forms, answers.probabilities, strict=True):
        # A batch of one may be computed in another order.
        np.testing.assert_allclose(row, answers.probabilities[0], atol=1e-6)
        np.testing.assert_allclose(classify(form).probabilities, [row], atol=1e-6)


def test_many_images_are_answered_in_order(classify):
    images, labels = digits()
    many = np.concatenate([images] * 5)
    answers = classify(many)
    assert len(many) > 128
    assert np.mean(np.array(answers.classes, int) == np.tile(labels, 5)) > 0.9
    assert classify([]).probabilities.shape == (0, 10)


def test_transparency_is_white_as_in_training(classify):
    image = digits()[0][3]
    see_through = np.dstack([255 - image, np.zeros((8, 8), np.uint8)])
    white = np.full((20, 30, 3), 255, np.uint8)
    found = classify([see_through, white]).probabilities
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


@pytest.mark.parametrize(
    "name",
    [
        "RGB plain.jpg",
        "16-bit grey.png",
        "RGBA.png",
        "P.gif",
        "CMYK plain.jpg",
        "RGB upside down.jpg",
        "upside down.png",
    ],
)
def test_a_file_and_the_same_opened_by_pillow_get_the_same_answer(classify, name, tmp_path):
    path = tmp_path / name
    path.write_bytes(ENCODED[name])
    with Image.open(path) as opened:
        from_file, from_pillow = classify([path, opened]).probabilities
    # The two decoders of JPEG round otherwise, by a level or two of 255.
    np.testing.assert_allclose(from_file, from_pillow, atol=0.02)


@pytest.mark.parametrize("mode", ["PA", "RGBa", "La"])
def test_transparency_is_white_in_every_mode_of_pillow(classify, mode):
    grey = digits()[0][3][..., 0]
    alpha = np.where(grey < 100, 0, 255).astype(np.uint8)
    seen = Image.merge("LA", [Image.fromarray(grey), Image.fromarray(alpha)])
    expected = np.where(alpha == 0, 255, grey)[..., np.newaxis].repeat(3, axis=2)
    through = {"PA": "P", "RGBa": "RGBA", "La": "LA"}[mode]
    image = seen.convert(through).convert(mode)
    if mode == "PA":
        image.putalpha(Image.fromarray(alpha))
    np.testing.assert_array_equal(classify.read(image), expected)


def test_deep_grey_keeps_its_high_byte_in_every_order_of_bytes(classify):
    samples = np.arange(0, 2**16, 1024).reshape(8, 8)
    for mode, kind in (("I;16", "<u2"), ("I;16B", ">u2")):
        image = Image.frombytes(mode, (8, 8), samples.astype(kind).tobytes())
        expected = (samples // 256)[..., np.newaxis].repeat(3, axis=2)
        np.testing.assert_array_equal(classify.read(image), expected)


@pytest.mark.parametrize("image", [None, 7, np.uint8(7), np.zeros((), np.uint8)])
def test_what_is_neither_an_image_nor_several_is_refused(classify, image):
    with pytest.raises(UserError, match=r"must be a path, an array or Pillow's|must be uint8"):
        classify(image)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((8, 8, 3), np.float32), "received float32 [8, 8, 3]"),
        (np.zeros((8, 8, 2), np.uint8), "received uint8 [8, 8, 2]"),
        (np.zeros((0, 8, 3), np.uint8), "received uint8 [0, 8, 3]"),
        (Image.new("F", (8, 8)), "received Pillow's mode 'F'"),
        (7, "received int"),
        ("nowhere.png", "nowhere.png: unreadable: No such file or directory"),
        ("a\0b.png", "unreadable: stat: embedded null character in path"),
    ],
)
def test_what_is_no_image_is_refused(classify, image, message):
    with pytest.raises(UserError, match=message.replace("[", r"\[")):
        classify([image])
