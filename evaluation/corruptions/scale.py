"""How lengths that were published for images of 32 pixels fit images of other sizes."""

import numpy as np

PUBLISHED_SIDE = 32
"""Height and width of the images that the parameters were published for, pixels."""


def length_scale(image: np.ndarray) -> float:
    """Compute min(height, width) / 32, the factor of every length in pixels.

    A blur's radius and standard deviation, a displacement and the size of a snowflake are lengths,
    so a corruption covers the same share of an image of any size. What is no length stays as
    published: noise per pixel, weights of a blend, zoom factors, shares and JPEG quality. A fractal
    needs no factor, because its largest structure is as large as the image. Images of 8 pixels
    therefore see next to no blur: its published radii are a fraction of a pixel there.

    Args:
        image: [height, width, ...].
    """
    return min(image.shape[:2]) / PUBLISHED_SIDE
