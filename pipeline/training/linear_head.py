"""A linear head on the features of a network as it is: computed once, fitted in seconds."""

from collections.abc import Mapping
from typing import NamedTuple

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from pipeline.console.progress import Progress
from pipeline.models.names import HEAD

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of C, the inverse of the weight decay, that are tried on features of mean variance 1."""

MAX_ITERATIONS = 1000


def compute_features(
    network: keras.Model, splits: Mapping[str, tuple[tf.data.Dataset, int]]
) -> dict[str, np.ndarray]:
    """Compute what the head of a network sees of each image.

    Args:
        network: one of `pipeline.models`.
        splits: name -> batches, as of `build_evaluation_batches`, copies last, and how many images
            there are without copies.

    Returns:
        Name -> float32 [images, features].
    """
    body = keras.Model(network.input, network.get_layer(HEAD).input)

    # Of any number of images: the last batch of a split is a smaller one.
    @tf.function(input_signature=[tf.TensorSpec(network.input_shape, tf.uint8)])
    def compute(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(body(pixels, training=False), tf.float32)

    features = {}
    with Progress(sum(images for _, images in splits.values()), "computing features", "images") as progress:
        for split, (batches, images) in splits.items():
            found = []
            for pixels, _, _ in batches:
                found.append(compute(pixels).numpy())
                progress.update(len(found[-1]))
            features[split] = np.concatenate(found)[:images]
    return features


class Scale(NamedTuple):
    """Where features lie, float64 [features], and how far they spread, one number for all of them.

    Each by its own spread, those that hardly vary would get kernels of thousands, which int8 and
    further training cannot carry.
    """

    centre: np.ndarray
    spread: float

    def apply(self, features: np.ndarray) -> np.ndarray:
        """Return features around 0 and of mean variance 1, float64, as L-BFGS likes them."""
        return (features - self.centre) / self.spread


def measure_scale(features: np.ndarray) -> Scale:
    """Measure features, float32 [images, features]."""
    variance = features.var(axis=0, dtype=np.float64).mean()
    return Scale(features.mean(axis=0, dtype=np.float64), float(np.sqrt(variance)) or 1.0)


def build_heads(*, balanced: bool) -> list[LogisticRegression]:
    """Build multinomial logistic regressions, one a strength of the penalty, for scaled features.

    Args:
        balanced: whether the classes count alike, however many images they have.
    """
    weights = "balanced" if balanced else None
    return [LogisticRegression(C=c, class_weight=weights, max_iter=MAX_ITERATIONS) for c in STRENGTHS]


def fit_linear_head(
    train: tuple[np.ndarray, np.ndarray], validation: tuple[np.ndarray, np.ndarray], *, balanced: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Fit a head by multinomial logistic regression; validation chooses how much it is held back.

    Alain & Bengio 2016, arXiv:1610.01644, call it a linear probe; Kornblith, Shlens & Le 2019,
    arXiv:1805.08974, section 3, fit it so, by L-BFGS with an L2 penalty chosen on validation.

    Args:
        train: features, float32 [images, features], and labels, int64 [images], of every class.
        validation: the same of other images.
        balanced: whether the classes count alike, however many images they have.

    Returns:
        The kernel, float32 [features, classes], and the bias, float32 [classes], of the fit whose
        cross-entropy on validation is the least.
    """
    scale = measure_scale(train[0])
    seen, unseen = scale.apply(train[0]), scale.apply(validation[0])
    heads = [head.fit(seen, train[1]) for head in build_heads(balanced=balanced)]
    best = min(
        heads, key=lambda head: log_loss(validation[1], head.predict_proba(unseen), labels=head.classes_)
    )
    kernel, bias = best.coef_.T, best.intercept_
    if len(best.classes_) == 2:
        # One logit, that of the second class: half of it for, half against.
        kernel, bias = kernel * [-0.5, 0.5], bias * [-0.5, 0.5]
    kernel = kernel / scale.spread
    return kernel.astype(np.float32), (bias - scale.centre @ kernel).astype(np.float32)
