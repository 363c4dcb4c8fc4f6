"""Flags from declared settings: one parser for every command, one answer to bad input."""

import argparse
import dataclasses
import re
from collections.abc import Callable, Mapping
from typing import Any, NoReturn

from pipeline.config.option import KINDS, Section, flag, kind_of, options
from pipeline.errors import UserError, received, unknown


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose every complaint is a `UserError`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed with the usage; a broken rule begins with its flag."""
        raise UserError(re.sub(r"^argument (\S+): must be ", r"\1 must be ", message))

    def parse(self, arguments: list[str]) -> dict[str, Any]:
        """Return what is given by name: every positional, and each flag that is there.

        Raises:
            UserError: anything that cannot be understood.
        """
        namespace, rest = self.parse_known_intermixed_args(arguments)
        for extra in rest:
            name = extra.partition("=")[0]
            if name.startswith("-"):
                near = unknown("flag", name, self._option_string_actions)
                raise UserError(f"{str(near).partition('known:')[0]}see --help")
            raise UserError(f"unexpected argument {received(extra)}; see --help")
        return vars(namespace)


def add_settings(parser: argparse._ActionsContainer, section: type[Section]) -> None:
    """Add a flag for every setting of `section`; a flag that is not given leaves no trace."""
    for setting in options(section):
        kind, rules = kind_of(setting), setting.metadata
        if kind is bool:
            action = "store_true" if rules["switch"] else argparse.BooleanOptionalAction
            how: dict[str, Any] = {"action": action}
        else:
            choices = "{" + ",".join(rules["choices"]) + "}" if rules["choices"] else kind.__name__.upper()
            how = {"type": parser_of(kind), "metavar": rules["metavar"] or choices}
            if rules["alone"] is not None:
                how |= {"nargs": "?", "const": rules["alone"]}
        parser.add_argument(flag(setting.name), default=argparse.SUPPRESS, help=_describe(setting), **how)


def _describe(setting: dataclasses.Field[Any]) -> str:
    """Return the help of a setting, with the default where there is one to show."""
    default, text = setting.default, setting.metadata["help"].replace("%", "%%")
    if default in (None, "", dataclasses.MISSING) or setting.metadata["switch"]:
        return text
    if isinstance(default, bool):
        shown = "yes" if default else "no"
    elif isinstance(default, int):
        shown = f"{default:,}"
    else:
        shown = ",".join(default) if isinstance(default, tuple) else str(default)
    return f"{text} (default: {shown})"


def parser_of(kind: type) -> Callable[[str], Any]:
    """Return what makes a value of one of the `KINDS` from text."""

    def parse(text: str) -> Any:
        if kind is tuple:
            return tuple(dict.fromkeys(name.strip() for name in text.split(",")))
        try:
            # An empty word is a variable of the shell that is not set, and no path or name.
            if not text:
                raise ValueError
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {KINDS[kind]}; received {received(text)}") from None

    return parse


def take(values: Mapping[str, Any], section: type[Section]) -> dict[str, Any]:
    """Return those of the given values that are settings of `section`."""
    return {setting.name: values[setting.name] for setting in options(section) if setting.name in values}
