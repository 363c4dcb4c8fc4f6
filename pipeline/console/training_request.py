"""From the command line of `train.py` to a configuration: preset, file and flags."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.config import SECTION_OF, SECTIONS, Config, fill_in, load_values
from pipeline.config.host_addresses import MAX_HOSTS
from pipeline.config.option import Section, option
from pipeline.config.presets import PRESETS, preset
from pipeline.config.settings import MAX_SECONDS, ModelConfig
from pipeline.console.command_line import Parser, add_settings, take
from pipeline.console.source_argument import as_folder, find_source, is_folder, verify_one_meaning
from pipeline.errors import UserError, received, unknown
from pipeline.weights_settings import FROM_SCRATCH, settings_of_teacher, settings_of_weights

MAX_MINUTES = MAX_SECONDS // 60


@dataclass(frozen=True)
class ChosenSettings(Section):
    """Settings that a command line names; each source overrules the one before.

    Attributes:
        preset: the named preset, or None where none was named.
        values: settings given by flags, which overrule the file.
        config: the file, which overrules the preset.
    """

    preset: str | None
    values: dict[str, Any]
    config: Path | None = option(None, "settings as a JSON file", metavar="FILE")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.preset is not None and self.preset not in PRESETS:
            if "/" in self.preset:
                raise UserError(f"a folder of images must be there; received {received(self.preset)}")
            raise unknown("preset or folder", self.preset, PRESETS)

    @property
    def names_data(self) -> bool:
        """Whether the user chose the data, directly or by a preset or file."""
        return bool(self.preset or self.config or "data" in self.values)

    def preset_name(self) -> str:
        """Return the named preset, else the one that suits the data, network and weights, else `cifar10`."""
        if self.preset:
            return self.preset
        named = self._named_values()
        kind = str(named.get("data", "cifar10")).partition(":")[0].partition("/")[0]
        if kind == "folder":
            return "folder" if self._suits_folder(named) else "folder_scratch"
        return {"imagenet2012": "imagenet"}.get(kind, kind if kind in PRESETS else "cifar10")

    def _suits_folder(self, named: Mapping[str, Any]) -> bool:
        """Whether the recipe of `folder` fits, which is for the parts of one network that has learned."""
        start = PRESETS["folder"]
        weights = named.get("weights", start["weights"])
        brought = settings_of_weights(weights, start["model"]).get("model", start["model"])
        return weights not in FROM_SCRATCH and named.get("model", brought) == start["model"]

    def explicit_values(self) -> dict[str, Any]:
        """Return the settings of the preset, where one was named, of the weights, the teacher, the file
        and the flags.
        """
        values = dict(PRESETS[self.preset]) if self.preset else {}
        named, start = self._named_values(), PRESETS[self.preset_name()]
        own = start.get("model", ModelConfig().model)
        if named.get("model", own) != own:
            # The preset's width is for its network: another name means that paper's.
            values["width"] = 0
        asked = {**Config().values(), **start, **named}
        if self.preset or "weights" in named:
            values |= settings_of_weights(asked["weights"], asked["model"])
        return {**values, **settings_of_teacher(asked["teacher"], asked["data"]), **named}

    def _named_values(self) -> dict[str, Any]:
        return {**self._file_values(), **self.values}

    def _file_values(self) -> dict[str, Any]:
        """Read `--config`: some settings, or all of a run, which leave nothing to a preset."""
        if not self.config:
            return {}
        values = load_values(self.config)
        is_whole = {SECTION_OF[name] for name in values} == SECTIONS.keys()
        return fill_in(values, self.config) if is_whole else values

    def build_config(self) -> Config:
        """Build the configuration.

        Raises:
            UserError: an unknown name or a value out of range.
        """
        return preset(self.preset_name()).with_values(self.explicit_values()).with_own_width()


def add_chosen_settings(parser: Parser) -> None:
    """Add what `read_chosen_settings` reads: PRESET, --config and a flag for every setting."""
    parser.add_argument(
        "preset", nargs="?", metavar="PRESET", help="a named starting point, or a folder of images"
    )
    add_settings(parser, ChosenSettings)
    for name, section in SECTIONS.items():
        assert section.__doc__ is not None
        add_settings(parser.add_argument_group(name, section.__doc__.splitlines()[0]), section)


def read_chosen_settings(values: dict[str, Any]) -> ChosenSettings:
    """Pick the chosen settings from all that a command line gives.

    Raises:
        UserError: there is no such preset or folder, or two sources of images.
    """
    settings = {name: value for kind in SECTIONS.values() for name, value in take(values, kind).items()}
    word: str | None = values["preset"]
    if "data" in settings:
        settings["data"] = find_source(settings["data"])
    elif word in PRESETS:
        verify_one_meaning(word, "preset")
    if word is not None and word not in PRESETS and is_folder(word):
        if "data" in settings:
            raise UserError(
                f"a run takes one source of images; received {word} and --data {settings['data']}"
            )
        settings["data"] = as_folder(word)
        word = None
    return ChosenSettings(word, settings, **take(values, ChosenSettings))


@dataclass(frozen=True)
class Request(Section):
    """What the command line of `train.py` asks for.

    Attributes:
        chosen: settings.
        run_dir: the run directory, or None for a new one under `runs/`.
        resume: go on with the run in `run_dir`.
        summary: print the network as a table in place of training it.
        diagram: draw the network in place of training it.
        minutes: what the whole command may take; the epochs are as many as fit.
        hosts: which processes train together, as of `pipeline.config.host_addresses`.
        host_index: which of them this is.
        host_timeout: how long they wait for each other.
    """

    chosen: ChosenSettings
    run_dir: Path | None = option(None, "where the run is written", metavar="DIR")
    resume: bool = option(False, "go on with the run in --run-dir", switch=True)
    summary: bool = option(False, "only print the network as a table", switch=True)
    diagram: bool = option(False, "only draw the network as a diagram", switch=True)
    minutes: float | None = option(
        None, "in place of --epochs: as many as end within so many minutes", above=0, maximum=MAX_MINUTES
    )
    hosts: str | None = option(
        None,
        "train on several hosts: name and port of each, the first is the chief and writes the run; slurm: "
        "those of a step of srun; without, those of TF_CONFIG where it is set",
        metavar="NAME:PORT,...",
    )
    host_index: int | None = option(
        None, "the place of this host in --hosts, from 0", minimum=0, maximum=MAX_HOSTS - 1, metavar="INDEX"
    )
    host_timeout: float = option(
        60.0,
        "seconds for which hosts wait for one that starts late, and of silence until one counts as lost",
        minimum=1,
        maximum=MAX_SECONDS,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        # Of several hosts the first has the run, and the others are told.
        if self.resume and not self.run_dir and not self.host_index:
            raise UserError("--resume needs --run-dir DIR, the run to go on with; received none")
        if self.minutes is not None and "epochs" in self.chosen.values:
            raise UserError(
                "--epochs and --minutes exclude each other; received "
                f"--epochs {self.chosen.values['epochs']} and --minutes {self.minutes:g}"
            )
        if self.minutes is not None and self.resume:
            raise UserError(
                "--resume goes on for the epochs that the run began with; received "
                f"--minutes {self.minutes:g}"
            )


def parse_training_request(arguments: list[str]) -> Request:
    """Read the command line of `train.py`.

    Raises:
        UserError: anything that cannot be understood.
    """
    parser = Parser(
        prog="train.py",
        usage="python train.py [PRESET | FOLDER] [--data SOURCE] [--width N] [--epochs N] [...]",
        description="Train an image classifier. With no argument: ResNet18 on CIFAR-10.",
        epilog=f"presets: {', '.join(PRESETS)}. Flags overrule --config, which overrules PRESET.",
    )
    add_settings(parser, Request)
    add_chosen_settings(parser)
    values = parser.parse(arguments)
    return Request(read_chosen_settings(values), **take(values, Request))
