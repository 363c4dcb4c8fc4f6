"""The test images that several runs share, where their tests are not the same."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pipeline.data.prepare import PreparedData
from pipeline.errors import UserError

LEAST_SHARE = 0.5
"""Of each run's test images, what must be shared: of fewer, the figures would be of another test."""


@dataclass(frozen=True)
class RunImages:
    """What a run was tested on, and what it learned from.

    Attributes:
        class_names: of the run.
        digests: of each image of test, in its order.
        labels: name of the class of each.
        learned: digests of train, validation and calibration.
    """

    class_names: tuple[str, ...]
    digests: Sequence[bytes]
    labels: Sequence[str]
    learned: frozenset[bytes]


@dataclass(frozen=True)
class SharedTest:
    """Images that all runs were tested on, under the same label, and that none learned from.

    Attributes:
        places: run -> int64 [shared], their places in its test, in the same order for all.
        tests: run -> images of its test.
        learned_by_others: run -> images of its test that another run learned from.
        other_labels: images that all tests have, but not under the same label.
    """

    places: dict[str, np.ndarray]
    tests: dict[str, int]
    learned_by_others: dict[str, int]
    other_labels: int

    def __len__(self) -> int:
        return len(next(iter(self.places.values())))

    def describe(self) -> dict[str, Any]:
        """Build what comparison.json tells of it."""
        return {
            "images": len(self),
            "tests": self.tests,
            "learned_by_others": self.learned_by_others,
            "other_labels": self.other_labels,
        }


def describe_test(data: PreparedData) -> RunImages:
    """Tell a run's images by their digests: equal for equal files, or pixels where there are no files."""
    names, labels = data.source.class_names, data.source.labels

    def digests(rows: np.ndarray) -> list[bytes]:
        return [digest.tobytes() for digest in data.source.digests[rows]]

    splits = data.splits
    learned = np.concatenate([splits.train, splits.validation, splits.calibration])
    test_labels = [names[label] for label in labels[splits.test]]
    return RunImages(names, digests(splits.test), test_labels, frozenset(digests(learned)))


def find_shared_test(tested: Mapping[str, RunImages]) -> SharedTest:
    """Find what the runs can be compared on.

    Args:
        tested: by the runs' names, at least two.

    Raises:
        UserError: the runs have other classes, or share less than `LEAST_SHARE` of a test.
    """
    (first, *_), classes = tested, [set(each.class_names) for each in tested.values()]
    for name, of in zip(tested, classes, strict=True):
        if of != classes[0]:
            apart = ", ".join(sorted(of ^ classes[0])[:3])
            raise UserError(
                f"runs to compare must have the same classes; {first} and {name} differ in {apart}"
            )
    place_of = {
        name: {digest: place for place, digest in reversed(list(enumerate(each.digests)))}
        for name, each in tested.items()
    }
    learned = {
        name: frozenset().union(*(other.learned for of, other in tested.items() if of != name))
        for name in tested
    }
    in_all = [
        digest
        for digest in dict.fromkeys(tested[first].digests)
        if all(digest in of for of in place_of.values()) and not any(digest in of for of in learned.values())
    ]
    labels = [{each.labels[place_of[name][digest]] for name, each in tested.items()} for digest in in_all]
    same = [digest for digest, of in zip(in_all, labels, strict=True) if len(of) == 1]
    shared = SharedTest(
        {name: np.array([of[digest] for digest in same], np.int64) for name, of in place_of.items()},
        {name: len(each.digests) for name, each in tested.items()},
        {name: sum(digest in learned[name] for digest in each.digests) for name, each in tested.items()},
        len(in_all) - len(same),
    )
    if any(len(shared) < LEAST_SHARE * count for count in shared.tests.values()):
        raise UserError(
            f"runs to compare must share at least half of their test images; {describe_shared_test(shared)} "
            "(same --data, --seed or --split-seed)"
        )
    return shared


def describe_shared_test(shared: SharedTest) -> str:
    """Say how many test images each run has, how many are shared, and what is not."""
    counts = ", ".join(f"{name} has {count:,}" for name, count in shared.tests.items())
    text = f"{counts}; {len(shared):,} are shared"
    for name, count in shared.learned_by_others.items():
        if count:
            text += f"; {count:,} of {name} are left out, which another was trained on"
    if shared.other_labels:
        text += f"; {shared.other_labels:,} have other labels"
    return text
