"""What the tests on the way to an int8 file share: images, some of them for calibration."""

import numpy as np

from export.quantize.calibration_images import CalibrationImages

TABLE = np.random.default_rng(0)
BRIGHTNESS = TABLE.uniform(0, 1, (300, 1, 1, 3))
IMAGES = (BRIGHTNESS * TABLE.integers(0, 256, (300, 8, 8, 3))).astype(np.uint8)
"""Images that differ in brightness and colour, as noise alone would not."""

ROWS = TABLE.permutation(300)[:200]
"""The test split: more than one batch, and not in the order of the table."""


def images(count: int) -> CalibrationImages:
    return CalibrationImages(IMAGES[:count], f"the first {count}", 0)


def draw_more(more: int) -> CalibrationImages:
    return images(10 + more)
