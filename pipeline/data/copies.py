"""The same image more than once: found by its bytes or by its pixels."""

from collections.abc import Iterator, Sequence

import numpy as np

from pipeline.data.class_names import shown
from pipeline.data.split_names import SPLITS
from pipeline.data.table import Source

SHOWN_ROWS = 5
"""As many rows are named in a line."""


def find_copies(
    rows: np.ndarray,
    same: np.ndarray,
    digests: np.ndarray,
    labels: np.ndarray,
    splits: np.ndarray,
    paths: Sequence[bytes],
) -> dict[int, str]:
    """Choose which of several equal images to leave out.

    Under two labels: all of them, for nobody knows which label is right. In two splits: kept in
    test before validation before train, so that nothing tested was trained on. Within a split:
    the first row is kept.

    Args:
        rows: int64 [readable], the rows to compare, ascending.
        same: uint8 [files, 16], equal for equal images: of their pixels, or of their bytes.
        digests: uint8 [files, 16], of their bytes, for the wording.
        labels: int64 [files].
        splits: int64 [files], index into `SPLITS`.
        paths: files, for the wording.

    Returns:
        Row -> why it is left out.
    """
    problems = {}
    for copies in _equal_rows(rows, same):
        if len(set(labels[copies])) > 1:
            for row in copies:
                other = copies[labels[copies] != labels[row]][0]
                problems[int(row)] = f"same image under another label: {shown(paths[other])}"
            continue
        kept = copies[np.argmax(splits[copies])]
        for row in copies[copies != kept]:
            what = "exact duplicate of" if (digests[row] == digests[kept]).all() else "same pixels as"
            if splits[row] != splits[kept]:
                what = f"same image in {SPLITS[splits[kept]]}:"
            problems[int(row)] = f"{what} {shown(paths[kept])}"
    return problems


def describe_copies(source: Source) -> list[str]:
    """Say of which images a set has copies that spoil what it judges; nothing is left out of it.

    Returns:
        A line for the images of a split that are in a later one too, and one for those under two labels.
    """
    splits = np.full(len(source.labels), -1)
    for name, rows in source.provided.items():
        splits[rows] = SPLITS.index(name)
    found: dict[str, list[int]] = {}
    for copies in _equal_rows(np.flatnonzero(splits >= 0), source.digests):
        last = splits[copies].max()
        for row in copies[splits[copies] < last]:
            kind = f"of {SPLITS[splits[row]]} also in {SPLITS[last]}"
            found.setdefault(kind, []).append(int(row))
        if len(set(source.labels[copies])) > 1:
            found.setdefault("under two labels", []).extend(copies.tolist())
    return [
        f"{source.name}: {len(rows):,} image{'s' * (len(rows) > 1)} {kind}, in rows {_listed(rows)} "
        "(all are used; --exclude FILE leaves rows out)"
        for kind, rows in sorted(found.items())
    ]


def _listed(rows: list[int]) -> str:
    return ", ".join(map(str, sorted(rows)[:SHOWN_ROWS])) + ", ..." * (len(rows) > SHOWN_ROWS)


def _equal_rows(rows: np.ndarray, digests: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the rows of each digest that occurs more than once, ascending."""
    keys = np.ascontiguousarray(digests[rows]).view(np.uint64)
    order = np.lexsort(keys.T)  # stable: equal digests stay in row order
    differs = np.any(keys[order[1:]] != keys[order[:-1]], axis=1)
    starts = np.concatenate([[0], np.flatnonzero(differs) + 1])
    ends = np.append(starts[1:], len(rows))
    for start, end in zip(starts[ends - starts > 1], ends[ends - starts > 1], strict=True):
        yield rows[order[start:end]]
