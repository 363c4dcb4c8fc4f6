"""Limits of a device: what the header reserves and the file takes must fit, to the byte."""

import pytest

from export.limits import check_limits
from export.verify.micro import MicroResult
from pipeline.errors import UserError

MICRO = MicroResult(images=1, arena_bytes=20240, activation_bytes=16000)
"""Of an arena of 17,984 bytes, which were the least: the header reserves an eighth more."""


def test_what_just_fits_is_taken():
    check_limits(5000, MICRO, max_bytes=5000, max_arena_kib=20240 / 1024)
    check_limits(5000, "it has no kernel", max_bytes=None, max_arena_kib=None)


@pytest.mark.parametrize("kib", [17984 / 1024, 20239 / 1024])
def test_the_arena_that_is_reserved_is_judged_and_not_the_least(kib):
    with pytest.raises(UserError, match=r"^--max-arena-kib must be at least the 19\.765625 KiB .* reserves"):
        check_limits(5000, MICRO, max_bytes=None, max_arena_kib=kib)


def test_a_byte_too_many_is_refused():
    with pytest.raises(UserError, match=r"^--max-bytes must be at least .* 5,000 bytes; received 4,999 "):
        check_limits(5000, MICRO, max_bytes=4999, max_arena_kib=None)


def test_an_arena_that_is_not_known_fits_nowhere():
    with pytest.raises(UserError, match=r"^--max-arena-kib needs TensorFlow Lite Micro; it has no kernel$"):
        check_limits(5000, "it has no kernel", max_bytes=None, max_arena_kib=64)
