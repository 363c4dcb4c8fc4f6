"""The head that logistic regression finds, held to scikit-learn's own pipeline."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from pipeline.training.linear_head import STRENGTHS, fit_linear_head


def clouds(classes: int, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Features around the classes' corners, of unlike scales and places; few of the last class."""
    generator = np.random.default_rng(seed)
    share = np.where(np.arange(classes) == classes - 1, 0.3, 1.0)
    labels = np.r_[np.arange(classes), generator.choice(classes, images - classes, p=share / share.sum())]
    spread = generator.normal(size=(images, 6)) + 1.2 * np.eye(classes, 6)[labels]
    return (spread * [1, 3, 0.3, 1, 2, 1] + [0, 3, -2, 0, 9, 7]).astype(np.float32), labels


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("balanced", [False, True])
def test_the_head_is_the_regression_that_validates_best(classes, balanced):
    train, validation = clouds(classes, 60, seed=1), clouds(classes, 80, seed=2)
    kernel, bias = fit_linear_head(train, validation, balanced=balanced)
    weights = "balanced" if balanced else None
    seen, unseen = (features.astype(np.float64) for features, _ in (train, validation))
    scale = np.sqrt(seen.var(axis=0).mean())
    fits = [
        LogisticRegression(C=strength, class_weight=weights, solver="newton-cg", tol=1e-9).fit(
            seen / scale, train[1]
        )
        for strength in STRENGTHS
    ]
    losses = [log_loss(validation[1], fit.predict_proba(unseen / scale)) for fit in fits]
    expected = fits[np.argmin(losses)].predict_proba(unseen / scale)
    # L-BFGS stops where the gradient is 1e-4; this one went to 1e-9.
    np.testing.assert_allclose(softmax(validation[0] @ kernel + bias, axis=-1), expected, atol=2e-3)
    assert (kernel.dtype, bias.dtype) == (np.float32, np.float32)


def test_a_feature_that_hardly_varies_gets_no_large_kernel():
    """By its own scale it would get one of thousands, which int8 cannot carry."""
    features, labels = clouds(3, 40, seed=3)
    features[:, 2] = 1e-5 * features[:, 2]
    kernel, _ = fit_linear_head((features, labels), clouds(3, 40, seed=4), balanced=False)
    assert np.abs(kernel[2]).max() < 1e-3
