"""The corruptions of category digital: what processing and storing does to an image.

An image is float64 [height, width, 3] in [0, 1]; so is what comes back, before it is clipped.
"""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from evaluation.corruptions.scale import length_scale


def contrast(pixels: np.ndarray, _: np.random.Generator, factor: float) -> np.ndarray:
    """Compute mean + factor (x - mean), with the mean of each channel of the image."""
    mean = pixels.mean(axis=(0, 1))
    return mean + factor * (pixels - mean)


def elastic_transform(
    pixels: np.ndarray, generator: np.random.Generator, amplitude: float, smoothness: float, shift: float
) -> np.ndarray:
    """Shear the image, then displace its pixels by a smooth random field (Simard et al. 2003).

    The shear is the affine map that moves three corners of a square, a third of the shorter side
    from the centre, by up to `shift` along each axis. The field is noise, uniform in +-1, under a
    Gaussian of deviation `smoothness`, times `amplitude`. Both read the image bilinearly; OpenCV,
    of which the authors take the shear, rounds positions to 1/32 pixel, which is not done here.

    Args:
        pixels: see above.
        generator: of the corners and the field.
        amplitude: share of the shorter side.
        smoothness: share of the shorter side.
        shift: share of the shorter side.
    """
    side, size = min(pixels.shape[:2]), pixels.shape[:2]
    sheared = _read(pixels, _sheared_positions(size, shift * side, generator), mode="mirror")
    # The Gaussian takes the mean of more draws in a larger image, in proportion to its side, and
    # so makes the field smaller by that factor, which would leave displacements as at 32 pixels.
    displacement = amplitude * side * length_scale(pixels)
    field = ndimage.gaussian_filter(
        generator.uniform(-1, 1, (2, *size)), smoothness * side, truncate=3, axes=(1, 2)
    )
    return _read(sheared, np.indices(size) + displacement * field, mode="reflect")


def _sheared_positions(size: tuple[int, int], shift: float, generator: np.random.Generator) -> np.ndarray:
    """Find where each pixel comes from: rows and columns, float64 [2, height, width]."""
    height, width = size
    corners = np.array([[1, 1], [-1, 1], [-1, -1]]) * (min(size) // 3)
    corners += [height // 2, width // 2]
    moved = corners + generator.uniform(-shift, shift, corners.shape)
    # [row, column, 1] of a moved corner times this is where the corner was.
    back = np.linalg.solve(np.column_stack([moved, np.ones(3)]), corners)
    return np.einsum("ikl,ij->jkl", np.stack([*np.indices(size), np.ones(size)]), back)


def _read(pixels: np.ndarray, positions: np.ndarray, mode: str) -> np.ndarray:
    """Interpolate each channel bilinearly at `positions` [2, height, width]."""
    channels = [
        ndimage.map_coordinates(channel, positions, order=1, mode=mode)
        for channel in pixels.transpose(2, 0, 1)
    ]
    return np.stack(channels, axis=2)


def pixelate(pixels: np.ndarray, _: np.random.Generator, share: float) -> np.ndarray:
    """Shrink both sides to a `share`, rounded down, and enlarge again, both by Pillow's box."""
    image = _to_image(pixels)
    small = image.resize((int(image.width * share), int(image.height * share)), Image.Resampling.BOX)
    return _from_image(small.resize(image.size, Image.Resampling.BOX))


def jpeg_compression(pixels: np.ndarray, _: np.random.Generator, quality: int) -> np.ndarray:
    """Store the image as JPEG, by Pillow with colours at half the resolution, and read it."""
    stored = io.BytesIO()
    _to_image(pixels).save(stored, "JPEG", quality=quality)
    return _from_image(Image.open(stored))


def _to_image(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint(255 * pixels).astype(np.uint8))


def _from_image(image: Image.Image) -> np.ndarray:
    return np.asarray(image) / 255
