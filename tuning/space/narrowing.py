"""`--space` and its like: narrow what is searched, or fix it.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
from collections.abc import Collection, Mapping

from pipeline.config.architectures import ResidualArchitecture, find_architecture
from pipeline.config.config import SECTION_OF, Config
from pipeline.config.presets import preset
from pipeline.errors import UserError, received, unknown
from tuning.space.search_space import (
    SIZE_STEP,
    Dimension,
    Space,
    Value,
    apply,
    network_space,
    own_values,
    search_space,
    setting,
)

NETWORK = tuple(dimension.name for dimension in network_space(preset("cifar10")))
"""What is searched only where `--space` names it."""

HYPERPARAMETERS = tuple(dimension.name for dimension in search_space(preset("cifar10")))
"""All others; the settings that a search starts from may leave some without effect."""

ALL = (*NETWORK, *HYPERPARAMETERS)

MAX_STRENGTH = 1000
"""Largest factor on the augmentation's strengths."""

FORM = "--space takes NAME=VALUE, NAME=LOW..HIGH or NAME=A|B|..., separated by commas"


def narrow(space: Space, config: Config, text: str) -> tuple[Space, Config]:
    """Narrow or fix dimensions, as in `peak_learning_rate=1e-3..1,optimizer=sgd|adamw,width=16`.

    Values may lie outside of what is searched by default, as far as the setting allows.

    Returns:
        What is left to search, and `config` with what was fixed; of the network's dimensions only
        those that `text` names.

    Raises:
        UserError: an unknown name, a value that the setting does not allow, or an empty or
            contradictory range.
    """
    by_name = {dimension.name: dimension for dimension in space}
    asked: dict[str, str] = {}
    for item in text.split(","):
        name, equals, values = (part.strip() for part in item.partition("="))
        if not name or not equals or not values:
            raise UserError(f"{FORM}; received {item.strip()!r}")
        if name not in ALL:
            raise unknown("hyperparameter", name, ALL)
        if name not in by_name:
            by = (
                ": --teacher takes images of one size"
                if name == "image_size" and config.transfer.teacher
                else ""
            )
            raise UserError(f"--space must name what is open; received {name}, which is fixed{by}")
        if name in asked:
            raise UserError(f"--space must name a hyperparameter once; received {name} twice")
        asked[name] = values
    for name, values in asked.items():
        by_name[name] = _narrow_one(by_name[name], values, config)
    by_name = {name: by_name[name] for name in by_name if name in asked or name not in NETWORK}
    if "model" in by_name:
        by_name |= _beside_models(by_name)
    for name in asked:
        _check_condition(by_name[name], by_name)
    return _settle(tuple(by_name.values()), config)


def _beside_models(by_name: Mapping[str, Dimension]) -> dict[str, Dimension]:
    """Return the dimensions that only ResNets have, which do not matter beside other models.

    Raises:
        UserError: there is no ResNet.
    """
    models = by_name["model"].choices
    residual = tuple(model for model in models if _is_residual(str(model)))
    own = {name: by_name[name] for name in ("stem", "shortcut") if name in by_name}
    for name in own:
        if not residual:
            raise UserError(f"--space {name} needs a ResNet; received model={'|'.join(map(str, models))}")
    return {name: dataclasses.replace(own[name], when=("model", residual)) for name in own}


def _is_residual(model: str) -> bool:
    return isinstance(find_architecture(model), ResidualArchitecture)


def _settle(space: Space, config: Config) -> tuple[Space, Config]:
    """Move what has one value and always matters from the space into the settings.

    What matters only beside some values of another stays in the space with its one value.
    """
    # Conditions that always hold go first, and then each time that something is fixed.
    space = fix(space, config, ())
    while fixed := {d.name: d.choices[0] for d in space if len(d.choices) == 1 and not d.when}:
        config = apply(fixed, config)
        space = fix(space, config, fixed)
    return space, config


def fix(space: Space, config: Config, names: Collection[str]) -> Space:
    """Leave the named dimensions out of the space, at the values that `config` has for them.

    What depends on one of them matters always from then on, or never and is left out as well.
    """
    own = own_values(config)
    left = []
    for dimension in space:
        if dimension.name in names:
            continue
        if dimension.when:
            name, wanted = dimension.when
            if name in names and own[name] not in wanted:
                continue
            condition = next((other for other in space if other.name == name), None)
            if name in names or condition is None or set(condition.choices) <= set(wanted):
                dimension = dataclasses.replace(dimension, when=None)
            elif not set(condition.choices) & set(wanted):
                continue
        left.append(dimension)
    return tuple(left)


def keep_only(space: Space, config: Config, names: Collection[str]) -> Space:
    """Fix everything but the named dimensions.

    Raises:
        UserError: a name that there is not.
    """
    for name in names:
        if name not in ALL:
            raise unknown("hyperparameter", name, ALL)
    open_ones = {dimension.name for dimension in space}
    for name in names:
        if name in NETWORK and name not in open_ones:
            raise UserError(f"--only {name} needs --space {name}=A|B|..., which opens it; received none")
    left = fix(space, config, open_ones - set(names))
    for name in open_ones & set(names) - {dimension.name for dimension in left}:
        raise UserError(
            f"--only must name what has an effect; received {name}, which depends on what is fixed"
        )
    return left


def _narrow_one(dimension: Dimension, text: str, config: Config) -> Dimension:
    name = dimension.name
    low, dots, high = text.partition("..")
    if not dots:
        values = {_parse(dimension, part.strip(), config) for part in text.split("|")}
        return dataclasses.replace(dimension, choices=_in_order(values, dimension))
    if not dimension.is_ordered:
        raise UserError(f"--space {name} must be one or more of its names; received {text!r}")
    least, most = _parse(dimension, low.strip(), config), _parse(dimension, high.strip(), config)
    assert not isinstance(least, str)
    assert not isinstance(most, str)
    if least > most:
        raise UserError(f"--space {name} must be LOW..HIGH with LOW <= HIGH; received {text!r}")
    if dimension.log and least <= 0:
        raise UserError(f"--space {name} is searched in the logarithm, above 0; received {text!r}")
    if least == most:
        return dataclasses.replace(dimension, choices=(least,))
    if not dimension.choices:
        return dataclasses.replace(dimension, low=least, high=most)
    within = tuple(c for c in dimension.choices if not isinstance(c, str) and least <= c <= most)
    if not within:
        known = ", ".join(map(str, dimension.choices))
        rule = f"a multiple of {SIZE_STEP}" if name == "image_size" else f"one of {known}"
        raise UserError(f"--space {name} must hold {rule}, or name others as A|B; received {text!r}")
    return dataclasses.replace(dimension, choices=within)


def _in_order(values: set[Value], dimension: Dimension) -> tuple[Value, ...]:
    if dimension.is_ordered:
        return tuple(sorted(values))
    known = [choice for choice in dimension.choices if choice in values]
    return (*known, *sorted(values - set(known)))


def _parse(dimension: Dimension, text: str, config: Config) -> Value:
    """Read a value of a dimension, held to the rules of the settings it stands for."""
    name = dimension.name
    if name == "mixing" and text not in dimension.choices:
        raise unknown("--space mixing", text, map(str, dimension.choices))
    kind = setting(name).type if name in SECTION_OF else str if name == "mixing" else float
    assert isinstance(kind, type)
    try:
        value = kind(text)
    except ValueError:
        rule = "a whole number" if kind is int else "a number"
        raise UserError(f"--space {name} must be {rule}; received {received(text)}") from None
    if name == "augment_strength" and not 0 <= value <= MAX_STRENGTH:
        raise UserError(
            f"--space {name} must be at least 0 and at most {MAX_STRENGTH}; received {received(text)}"
        )
    if name == "image_size" and not value:
        # Nothing is known here of the source, whose own it would be.
        raise UserError(f"--space {name} must be a number of pixels; received {received(text)}")
    # Raises where the setting does not allow it.
    apply({"mixing": "mixup", name: value} if name == "mixing_alpha" else {name: value}, config)
    return value


def _check_condition(dimension: Dimension, by_name: Mapping[str, Dimension]) -> None:
    if dimension.when and dimension.when[0] in by_name:
        name, wanted = dimension.when
        choices = by_name[name].choices
        if not set(choices) & set(wanted):
            raise UserError(
                f"--space {dimension.name} matters only where {name} is "
                f"{' or '.join(map(str, wanted))}; received {name}={'|'.join(map(str, choices))}"
            )
