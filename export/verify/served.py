"""Whether a SavedModel names the classes that the float network finds, for pixels and for files."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import scipy.special
import tensorflow as tf

from export.errors import ExportFailed
from export.verify.logits import SAVED_MODEL_TOLERANCE, verify_close


def verify_answers(
    path: Path,
    images: np.ndarray,
    expected: np.ndarray,
    class_names: Sequence[str],
    output: str,
    worst_input: Path,
) -> None:
    """Check `serve_pixels` on images of the network's size, and `serve_encoded` on the same as PNG files.

    Args:
        path: what `export.convert.saved_model.export_saved_model` wrote.
        images: uint8 [images, height, width, 3].
        expected: float32 [images, classes], of the float network.
        class_names: label -> name.
        output: `logits` or `probabilities`, which `expected` are.
        worst_input: as for `verify_close`.

    Raises:
        ExportFailed: other probabilities, or a name beside the probability of another class.
    """
    probabilities = expected if output == "probabilities" else scipy.special.softmax(expected, axis=1)
    loaded = tf.saved_model.load(str(path))
    files = [tf.io.encode_png(image).numpy() for image in images]
    asked = {"serve_pixels": ("pixels", images), "serve_encoded": ("images", files)}
    for name, (takes, given) in asked.items():
        answers = loaded.signatures[name](**{takes: tf.constant(given)})
        answers = {key: tensor.numpy() for key, tensor in answers.items()}
        most = -np.sort(-probabilities, axis=1)[:, : answers["classes"].shape[1]]
        what = f"saved_model, {name},"
        verify_close(what, images, most, answers["probabilities"], SAVED_MODEL_TOLERANCE, worst_input)
        # Classes that are equally probable may come in either order.
        labels = _labels_of(name, answers["classes"], class_names)
        named = np.take_along_axis(probabilities, labels, axis=1)
        verify_close(what, images, named, answers["probabilities"], SAVED_MODEL_TOLERANCE, worst_input)


def _labels_of(signature: str, names: np.ndarray, class_names: Sequence[str]) -> np.ndarray:
    label_of = {name.encode(): label for label, name in enumerate(class_names)}
    unknown = set(names.reshape(-1).tolist()) - label_of.keys()
    if unknown:
        raise ExportFailed(
            f"saved_model, {signature}, must name the run's classes; received {unknown.pop()!r}"
        )
    return np.vectorize(label_of.__getitem__, otypes=[int])(names)
