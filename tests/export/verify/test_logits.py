"""A file whose scores are wrong is refused, and the image that shows it is kept."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from export.convert.saved_model import export_saved_model
from export.errors import ExportFailed
from export.verify.logits import verify_close, verify_float32, verify_saved_model

IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), np.uint8)
NAMES = ("cat", "dog", "owl", "yak")
SCORES = np.random.default_rng(1).uniform(-1, 1, (5, 4)).astype(np.float32)


def _off_at(image: int, label: int, distance: float) -> np.ndarray:
    received = SCORES.copy()
    received[image, label] += distance
    return received


def test_close_scores_pass_and_the_largest_difference_is_told(tmp_path):
    worst_input = tmp_path / "worst.npz"
    largest = verify_close("int8", IMAGES, SCORES, _off_at(2, 1, -0.01), 0.02, worst_input)
    # Scores of up to 1 in float32 are rounded by up to 6e-8.
    assert largest == pytest.approx(0.01, abs=1e-7)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("greatest", "limit"), [(0.25, 1e-3), (1.0, 1e-3), (-50.0, 5e-2)], ids=str)
def test_the_tolerance_grows_with_scores_beyond_one(greatest, limit, tmp_path):
    expected = np.full((5, 4), 0.125, np.float32)
    expected[0, 0] = greatest
    for share, passes in ((0.9, True), (1.1, False)):
        received = expected.copy()
        received[3, 2] += share * limit
        try:
            verify_close("float32", IMAGES, expected, received, 1e-3, tmp_path / "worst.npz")
            assert passes
        except ExportFailed:
            assert not passes


def test_the_message_says_what_where_and_how_far_in_one_line(tmp_path):
    worst_input = tmp_path / "worst.npz"
    received = _off_at(3, 2, -0.5)
    received[1, 0] += 0.25
    with pytest.raises(ExportFailed) as failure:
        verify_close("float16", IMAGES, SCORES, received, 0.125, worst_input)
    assert re.fullmatch(
        "float16 must .* within 0.125; .* image 3 are off by 0.5, see " + re.escape(str(worst_input)),
        str(failure.value),
    )


def test_the_worst_image_is_kept_with_its_scores(tmp_path):
    received = _off_at(3, 2, -0.5)
    received[1, 0] += 0.25
    worst_input = tmp_path / "run" / "failed" / "worst.npz"
    with pytest.raises(ExportFailed):
        verify_close("float16", IMAGES, SCORES, received, 1e-3, worst_input)
    kept = np.load(worst_input)
    np.testing.assert_array_equal(kept["image"], IMAGES[3:4])
    np.testing.assert_array_equal(kept["expected"], SCORES[3:4])
    np.testing.assert_array_equal(kept["received"], received[3:4])


@pytest.mark.parametrize(("height", "width", "factor"), [(6, 6, 43), (8, 6, 43), (5, 10, 52), (256, 300, 1)])
def test_the_worst_image_can_be_looked_at(height, width, factor, tmp_path):
    """Each pixel becomes a square, and neither side is shorter than 256."""
    shape = (5, height, width, 3)
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    with pytest.raises(ExportFailed):
        verify_close("int8", images, SCORES, _off_at(4, 0, 1), 1e-3, tmp_path / "worst.npz")
    shown = np.asarray(Image.open(tmp_path / "worst.png"))
    np.testing.assert_array_equal(shown, np.kron(images[4], np.ones((factor, factor, 1), int)))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("side", ["expected", "received", "both"])
def test_scores_that_are_not_finite_are_refused(side, value, tmp_path):
    expected, received = SCORES.copy(), _off_at(0, 0, 0.9)
    if side != "received":
        expected[2, 1] = value
    if side != "expected":
        received[2, 1] = value
    with pytest.raises(ExportFailed, match=r"within 1;.* image 2 are not all finite"):
        verify_close("float32", IMAGES, expected, received, 1.0, tmp_path / "worst.npz")
    np.testing.assert_array_equal(np.load(tmp_path / "worst.npz")["received"], received[2:3])


@pytest.mark.parametrize("shape", [(5, 3), (4, 4), (5, 1), (1, 4), (5, 4, 1)], ids=str)
def test_scores_of_another_shape_are_refused(shape, tmp_path):
    """Some of them NumPy would stretch to fit."""
    expected, received = np.zeros((5, 4), np.float32), np.zeros(shape, np.float32)
    with pytest.raises(ExportFailed) as failure:
        verify_close("float32", IMAGES, expected, received, 1.0, tmp_path / "worst.npz")
    assert f"shape (5, 4); received {shape}" in str(failure.value)
    np.testing.assert_array_equal(np.load(tmp_path / "worst.npz")["received"], received[:1])
    assert (tmp_path / "worst.png").exists()


@pytest.fixture(scope="module")
def network():
    x = pixels = keras.Input((6, 6, 3), name="pixels")
    x = layers.Rescaling(1 / 127.5, offset=-1.0, name="normalization")(x)
    x = layers.Conv2D(8, 3, padding="same", use_bias=False, name="stem_conv")(x)
    x = layers.BatchNormalization(epsilon=1e-3, name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    x = layers.GlobalAveragePooling2D(name="head_pool")(x)
    net = keras.Model(pixels, layers.Dense(4, name="head")(x), name="net")
    rng = np.random.default_rng(2)
    net.set_weights([rng.uniform(0.2, 0.8, w.shape) - 0.5 * (w.ndim > 1) for w in net.get_weights()])
    net.trainable = False
    return net


@pytest.fixture(scope="module")
def expected(network):
    """The network's formula in NumPy, float64."""
    kernel, scale, shift, mean, variance, weights, bias = network.get_weights()
    padded = np.pad(IMAGES / 127.5 - 1, ((0, 0), (1, 1), (1, 1), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(1, 2))
    convolved = np.einsum("nyxcij,ijco->nyxo", windows, kernel.astype(float))
    normed = (convolved - mean) / np.sqrt(variance + 1e-3) * scale + shift
    scores = np.maximum(normed, 0).mean(axis=(1, 2)) @ weights + bias
    return scores.astype(np.float32)


@pytest.fixture(scope="module")
def saved_model(network, tmp_path_factory):
    path = tmp_path_factory.mktemp("network") / "saved_model"
    export_saved_model(network, path, NAMES)
    return path


@pytest.fixture(scope="module")
def float32(network, converter_of):
    return converter_of(network).float32()


def _shifted(expected: np.ndarray, tolerances: float, tolerance: float) -> np.ndarray:
    shifted = expected.copy()
    shifted[2, 3] += tolerances * tolerance * max(1, np.abs(expected).max())
    return shifted


@pytest.mark.parametrize(
    ("verify", "file", "tolerance"),
    [(verify_saved_model, "saved_model", 1e-5), (verify_float32, "float32", 1e-4)],
)
def test_a_file_is_held_to_the_formula_of_its_network(verify, file, tolerance, expected, request, tmp_path):
    content, worst_input = request.getfixturevalue(file), tmp_path / "worst.npz"
    # Half of the tolerance is far above the rounding of sums of 27 terms, about 1e-6.
    near, far = (_shifted(expected, share, tolerance) for share in (0.5, 1.5))
    largest = verify(content, IMAGES, near, worst_input)
    shift = near[2, 3] - expected[2, 3]
    assert largest == pytest.approx(shift, abs=2e-6)
    with pytest.raises(ExportFailed, match=f"^{file}.*image 2"):
        verify(content, IMAGES, far, worst_input)
    np.testing.assert_array_equal(np.load(worst_input)["image"], IMAGES[2:3])


def _save(path, serve, shape=(None, 6, 6, 3), dtype=tf.uint8, name="pixels", key="serve"):
    module = tf.Module()
    module.serve = tf.function(serve, input_signature=[tf.TensorSpec(shape, dtype, name=name)])
    tf.saved_model.save(module, str(path), signatures={key: module.serve})


def _means(pixels: tf.Tensor) -> tf.Tensor:
    return tf.reduce_mean(tf.cast(pixels, tf.float32), (1, 2)) / 255


@pytest.mark.parametrize(("images", "message"), [(1, "one image at a time"), (5, "5 images at once")])
def test_a_saved_model_is_tried_with_one_image_and_with_all(images, message, tmp_path):
    def serve(pixels):
        wrong = tf.cast(tf.shape(pixels)[0] == images, tf.float32)
        return {"scores": _means(pixels) + wrong}

    _save(tmp_path / "saved_model", serve)
    expected = (IMAGES.mean((1, 2)) / 255).astype(np.float32)
    with pytest.raises(ExportFailed, match=message):
        verify_saved_model(tmp_path / "saved_model", IMAGES, expected, tmp_path / "worst.npz")


def test_a_saved_model_that_answers_for_no_image_is_refused(tmp_path):
    def serve(pixels):
        too_many = 1 - tf.minimum(tf.shape(pixels)[0], 1)
        return {"scores": tf.concat([_means(pixels), tf.zeros([too_many, 3])], 0)}

    _save(tmp_path / "saved_model", serve)
    expected = (IMAGES.mean((1, 2)) / 255).astype(np.float32)
    with pytest.raises(ExportFailed, match=r"no scores for no images; received \(1, 3\)"):
        verify_saved_model(tmp_path / "saved_model", IMAGES, expected, tmp_path / "worst.npz")


def test_the_largest_difference_of_a_saved_model_is_that_of_either_batch_size(tmp_path):
    def serve(pixels):
        off = tf.where(tf.shape(pixels)[0] == 1, 8e-6, 0.0)
        return {"scores": _means(pixels) + off}

    _save(tmp_path / "saved_model", serve)
    expected = (IMAGES.mean((1, 2)) / 255).astype(np.float32)
    largest = verify_saved_model(tmp_path / "saved_model", IMAGES, expected, tmp_path / "w.npz")
    # Means below 1 in float32 are rounded by about 1e-7.
    assert largest == pytest.approx(8e-6, abs=1e-6)


@pytest.mark.parametrize(
    "other",
    [
        {"key": "classify"},
        {"name": "images"},
        {"dtype": tf.float32},
        {"shape": (5, 6, 6, 3)},
        {"shape": (None, None, None, 3)},
        {"output": "logits"},
    ],
    ids=str,
)
def test_a_saved_model_with_another_signature_is_refused(other, tmp_path):
    output = other.pop("output", "scores")
    _save(tmp_path / "saved_model", lambda pixels: {output: _means(pixels)}, **other)
    expected = (IMAGES.mean((1, 2)) / 255).astype(np.float32)
    with pytest.raises(ExportFailed, match="must have the signature serve"):
        verify_saved_model(tmp_path / "saved_model", IMAGES, expected, tmp_path / "worst.npz")
