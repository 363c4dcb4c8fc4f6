"""What runs with other splits are compared on: found by digests, without what one of them learned from."""

import pytest

from evaluation.shared_test import RunImages, describe_shared_test, find_shared_test
from pipeline.errors import UserError

NAMES = ("ant", "bee")


def images(test: str, learned: str = "", **labels: str) -> RunImages:
    """Each letter is an image, an ant unless it is told otherwise."""
    digests = [letter.encode() for letter in test]
    named = [labels.get(letter, "ant") for letter in test]
    return RunImages(NAMES, digests, named, frozenset(letter.encode() for letter in learned))


def places(**runs: RunImages) -> dict[str, list[int]]:
    return {name: of.tolist() for name, of in find_shared_test(runs).places.items()}


def test_the_same_image_has_the_same_place_whatever_the_order():
    assert places(one=images("abcd"), two=images("dxba")) == {"one": [0, 1, 3], "two": [3, 2, 0]}
    of_three = places(one=images("abcd"), two=images("dxba"), three=images("yabd"))
    assert of_three == {"one": [0, 1, 3], "two": [3, 2, 0], "three": [1, 2, 3]}


def test_what_another_run_learned_from_is_left_out_and_told():
    # The set itself holds c twice: one trained on the copy of what it is tested with.
    runs = {"one": images("abcde", learned="c"), "two": images("abcdx", learned="ey")}
    assert places(**runs) == {"one": [0, 1, 3], "two": [0, 1, 3]}
    assert describe_shared_test(find_shared_test(runs)) == (
        "one has 5, two has 5; 3 are shared; 1 of one are left out, which another was trained on; "
        "1 of two are left out, which another was trained on"
    )


def test_images_with_another_label_are_left_out_and_told():
    runs = {"one": images("abc"), "two": images("abc", b="bee")}
    shared = find_shared_test(runs)
    assert {name: of.tolist() for name, of in shared.places.items()} == {"one": [0, 2], "two": [0, 2]}
    assert shared.describe() == {
        "images": 2,
        "tests": {"one": 3, "two": 3},
        "learned_by_others": {"one": 0, "two": 0},
        "other_labels": 1,
    }


@pytest.mark.parametrize(
    ("one", "two", "counts"),
    [
        (images("abc"), images("xyz"), "one has 3, two has 3; 0 are shared"),
        (images("ab"), images("abxyz"), "one has 2, two has 5; 2 are shared"),
        (
            images("abc", "xyz"),
            images("axy", "bc"),
            "one has 3, two has 3; 1 are shared; 2 of one are left out",
        ),
    ],
)
def test_less_than_half_of_a_test_is_too_little(one, two, counts):
    with pytest.raises(UserError, match=f"^runs to compare must share at least half .* images; {counts}"):
        find_shared_test({"one": one, "two": two})


def test_other_classes_are_another_task():
    other = RunImages((*NAMES, "cat"), [b"a"], ["ant"], frozenset())
    with pytest.raises(UserError, match=r"must have the same classes; one and two differ in cat$"):
        find_shared_test({"one": images("a"), "two": other})
