"""The Pareto front, against its definition tried on all pairs."""

import numpy as np
import pytest

from pipeline.pareto import pareto_front


def by_definition(points: list[tuple[float, float]]) -> set[int]:
    def dominates(one, other) -> bool:
        return one[0] <= other[0] and one[1] >= other[1] and one != other

    return {k for k, p in enumerate(points) if not any(dominates(q, p) for q in points)}


@pytest.mark.parametrize("values", [3, 10, 1000])
@pytest.mark.parametrize("count", [0, 1, 2, 50])
def test_front_is_what_nothing_dominates(count, values):
    # Few values make ties in cost, in gain and in both.
    random = np.random.default_rng(values)
    points = [tuple(map(float, pair)) for pair in random.integers(values, size=(count, 2))]
    front = pareto_front(points)
    assert set(front) == by_definition(points)
    assert len(front) == len(set(front))
    assert [points[k] for k in front] == sorted(points[k] for k in front)
