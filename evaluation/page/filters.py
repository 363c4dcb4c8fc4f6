"""How numbers are written on a page: the filters of the templates."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from markupsafe import Markup

MISSING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
NO_BREAK = "\N{NO-BREAK SPACE}"


def _or_missing(write: Callable[[float], str], value: float | None) -> str:
    if value is None or math.isnan(value):
        return MISSING
    return write(value).replace("-", MINUS)


def percent(share: float | None, decimals: int = 2) -> str:
    """Write a share as `81.61 %`; no line ends before the sign."""
    return _or_missing(lambda share: f"{100 * share:.{decimals}f}{NO_BREAK}%", share)


def decimal(value: float | None, decimals: int = 4) -> str:
    """Write a number as `0.5512`."""
    return _or_missing(lambda value: f"{value:.{decimals}f}", value)


def count(number: float | None) -> str:
    """Write a number of things as `10,000`."""
    return _or_missing(lambda number: f"{number:,}", number)


def points(difference: float | None) -> str:
    """Write a difference in percentage points as `+0.37`, and none as `0.00`."""
    # Adding zero turns the minus zero that rounding may leave into zero.
    rounded = None if difference is None else round(difference, 2) + 0.0
    return _or_missing(lambda rounded: f"{rounded:+.2f}" if rounded else "0.00", rounded)


def magnitude(number: float | None) -> str:
    """Write a count as `35.1 M` where it is large."""
    for size, letter in ((1e9, "G"), (1e6, "M")):
        if number is not None and number >= size:
            return f"{number / size:.1f}{NO_BREAK}{letter}"
    return count(number)


def file_size(size: int | None) -> str:
    """Write a number of bytes as `684.3 KiB` or `42.7 MiB`."""
    if size is None:
        return MISSING
    scale, unit = (2**10, "KiB") if size < 2**20 else (2**20, "MiB")
    return f"{size / scale:,.1f}{NO_BREAK}{unit}"


def percent_range(interval: Sequence[float]) -> str:
    """Write an interval of shares as `80.84 to 82.35`."""
    return " to ".join(percent(end).removesuffix(f"{NO_BREAK}%") for end in interval)


def decimal_range(interval: Sequence[float]) -> str:
    """Write an interval as `0.5320 to 0.5701`."""
    return " to ".join(decimal(end) for end in interval)


def points_range(interval: Sequence[float]) -> str:
    """Write an interval of differences in percentage points as `−0.21 to +0.95`."""
    return " to ".join(points(end) for end in interval)


def _estimate(
    estimate: Mapping[str, Any] | None,
    write: Callable[[float], str],
    write_range: Callable[[Sequence[float]], str],
) -> str:
    """Mark up an estimate so that a line breaks between its value and its interval only."""
    if estimate is None:
        return MISSING
    return Markup('<span class="estimate"><span>{}</span> <small>({})</small></span>').format(
        write(estimate["value"]), write_range(estimate["interval_95"])
    )


def percent_estimate(estimate: Mapping[str, Any] | None) -> str:
    """Write an estimated share as `81.61 % (80.84 to 82.35)`."""
    return _estimate(estimate, percent, percent_range)


def decimal_estimate(estimate: Mapping[str, Any] | None) -> str:
    """Write an estimate as `0.5512 (0.5320 to 0.5701)`."""
    return _estimate(estimate, decimal, decimal_range)


def points_estimate(difference: float, interval: Sequence[float]) -> str:
    """Write an estimated difference in percentage points as `+0.37 (−0.21 to +0.95)`."""
    return _estimate({"value": difference, "interval_95": interval}, points, points_range)


def milliseconds(time: float | None, interval: Sequence[float] | None) -> str:
    """Write a measured time in ms as `0.123 (0.119 to 0.131)`."""
    if time is None or interval is None:
        return MISSING
    return _estimate({"value": time, "interval_95": interval}, _to_microsecond, _microsecond_range)


def _to_microsecond(time: float) -> str:
    return decimal(time, 3)


def _microsecond_range(interval: Sequence[float]) -> str:
    return " to ".join(map(_to_microsecond, interval))


BY_NAME = {
    each.__name__: each
    for each in (
        percent,
        percent_range,
        percent_estimate,
        decimal,
        decimal_range,
        decimal_estimate,
        points,
        points_range,
        points_estimate,
        count,
        magnitude,
        milliseconds,
        file_size,
    )
}
"""Every filter by the name that templates know it by."""
