"""From the command line to a configuration; the flags are the settings' own names."""

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pipeline.config.config import SECTIONS, Config, load_values
from pipeline.config.option import flag
from pipeline.config.presets import PRESETS, preset
from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError, unknown

KINDS = {int: "a whole number", float: "a number"}


class Parser(argparse.ArgumentParser):
    """An `ArgumentParser` whose every complaint is a `UserError`."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(allow_abbrev=False, **settings)

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would have printed with the usage."""
        raise UserError(message)

    def parse(self, arguments: list[str]) -> argparse.Namespace:
        """Parse, answering an unknown flag with the nearest one.

        Raises:
            UserError: anything that cannot be understood.
        """
        namespace, rest = self.parse_known_intermixed_args(arguments)
        for extra in rest:
            name = extra.partition("=")[0]
            if name.startswith("-"):
                near = unknown("flag", name, self._option_string_actions)
                raise UserError(f"{str(near).partition('known:')[0]}see --help")
            raise UserError(f"unexpected argument {extra!r}; see --help")
        return namespace


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add a flag for every setting; a flag that is not given leaves no trace."""
    for name, section in SECTIONS.items():
        group = parser.add_argument_group(name, section.__doc__.splitlines()[0])
        for setting in dataclasses.fields(section):
            _add_setting(group, setting)


def _add_setting(group: argparse._ArgumentGroup, setting: dataclasses.Field) -> None:
    choices = setting.metadata["choices"]
    description = f"{setting.metadata['help']} (default: {setting.default})".replace("%", "%%")
    if setting.type is bool:
        group.add_argument(
            flag(setting.name),
            action=argparse.BooleanOptionalAction,
            default=argparse.SUPPRESS,
            help=description,
        )
        return
    group.add_argument(
        flag(setting.name),
        type=_parse_as(setting.type),
        metavar="{" + ",".join(choices) + "}" if choices else setting.type.__name__.upper(),
        default=argparse.SUPPRESS,
        help=description,
    )


def _parse_as(kind: type) -> Callable[[str], Any]:
    def parse(text: str) -> Any:
        try:
            return kind(text)
        except ValueError:
            raise argparse.ArgumentTypeError(f"must be {KINDS[kind]}; received {text!r}") from None

    return parse


@dataclasses.dataclass(frozen=True)
class Request:
    """What the command line of `train.py` asks for.

    Attributes:
        preset: the named preset, or None where none was named.
        config_file: settings from a JSON file, or None.
        values: settings given by flags.
        run_dir: the run directory, or None for a new one under `runs/`.
        resume: go on with the run in `run_dir`.
        summary: print the network as a table in place of training it.
        diagram: draw the network in place of training it.
    """

    preset: str | None
    config_file: Path | None
    values: dict[str, Any]
    run_dir: Path | None
    resume: bool
    summary: bool = False
    diagram: bool = False

    @property
    def names_data(self) -> bool:
        """Whether the user chose the data, directly or by a preset or file."""
        return bool(self.preset or self.config_file or "data" in self.values)

    def preset_name(self) -> str:
        """Return the named preset, else the one that suits the data, else `cifar10`."""
        if self.preset:
            return self.preset
        data = str(self.explicit_values().get("data", "cifar10"))
        kind = data.partition(":")[0].partition("/")[0]
        return {"imagenet2012": "imagenet"}.get(kind, kind if kind in PRESETS else "cifar10")

    def explicit_values(self) -> dict[str, Any]:
        """Return the settings of the preset, where one was named, the file and the flags."""
        values = dict(PRESETS[self.preset]) if self.preset else {}
        chosen = {**(load_values(self.config_file) if self.config_file else {}), **self.values}
        own = values.get("model", ModelConfig().model)
        if chosen.get("model", own) != own and "width" not in chosen:
            # The preset's width is for its network: another name means that paper's.
            chosen["width"] = 0
        return {**values, **chosen}

    def config(self) -> Config:
        """Build the configuration: preset, then file, then flags; each overrules the one before.

        Raises:
            UserError: an unknown name or a value out of range.
        """
        config = preset(self.preset_name()).with_values(self.explicit_values())
        return config.with_own_width()


def parse_training_request(arguments: list[str]) -> Request:
    """Read the command line of `train.py`.

    Raises:
        UserError: anything that cannot be understood.
    """
    parser = Parser(
        prog="train.py",
        usage="python train.py [PRESET] [--data SOURCE] [--width N] [--epochs N] [...]",
        description="Train an image classifier. With no argument: ResNet18 on CIFAR-10.",
        epilog=f"presets: {', '.join(PRESETS)}. Flags overrule --config, which overrules PRESET.",
    )
    parser.add_argument("preset", nargs="?", metavar="PRESET", help="a named starting point")
    parser.add_argument("--config", type=Path, metavar="FILE", help="settings as a JSON file")
    parser.add_argument("--run-dir", type=Path, metavar="DIR", help="where the run is written")
    parser.add_argument("--resume", action="store_true", help="go on with the run in --run-dir")
    parser.add_argument("--summary", action="store_true", help="only print the network as a table")
    parser.add_argument("--diagram", action="store_true", help="only draw the network as a chart")
    add_settings(parser)
    values = vars(parser.parse(arguments))
    request = Request(
        preset=values.pop("preset"),
        config_file=values.pop("config"),
        run_dir=values.pop("run_dir"),
        resume=values.pop("resume"),
        summary=values.pop("summary"),
        diagram=values.pop("diagram"),
        values=values,
    )
    if request.preset and request.preset not in PRESETS:
        raise unknown("preset", request.preset, PRESETS)
    if request.resume and not request.run_dir:
        raise UserError("--resume needs --run-dir DIR, the run to go on with; received none")
    return request
