"""The corruptions of category blur: each pixel becomes a mean of its neighbours.

An image is float64 [height, width, 3] in [0, 1]; so is what comes back, before it is clipped.
Radii and standard deviations are in pixels of an image of 32, see `length_scale`.
"""

import functools
import math

import numpy as np
from scipy import ndimage

from evaluation.corruptions.scale import length_scale


def defocus_blur(image: np.ndarray, _: np.random.Generator, radius: float, deviation: float) -> np.ndarray:
    """Spread each pixel over a disk, as a lens does that is out of focus; edges mirror."""
    kernel = disk(radius, deviation, length_scale(image))
    return ndimage.correlate(image, kernel[:, :, None], mode="mirror")


@functools.cache
def disk(radius: float, deviation: float, scale: float) -> np.ndarray:
    """Compute the pixels within `radius` of the centre, smoothed by a Gaussian, of sum 1.

    The Gaussian ends one pixel from its centre, or two for disks of more than 8, so as in the
    authors' script; times `scale`, since at 32 pixels it does more of the blur than the disk.

    Returns:
        float64 [side, side], side odd.
    """
    radius, deviation, reach = scale * radius, scale * deviation, max(1, round(scale))
    offsets = np.arange(-math.floor(radius) - reach, math.floor(radius) + reach + 1)
    inside = offsets[:, None] ** 2 + offsets**2 <= radius**2
    smooth = ndimage.gaussian_filter(inside / inside.sum(), deviation, radius=reach)
    return smooth / smooth.sum()


def glass_blur(
    image: np.ndarray, generator: np.random.Generator, deviation: float, reach: float, rounds: int
) -> np.ndarray:
    """Look through frosted glass: a Gaussian blur, pixels displaced, and the blur once more.

    In each round a pixel takes the value of one that is -reach to reach - 1 rows and columns off,
    drawn uniformly; the outermost `reach` rows and columns (one more above and left) stay. The
    paper speaks of swaps. Those of the authors' script go through NumPy views and only ever copy;
    for its reach of 1 pixel, copying one after the other and all at once are the same.
    """
    scale = length_scale(image)
    blur = functools.partial(ndimage.gaussian_filter, sigma=scale * deviation, mode="nearest", axes=(0, 1))
    reach = max(1, round(scale * reach))
    height, width = image.shape[:2]
    moving = np.mgrid[reach + 1 : height - reach + 1, reach + 1 : width - reach + 1]
    glass = blur(image)
    for _ in range(rounds):
        rows, columns = moving + generator.integers(-reach, reach, moving.shape)
        glass[tuple(moving)] = glass[rows, columns]
    return blur(glass)


def motion_blur(
    image: np.ndarray, generator: np.random.Generator, radius: float, deviation: float
) -> np.ndarray:
    """Blur along a line at an angle uniform in +-45 degrees, as a camera that moves does."""
    angle = math.radians(generator.uniform(-45, 45))
    scale = length_scale(image)
    return blur_along_line(image, scale * radius, scale * deviation, angle)


def blur_along_line(image: np.ndarray, radius: float, deviation: float, angle: float) -> np.ndarray:
    """Compute sum_i k_i x(p + offset_i), i = 0 .. 2 ceil(radius): ImageMagick's MotionBlurImage.

    k is the falling half of a Gaussian, of sum 1, and offset_i the pixel nearest to i times
    (cos angle, sin angle), x to the right and y down; edges repeat. ImageMagick rounds to its 8 or
    16 bits, which is not done here.

    Args:
        image: [height, width, ...].
        radius: pixels.
        deviation: of the Gaussian, pixels.
        angle: radians.
    """
    steps = np.arange(2 * math.ceil(radius) + 1)
    weights = np.exp(-(steps**2) / (2 * deviation**2))
    weights /= weights.sum()
    reach = len(steps) - 1
    rows, columns = (
        reach + np.ceil(steps * slope - 0.5).astype(int) for slope in (math.sin(angle), math.cos(angle))
    )
    height, width = image.shape[:2]
    margins = [(reach, reach)] * 2 + [(0, 0)] * (image.ndim - 2)
    padded = np.pad(image, margins, mode="edge")
    blurred = np.zeros_like(image)
    for weight, row, column in zip(weights, rows, columns, strict=True):
        blurred += weight * padded[row : row + height, column : column + width]
    return blurred


def zoom_blur(image: np.ndarray, _: np.random.Generator, limit: float) -> np.ndarray:
    """Compute the mean of the image and of its enlargements by 1, 1.01, ... `limit`.

    A camera sees that which moves towards what it photographs. The range's last factor is subject
    to rounding, which is left as it is in the authors' script.
    """
    factors = np.arange(1, limit, 0.01)
    channels = np.ascontiguousarray(image.transpose(2, 0, 1))
    total = channels + sum(enlarge(channels, float(factor)) for factor in factors)
    return total.transpose(1, 2, 0) / (len(factors) + 1)


def enlarge(channels: np.ndarray, factor: float) -> np.ndarray:
    """Enlarge the centre of [..., height, width] linearly to the same size; factor at least 1."""
    height, width = channels.shape[-2:]
    return _enlargement(height, factor) @ channels @ _enlargement(width, factor).T


@functools.cache
def _enlargement(length: int, factor: float) -> np.ndarray:
    """Compute the weights of linear interpolation, float64 [length, length]; rows sum to 1.

    The middle ceil(length / factor) pixels are drawn out to round(factor) times as many, first on
    first and last on last; what is then too long is cut off on both sides.
    """
    kept = math.ceil(length / factor)
    enlarged = round(kept * factor)
    first, cut = (length - kept) // 2, (enlarged - length) // 2
    positions = first + np.linspace(0, kept - 1, enlarged)[cut : cut + length]
    return np.maximum(0, 1 - np.abs(positions[:, None] - np.arange(length)))
