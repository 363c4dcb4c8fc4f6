"""What the tests on the way to an int8 file share: pictures, some of them for calibration."""

import numpy as np

from export.quantize.calibration_images import CalibrationPictures

TABLE = np.random.default_rng(0)
BRIGHTNESS = TABLE.uniform(0, 1, (300, 1, 1, 3))
IMAGES = (BRIGHTNESS * TABLE.integers(0, 256, (300, 8, 8, 3))).astype(np.uint8)
"""Pictures that differ in brightness and colour, as noise alone would not."""

ROWS = TABLE.permutation(300)[:200]
"""The test split: more than one batch, and not in the order of the table."""


def pictures(count: int) -> CalibrationPictures:
    return CalibrationPictures(IMAGES[:count], f"the first {count}", 0)


def draw_more(more: int) -> CalibrationPictures:
    return pictures(10 + more)
