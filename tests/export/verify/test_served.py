"""A SavedModel that names other classes than the float network finds is refused."""

import numpy as np
import pytest
import scipy.special
import tensorflow as tf

from export.errors import ExportFailed
from export.verify.served import verify_answers

NAMES = ("red", "green", "blue")
IMAGES = np.random.default_rng(0).integers(0, 256, (5, 6, 6, 3), np.uint8)
SCORES = (IMAGES.mean((1, 2)) / 255).astype(np.float32)
"""What a network that looks at the mean of each channel would answer."""


def save(path, off: float = 0.0, names=NAMES, of_files=lambda pixels: pixels) -> None:
    def answer(pixels):
        means = tf.reduce_mean(tf.cast(pixels, tf.float32), (1, 2)) / 255
        best = tf.math.top_k(tf.nn.softmax(means), 2)
        probabilities = best.values + tf.constant([0.0, off])
        return {"classes": tf.gather(tf.constant(names), best.indices), "probabilities": probabilities}

    def decode(content):
        return tf.ensure_shape(tf.io.decode_png(content, channels=3), [6, 6, 3])

    module = tf.Module()
    module.pixels = tf.function(answer, input_signature=[tf.TensorSpec([None, 6, 6, 3], tf.uint8, "pixels")])
    module.files = tf.function(
        lambda images: answer(of_files(tf.map_fn(decode, images, fn_output_signature=tf.uint8))),
        input_signature=[tf.TensorSpec([None], tf.string, "images")],
    )
    signatures = {"serve_pixels": module.pixels, "serve_encoded": module.files}
    tf.saved_model.save(module, str(path), signatures)


def verify(folder, expected: np.ndarray = SCORES, output: str = "logits") -> None:
    verify_answers(folder / "saved_model", IMAGES, expected, NAMES, output, folder / "worst.npz")


def test_the_right_names_and_probabilities_pass(tmp_path):
    save(tmp_path / "saved_model")
    verify(tmp_path)
    verify(tmp_path, scipy.special.softmax(SCORES, axis=1), "probabilities")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"off": 1e-4}, "saved_model, serve_pixels, must give .* off by"),
        ({"names": ("green", "red", "blue")}, "saved_model, serve_pixels, must give .* off by"),
        ({"names": ("rot", "green", "blue")}, r"must name the run's classes; received b'rot'"),
        ({"of_files": lambda pixels: pixels[..., ::-1]}, "saved_model, serve_encoded, must give .* off by"),
    ],
    ids=["a probability", "two names exchanged", "an unknown name", "files read otherwise"],
)
def test_a_wrong_answer_is_refused(wrong, message, tmp_path):
    save(tmp_path / "saved_model", **wrong)
    with pytest.raises(ExportFailed, match=message):
        verify(tmp_path)
