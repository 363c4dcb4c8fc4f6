"""What a setting is: a default with its rules, checked where a value enters."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Any, get_args, get_origin

from pipeline.errors import UserError, received, unknown

KINDS = {
    int: "a whole number",
    float: "a number",
    str: "text",
    bool: "true or false",
    Path: "a path",
    tuple: "a list of names",
}
"""What a setting's value may be, and how that is said."""


def option(
    default: Any,
    help: str,
    *,
    choices: Collection[str] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
    metavar: str | None = None,
    switch: bool = False,
    alone: Any = None,
    of: Mapping[str, tuple[str, ...]] | None = None,
) -> Any:
    """Declare one setting: `minimum <= value <= maximum` and `value > above`, where given.

    Args:
        default: None where it may be left out; MISSING where it may not.
        help: its meaning and unit.
        choices: that it is one of; of a tuple, that each of its names is one of.
        minimum: smallest allowed number.
        maximum: largest allowed number.
        above: largest number that is too small.
        metavar: what the help writes for a value.
        switch: true or false, with a flag for true alone.
        alone: the value of the flag where none follows it; None where one must.
        of: names of other settings, and those of their values with one of which alone this one has an
            effect; no values: all that switch it on. None: it always has.
    """
    rules = {"choices": choices, "minimum": minimum, "maximum": maximum, "above": above}
    how = {"help": help, "metavar": metavar, "switch": switch, "alone": alone, "of": of}
    return field(default=default, metadata={**how, **rules})


def options(section: Any) -> list[dataclasses.Field[Any]]:
    """List what a section, or its class, declares by `option`."""
    return [setting for setting in dataclasses.fields(section) if "help" in setting.metadata]


@dataclass(frozen=True)
class Section:
    """Settings that belong together; each is checked where it enters."""

    def __post_init__(self) -> None:
        for setting in options(self):
            value = getattr(self, setting.name)
            if value is None and setting.default is None:
                continue
            value = _coerce(setting, value)
            object.__setattr__(self, setting.name, value)
            _check(setting, value)


def flag(name: str) -> str:
    """The command line's spelling of a setting."""
    return "--" + name.replace("_", "-")


def kind_of(setting: dataclasses.Field[Any]) -> type:
    """Return one of `KINDS`: int of `int | None`, tuple of `tuple[str, ...]`."""
    kind: Any = get_args(setting.type)[0] if isinstance(setting.type, UnionType) else setting.type
    return get_origin(kind) or kind


def _coerce(setting: dataclasses.Field[Any], value: Any) -> Any:
    """Accept JSON's 1 for 1.0; refuse any other value that is not of the setting's type."""
    kind = kind_of(setting)
    if kind is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not (type(Path()) if kind is Path else kind):
        raise UserError(f"{flag(setting.name)} must be {KINDS[kind]}; received {received(value)}")
    if value == "" and setting.default is None:
        raise UserError(f"{flag(setting.name)} must be {KINDS[kind]}; received ''")
    return value


def _check(setting: dataclasses.Field[Any], value: Any) -> None:
    """Raise `UserError` where `value` breaks the rules of `setting`."""
    rules = setting.metadata
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag(setting.name)} must be finite; received {received(value)}")
    if rules["choices"]:
        for name in value if isinstance(value, tuple) else (value,):
            if name not in rules["choices"]:
                raise unknown(flag(setting.name), name, rules["choices"])
    bounds = []
    if rules["minimum"] is not None:
        bounds.append((value >= rules["minimum"], f"at least {_exactly(rules['minimum'])}"))
    if rules["above"] is not None:
        bounds.append((value > rules["above"], f"above {_exactly(rules['above'])}"))
    if rules["maximum"] is not None:
        bounds.append((value <= rules["maximum"], f"at most {_exactly(rules['maximum'])}"))
    if not all(holds for holds, _ in bounds):
        rule = " and ".join(text for _, text in bounds)
        raise UserError(f"{flag(setting.name)} must be {rule}; received {received(value)}")


def _exactly(bound: float) -> str:
    """Write a bound; `:g` alone would round a whole number of many digits."""
    return str(bound) if isinstance(bound, int) else f"{bound:g}"
