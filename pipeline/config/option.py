"""What a setting is: a default with its rules, checked where a value enters."""

import dataclasses
import math
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import UserError, unknown


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    minimum: float | None = None,
    maximum: float | None = None,
    above: float | None = None,
) -> Any:
    """Declare one setting: `minimum <= value <= maximum` and `value > above`, where given."""
    rules = {"choices": choices, "minimum": minimum, "maximum": maximum, "above": above}
    return field(default=default, metadata={"help": help, **rules})


@dataclass(frozen=True)
class Section:
    """Settings that belong together; each is checked where it enters."""

    def __post_init__(self) -> None:
        for setting in dataclasses.fields(self):
            value = _coerce(setting, getattr(self, setting.name))
            object.__setattr__(self, setting.name, value)
            _check(setting, value)


def flag(name: str) -> str:
    """The command line's spelling of a setting."""
    return "--" + name.replace("_", "-")


def _coerce(setting: dataclasses.Field, value: Any) -> Any:
    """Accept JSON's 1 for 1.0; refuse any other value that is not of the setting's type."""
    if setting.type is float and type(value) is int and abs(value) < 2**53:
        return float(value)
    if type(value) is not setting.type:
        kind = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
        raise UserError(f"{flag(setting.name)} must be {kind[setting.type]}; received {value!r}")
    return value


def _check(setting: dataclasses.Field, value: Any) -> None:
    """Raise `UserError` where `value` breaks the rules of `setting`."""
    rules = setting.metadata
    if isinstance(value, float) and not math.isfinite(value):
        raise UserError(f"{flag(setting.name)} must be finite; received {value!r}")
    if rules["choices"] and value not in rules["choices"]:
        raise unknown(flag(setting.name), value, rules["choices"])
    bounds = []
    if rules["minimum"] is not None:
        bounds.append((value >= rules["minimum"], f"at least {rules['minimum']:g}"))
    if rules["above"] is not None:
        bounds.append((value > rules["above"], f"above {rules['above']:g}"))
    if rules["maximum"] is not None:
        bounds.append((value <= rules["maximum"], f"at most {rules['maximum']:g}"))
    if not all(holds for holds, _ in bounds):
        rule = " and ".join(text for _, text in bounds)
        raise UserError(f"{flag(setting.name)} must be {rule}; received {value!r}")
