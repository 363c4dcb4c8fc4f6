"""The 15 image corruptions of CIFAR-10-C at their 5 severities.

After Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common Corruptions and
Perturbations" (arXiv:1903.12261), section 3 and figure 1, with the parameters of the authors'
script that made CIFAR-10-C (github.com/hendrycks/robustness, make_cifar_c.py).
"""

import zlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from evaluation.corruptions.blur import defocus_blur, glass_blur, motion_blur, zoom_blur
from evaluation.corruptions.digital import contrast, elastic_transform, jpeg_compression, pixelate
from evaluation.corruptions.noise import gaussian_noise, impulse_noise, shot_noise
from evaluation.corruptions.weather import brightness, fog, frost, snow

SEVERITIES = (1, 2, 3, 4, 5)

BATCH = 128

Corrupted = Callable[[str, int], tuple[Iterable[np.ndarray], np.ndarray]]
"""Corruption and severity -> batches, uint8 [batch, height, width, 3] each, and all labels."""


@dataclass(frozen=True)
class Corruption:
    """One way to spoil an image.

    Attributes:
        category: noise, blur, weather or digital.
        distort: an image float64 [height, width, 3] in [0, 1], a generator and the parameters ->
            float64 [height, width, 3], not yet clipped.
        parameters: name of a parameter of `distort` -> its values, one a severity.
    """

    category: str
    distort: Callable[..., np.ndarray]
    parameters: dict[str, tuple[float, ...]]

    def parameters_at(self, severity: int) -> dict[str, float]:
        """Return the value of each parameter at one of `SEVERITIES`."""
        return {name: values[severity - 1] for name, values in self.parameters.items()}


CORRUPTIONS: dict[str, Corruption] = {
    "gaussian_noise": Corruption("noise", gaussian_noise, {"deviation": (0.04, 0.06, 0.08, 0.09, 0.10)}),
    "shot_noise": Corruption("noise", shot_noise, {"photons": (500, 250, 100, 75, 50)}),
    "impulse_noise": Corruption("noise", impulse_noise, {"share": (0.01, 0.02, 0.03, 0.05, 0.07)}),
    "defocus_blur": Corruption(
        "blur", defocus_blur, {"radius": (0.3, 0.4, 0.5, 1, 1.5), "deviation": (0.4, 0.5, 0.6, 0.2, 0.1)}
    ),
    "glass_blur": Corruption(
        "blur",
        glass_blur,
        {"deviation": (0.05, 0.25, 0.4, 0.25, 0.4), "reach": (1, 1, 1, 1, 1), "rounds": (1, 1, 1, 2, 2)},
    ),
    "motion_blur": Corruption(
        "blur", motion_blur, {"radius": (6, 6, 6, 8, 9), "deviation": (1, 1.5, 2, 2, 2.5)}
    ),
    "zoom_blur": Corruption("blur", zoom_blur, {"limit": (1.06, 1.11, 1.16, 1.21, 1.26)}),
    "snow": Corruption(
        "weather",
        snow,
        {
            "mean": (0.1, 0.1, 0.15, 0.25, 0.3),
            "deviation": (0.2, 0.2, 0.3, 0.3, 0.3),
            "flake": (1, 1, 1.75, 2.25, 1.25),
            "threshold": (0.6, 0.5, 0.55, 0.6, 0.65),
            "radius": (8, 10, 10, 12, 14),
            "blur": (3, 4, 4, 6, 12),
            "visibility": (0.95, 0.9, 0.9, 0.85, 0.8),
        },
    ),
    "frost": Corruption(
        "weather", frost, {"visibility": (1, 1, 0.9, 0.85, 0.75), "cover": (0.2, 0.3, 0.4, 0.4, 0.45)}
    ),
    "fog": Corruption("weather", fog, {"density": (0.2, 0.5, 0.75, 1, 1.5), "decay": (3, 3, 2.5, 2, 1.75)}),
    "brightness": Corruption("weather", brightness, {"gain": (0.05, 0.1, 0.15, 0.2, 0.3)}),
    "contrast": Corruption("digital", contrast, {"factor": (0.75, 0.5, 0.4, 0.3, 0.15)}),
    "elastic_transform": Corruption(
        "digital",
        elastic_transform,
        {
            "amplitude": (0, 0.05, 0.08, 0.1, 0.1),
            "smoothness": (0, 0.2, 0.06, 0.04, 0.03),
            "shift": (0.08, 0.07, 0.06, 0.05, 0.03),
        },
    ),
    "pixelate": Corruption("digital", pixelate, {"share": (0.95, 0.9, 0.85, 0.75, 0.65)}),
    "jpeg_compression": Corruption("digital", jpeg_compression, {"quality": (80, 65, 58, 50, 40)}),
}
"""Name -> corruption, in the paper's order, with the parameters published for 32 pixels.

Severity is the authors' own scale, by eye: pixels change more with each step of it, but for
`glass_blur`, `frost` and `elastic_transform`, and `motion_blur` from 3 to 4, which differ in the
tail of the blur only.
"""


def corrupt(images: np.ndarray, name: str, severity: int, seed: int, first: int = 0) -> np.ndarray:
    """Corrupt each image of a batch as CIFAR-10-C would.

    Image i comes out as a function of (its pixels, name, severity, seed, first + i), however a
    split is divided into batches. Values are rounded to the nearest level; the authors' script
    rounds down, which makes its images half a level of 255 darker on average.

    Args:
        images: uint8 [batch, height, width, 3], sides of 8 pixels or more; left as they are.
        name: of `CORRUPTIONS`.
        severity: of `SEVERITIES`.
        seed: of all that is drawn; 0 or more.
        first: index of the batch's first image in its split.

    Returns:
        uint8 [batch, height, width, 3].

    Raises:
        ValueError: there is no such name or severity.
    """
    if name not in CORRUPTIONS:
        raise ValueError(f"corruption must be one of {', '.join(CORRUPTIONS)}; received {name!r}")
    if severity not in SEVERITIES:
        raise ValueError(f"severity must be one of {SEVERITIES}; received {severity!r}")
    corruption = CORRUPTIONS[name]
    parameters = corruption.parameters_at(severity)
    corrupted = np.empty_like(images)
    for place, image in enumerate(images):
        generator = np.random.default_rng([seed, zlib.crc32(name.encode()), severity, first + place])
        distorted = corruption.distort(image / 255, generator, **parameters)
        corrupted[place] = np.rint(255 * np.clip(distorted, 0, 1))
    return corrupted


def corrupt_images(images: np.ndarray, labels: np.ndarray, seed: int) -> Corrupted:
    """Corrupt images, batch by batch, as CIFAR-10-C's definitions say.

    Args:
        images: uint8 [images, height, width, 3].
        labels: int64 [images].
        seed: what is random in a corruption is a function of it.
    """

    def load(name: str, severity: int) -> tuple[Iterable[np.ndarray], np.ndarray]:
        batches = (
            corrupt(images[first : first + BATCH], name, severity, seed, first=first)
            for first in range(0, len(images), BATCH)
        )
        return batches, labels

    return load
