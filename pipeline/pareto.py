"""Which of several networks none of the others beats for its cost: the Pareto front."""

from collections.abc import Sequence


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Return the indices of the points that no other point dominates, cheapest first.

    One dominates another that costs no less and gains no more, and differs from it.

    Args:
        points: (cost, gain) of each.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        best = points[front[-1]] if front else None
        # A point equal to the best is not dominated by it.
        if best is None or points[index][1] > best[1] or points[index] == best:
            front.append(index)
    return front
