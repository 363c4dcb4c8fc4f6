"""Images that the tests of the corruptions share."""

import numpy as np
from scipy import ndimage

from evaluation.corruptions.corrupt import CORRUPTIONS

SIZES = [(8, 8), (32, 32), (224, 224), (48, 32)]

FIXED = ["defocus_blur", "zoom_blur", "brightness", "contrast", "pixelate", "jpeg_compression"]
"""The corruptions that draw nothing."""

DRAWN = [name for name in CORRUPTIONS if name not in FIXED]


def smooth_images(count: int, height: int, width: int) -> np.ndarray:
    """Draw coloured blobs, uint8 [count, height, width, 3], some values clipped at 0 and 255."""
    noise = np.random.default_rng(7).standard_normal((count, height, width, 3))
    blobs = ndimage.gaussian_filter(noise, (0, 1.5, 1.5, 0))
    return np.clip(128 + 50 * blobs / blobs.std(), 0, 255).astype(np.uint8)


def impulse(side: int) -> np.ndarray:
    """Return a black float image [side, side, 3] whose middle pixel is white."""
    image = np.zeros((side, side, 3))
    image[side // 2, side // 2] = 1
    return image


def coordinates(side: int) -> np.ndarray:
    """Return float [side, side, 3] whose channels are the row, the column and 0, in pixels."""
    return np.stack([*np.indices((side, side)), np.zeros((side, side))], axis=2).astype(float)
