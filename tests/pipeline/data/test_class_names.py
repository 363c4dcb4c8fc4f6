"""Names of classes are told apart, and listed in a line."""

import numpy as np
import pytest

from pipeline.data.class_names import list_classes, verify_class_names
from pipeline.errors import UserError

ALIKE = [
    ("café".encode(), "cafe\u0301".encode()),  # NFC and NFD
    (b"caf\xe9", b"caf\\xe9"),  # a byte that cannot be decoded, and how it is written
    (b"a b", b"a  b"),
    (b"a b", "a\u00a0b".encode()),
    (b"a b", b"a\tb"),
    (b"cat", b" cat"),
    (b"cat", "c\u200bat".encode()),
    (b"cat", "cat\u202c".encode()),
    *((b"cat", f"c{blank}at".encode()) for blank in "\u3164\u115f\u180b\ufe0f\u034f\U000e0100\u2800"),
    (b"a b", "a \u200b b".encode()),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_names_that_print_the_same_are_refused_and_told_apart(one, other):
    with pytest.raises(UserError) as error:
        verify_class_names([one, b"dog", other], "a folder")
    assert str(error.value) == (
        f"names of classes must differ in print; received {one!r} and {other!r} in a folder"
    )
    assert str(error.value).isascii()


@pytest.mark.parametrize("name", [b" ", "\u200b".encode(), b"\x07", "\u3164".encode()])
def test_a_name_that_shows_nothing_is_refused(name):
    with pytest.raises(UserError, match="must show something; received b'"):
        verify_class_names([b"cat", name], "a folder")


def test_names_that_differ_pass():
    verify_class_names([b"cat", b"Cat", "ﬁ".encode(), b"fi", "m²".encode(), b"m2", b"caf\xe9"], "a folder")


def test_a_few_classes_are_listed_with_their_images():
    labels = np.array([0, 1, 1, 2] * 1000)
    names = ["cat", "dog\x1b[31m", "x" * 50]
    assert list_classes(names, labels) == f"cat 1,000, dog\\x1b[31m 2,000, {'x' * 37}... 1,000"


def test_of_many_classes_the_first_are_listed():
    labels = np.repeat(np.arange(12), np.arange(1, 13))
    first = ", ".join(f"c{k} {k + 1}" for k in range(10))
    assert (
        list_classes([f"c{k}" for k in range(12)], labels) == f"{first}, and 2 more, of 1 to 12 images each"
    )
