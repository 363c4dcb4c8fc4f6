"""A linear head on the features of a network as it is: computed once, fitted in seconds."""

import keras
import numpy as np
import tensorflow as tf
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from pipeline.console.progress import Progress
from pipeline.models.names import HEAD

STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
"""Values of C that are tried, the inverse of the weight decay on standardised features."""

MAX_ITERATIONS = 300


def compute_features(network: keras.Model, batches: tf.data.Dataset, images: int) -> np.ndarray:
    """Compute what the head of a network sees.

    Args:
        network: one of `pipeline.models`.
        batches: images, labels and weights, as of `build_evaluation_batches`; copies come last.
        images: how many there are without copies.

    Returns:
        float32 [images, features].
    """
    body = keras.Model(network.input, network.get_layer(HEAD).input)

    # Of any number of images: the last batch of a split is a smaller one.
    @tf.function(input_signature=[tf.TensorSpec(network.input_shape, tf.uint8)])
    def compute(pixels: tf.Tensor) -> tf.Tensor:
        return tf.cast(body(pixels, training=False), tf.float32)

    found = []
    with Progress(images, "computing features", "images") as progress:
        for pixels, _, _ in batches:
            found.append(compute(pixels).numpy())
            progress.update(len(found[-1]))
    return np.concatenate(found)[:images]


def build_head(strength: float, balanced: bool) -> Pipeline:
    """Build a classifier of features: standardised, then multinomial logistic regression.

    Args:
        strength: the regression's C, above 0.
        balanced: whether the classes count alike, however many images they have.
    """
    weights = "balanced" if balanced else None
    regression = LogisticRegression(C=strength, class_weight=weights, max_iter=MAX_ITERATIONS)
    return make_pipeline(StandardScaler(), regression)


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
    heads = [
        build_head(strength, balanced).fit(train[0].astype(np.float64), train[1]) for strength in STRENGTHS
    ]
    unseen = validation[0].astype(np.float64)
    best = min(
        heads, key=lambda head: log_loss(validation[1], head.predict_proba(unseen), labels=head.classes_)
    )
    scaler, regression = best[0], best[-1]
    kernel, bias = regression.coef_.T, regression.intercept_
    if len(regression.classes_) == 2:
        # One logit, that of the second class: half of it for, half against.
        kernel, bias = kernel * [-0.5, 0.5], bias * [-0.5, 0.5]
    # The network's features are not standardised: the kernel is.
    kernel = kernel / scaler.scale_[:, None]
    return kernel.astype(np.float32), (bias - scaler.mean_ @ kernel).astype(np.float32)
