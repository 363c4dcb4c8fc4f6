"""The corruptions of category noise: each value of an image is drawn anew, on its own.

An image is float64 [height, width, 3] in [0, 1]; so is what comes back, before it is clipped.
"""

import numpy as np


def gaussian_noise(image: np.ndarray, generator: np.random.Generator, deviation: float) -> np.ndarray:
    """Compute x + N(0, deviation^2): thermal noise of a sensor in low light."""
    return image + deviation * generator.standard_normal(image.shape)


def shot_noise(image: np.ndarray, generator: np.random.Generator, photons: float) -> np.ndarray:
    """Compute Poisson(photons x) / photons: light comes in quanta, `photons` at full brightness."""
    return generator.poisson(photons * image) / photons


def impulse_noise(image: np.ndarray, generator: np.random.Generator, share: float) -> np.ndarray:
    """Set a `share` of the values to 0 or 1, as likely the one as the other; salt and pepper.

    Each channel is drawn on its own, so that impulses are coloured.
    """
    draws = generator.random(image.shape)
    return np.where(draws < share / 2, 0.0, np.where(draws >= 1 - share / 2, 1.0, image))
