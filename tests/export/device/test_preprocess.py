"""preprocess.c of a bundle's micro/: compiled, and held to what run.py and Pillow make of images."""

import ctypes
import dataclasses
import shutil
import subprocess
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.device import run
from pipeline.config.reading import Reading

SOURCE = Path(run.__file__).parent / "micro" / "preprocess.c"

RGB888, RGB565_LE, RGB565_BE = range(3)
WAYS = ("squash", "crop", "pad")

SIZES = [(1, 1), (4096, 1), (3, 700), (8, 8), (32, 32), (33, 31), (64, 16), (320, 240), (97, 1009), (30, 30)]
"""Width and height: smaller and larger than the input, equal to it, and far from square."""


class CImage(ctypes.Structure):
    _fields_ = [
        ("pixels", ctypes.c_char_p),
        *((name, ctypes.c_int32) for name in ("width", "height", "row_bytes")),
        ("format", ctypes.c_int),
    ]


class CInput(ctypes.Structure):
    _fields_ = [
        ("side", ctypes.c_int32),
        ("resize", ctypes.c_int),
        *((name, ctypes.c_int32) for name in ("crop_numerator", "crop_denominator")),
        ("border", ctypes.c_uint8),
        ("zero_point", ctypes.c_int32),
    ]


STRICT = "-O2 -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror".split()


def compile_with(compiler: str, *arguments: str | Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler} to compile preprocess.c with")
    subprocess.run([compiler, *STRICT, *arguments, SOURCE], check=True)


@pytest.fixture(scope="module")
def preprocess(tmp_path_factory):
    """The function; undefined behaviour ends the program."""
    library = tmp_path_factory.mktemp("preprocess") / "preprocess.so"
    trap = "-fsanitize=undefined -fsanitize-undefined-trap-on-error -shared -fPIC"
    compile_with("gcc", "-std=c99", *trap.split(), "-o", library)
    return ctypes.CDLL(str(library)).preprocess


def test_it_is_cplusplus_as_well():
    compile_with("g++", "-std=c++17", "-xc++", "-fsyntax-only")


def call(preprocess, image: CImage, how: CInput) -> tuple[int, np.ndarray]:
    """Its status and the input it filled, int8 [side, side, 3], which begins as zeros."""
    values = np.zeros((max(how.side, 1),) * 2 + (3,), np.int8)
    status = preprocess(ctypes.byref(image), ctypes.byref(how), values.ctypes.data_as(ctypes.c_void_p))
    return status, values


def how_of(reading: Reading, side: int) -> CInput:
    share = Fraction(str(reading.crop_share))
    way = WAYS.index(reading.resize)
    return CInput(side, way, share.numerator, share.denominator, reading.border, -128)


def as_stored(pixels: np.ndarray, kind: int) -> tuple[bytes, np.ndarray]:
    """An image, uint8 [height, width, 3], in memory, and the levels which that stands for."""
    if kind == RGB888:
        return pixels.tobytes(), pixels
    brightest = np.array([31, 63, 31])
    channels = np.round(pixels / 255 * brightest)
    bits = channels @ [2048, 32, 1]
    stored = bits.astype("<u2" if kind == RGB565_LE else ">u2")
    return stored.tobytes(), np.round(channels * 255 / brightest).astype(np.uint8)


def largest_difference(preprocess, pixels: np.ndarray, kind: int, reading: Reading, side: int) -> int:
    stored, levels = as_stored(pixels, kind)
    height, width, _ = pixels.shape
    row_bytes = len(stored) // height
    status, values = call(preprocess, CImage(stored, width, height, row_bytes, kind), how_of(reading, side))
    assert status == 0
    expected = run.fit(Image.fromarray(levels), side, side, dataclasses.asdict(reading))
    return np.abs(values.astype(int) + 128 - expected).max()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("size", SIZES, ids=str)
def test_an_image_becomes_what_run_py_makes_of_it(size, way, preprocess):
    """Within a level: Pillow's weights have 22 bits, so that a tie may be rounded the other way."""
    noise = np.random.default_rng(size).integers(0, 256, (size[1], size[0], 3)).astype(np.uint8)
    reading = Reading(resize=way, crop_share=0.7, border=200)
    for side in (8, 32):
        assert largest_difference(preprocess, noise, RGB888, reading, side) <= 1


@pytest.mark.parametrize("kind", [RGB565_LE, RGB565_BE])
def test_rgb565_is_the_levels_that_it_stands_for(kind, preprocess):
    """Within a level: the highest bits repeated below the others are 255 / (2^n - 1) up to rounding."""
    noise = np.random.default_rng(3).integers(0, 256, (24, 24, 3)).astype(np.uint8)
    assert largest_difference(preprocess, noise, kind, Reading(), 24) <= 1
    for level in (0, 255):
        grey = np.full((8, 8, 3), level, np.uint8)
        assert largest_difference(preprocess, grey, kind, Reading(), 8) == 0


@pytest.mark.parametrize("share", [0.001, 0.3333, 0.7, 0.85, 0.875, 0.95, 1.0])
def test_the_square_in_the_middle_has_the_side_of_the_contract(share, preprocess):
    """Of black and white columns that take turns, one more or less on a side shows."""
    for extent in (9, 10, 20, 47, 100, 333):
        columns = np.zeros((extent, extent + 3, 3), np.uint8)
        columns[:, ::2] = 255
        assert (
            largest_difference(preprocess, columns, RGB888, Reading(resize="crop", crop_share=share), 8) <= 1
        )


def test_rows_may_lie_apart_and_uint8_keeps_the_level(preprocess):
    noise = np.random.default_rng(5).integers(0, 256, (16, 20, 3)).astype(np.uint8)
    how = how_of(Reading(), 16)
    how.zero_point = 0
    status, values = call(preprocess, CImage(noise.tobytes(), 16, 16, 60, RGB888), how)
    assert status == 0
    np.testing.assert_array_equal(values.view(np.uint8), noise[:, :16])


@pytest.mark.parametrize(
    "changed",
    [
        *({"width": width} for width in (0, -1, 4097)),
        *({"height": height} for height in (0, -1, 4097)),
        *({"side": side} for side in (0, 7, 1025)),
        {"row_bytes": 23},
        {"crop_denominator": 0},
        {"crop_numerator": 0},
        {"crop_numerator": 9},
    ],
    ids=str,
)
def test_a_number_outside_its_range_is_refused(changed, preprocess):
    row = 3 * 4097
    image, how = CImage(bytes(8 * row), 8, 8, row, RGB888), how_of(Reading(), 8)
    for name, value in changed.items():
        setattr(image if hasattr(image, name) else how, name, value)
    status, values = call(preprocess, image, how)
    assert status == -1
    assert not values.any()


def test_the_largest_image_does_not_overflow(preprocess):
    """White stays white: a sum that did not fit would not."""
    white = bytes([255]) * (4096 * 8 * 3)
    for width, height in ((4096, 8), (8, 4096)):
        status, values = call(
            preprocess, CImage(white, width, height, 3 * width, RGB888), how_of(Reading(), 8)
        )
        assert status == 0
        assert (values == 127).all()
