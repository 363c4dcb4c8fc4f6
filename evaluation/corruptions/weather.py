"""The corruptions of category weather: something lies between the image and the camera.

An image is float64 [height, width, 3] in [0, 1]; so is what comes back, before it is clipped.
"""

import math

import numpy as np

from evaluation.corruptions.blur import blur_along_line, enlarge
from evaluation.corruptions.plasma import plasma
from evaluation.corruptions.scale import length_scale

LUMA = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in grey, ITU-R BT.601."""

FROST_COLOUR = np.array([0.90, 1.01, 1.09])
"""Red, green and blue of frost in shares of their mean."""

FROST_BRIGHTNESS = (0.4, 0.9)
FROST_CONTRAST = 0.28
FROST_DECAY = 1.35


def snow(
    image: np.ndarray,
    generator: np.random.Generator,
    mean: float,
    deviation: float,
    flake: float,
    threshold: float,
    radius: float,
    blur: float,
    visibility: float,
) -> np.ndarray:
    """Whiten the image and add flakes that fall: what of a field of noise is above a threshold.

    visibility x + (1 - visibility) max(x, 1.5 grey(x) + 0.5) + flakes + flakes turned by 180
    degrees, where the flakes are blurred along a line at an angle in -135 to -45 degrees.

    Args:
        image: see above.
        generator: of the flakes and their angle.
        mean: of the noise.
        deviation: of the noise.
        flake: size of a flake, pixels of an image of 32; no less than a pixel.
        threshold: where noise is below, there is no flake.
        radius: of the motion blur, pixels of an image of 32.
        blur: its standard deviation, pixels of an image of 32.
        visibility: weight of the image.
    """
    scale = length_scale(image)
    flakes = mean + deviation * generator.standard_normal(image.shape[:2])
    flakes = enlarge(flakes, max(1.0, scale * flake))
    flakes = np.where(flakes < threshold, 0, np.clip(flakes, 0, 1))
    angle = math.radians(generator.uniform(-135, -45))
    flakes = blur_along_line(flakes, scale * radius, scale * blur, angle)
    whitened = np.maximum(image, (image @ LUMA * 1.5 + 0.5)[:, :, None])
    lit = visibility * image + (1 - visibility) * whitened
    return lit + (flakes + np.rot90(flakes, 2))[:, :, None]


def frost(image: np.ndarray, generator: np.random.Generator, visibility: float, cover: float) -> np.ndarray:
    """Compute visibility x + cover frost, with frost that is drawn: A SUBSTITUTE.

    The authors blend crops of photographs of frost, which do not come with this project, so figures
    on this corruption do not compare with those of CIFAR-10-C; weights are as published.
    """
    height, width = image.shape[:2]
    return visibility * image + cover * frost_texture(height, width, generator)


def frost_texture(height: int, width: int, generator: np.random.Generator) -> np.ndarray:
    """Draw bluish white ridges of a fractal: float64 [height, width, 3].

    Brightness, contrast and colour are about those of crops of the authors' photographs: a mean of
    0.4 to 0.9 from crop to crop and a deviation of 0.06 within one.
    """
    ridges = 1 - np.abs(2 * plasma(height, width, FROST_DECAY, generator) - 1)
    crystals = generator.uniform(*FROST_BRIGHTNESS) + FROST_CONTRAST * (ridges - ridges.mean())
    return np.clip(crystals[:, :, None] * FROST_COLOUR, 0, 1)


def fog(image: np.ndarray, generator: np.random.Generator, density: float, decay: float) -> np.ndarray:
    """Compute (x + density plasma) max(x) / (max(x) + density): a haze in a fractal's shape."""
    height, width = image.shape[:2]
    haze = plasma(height, width, decay, generator)[:, :, None]
    return (image + density * haze) * image.max() / (image.max() + density)


def brightness(image: np.ndarray, _: np.random.Generator, gain: float) -> np.ndarray:
    """Add `gain` to the value V of HSV, at most to 1; hue and saturation stay.

    At a constant hue and saturation red, green and blue are in proportion to V = max(r, g, b), so
    that is a factor of V' / V for them; black, which has no saturation, becomes grey.
    """
    value = image.max(axis=2, keepdims=True)
    brighter = np.minimum(value + gain, 1)
    return np.where(value > 0, image * brighter / np.where(value > 0, value, 1), brighter)
