"""One run's configuration: its sections, JSON, and the rules that hold between settings.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
import functools
import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from pipeline.config.option import Section, flag
from pipeline.config.settings import (
    MAX_BATCH_VALUES,
    AugmentConfig,
    DataConfig,
    FitConfig,
    ModelConfig,
    RunConfig,
    TransferConfig,
    parse_devices,
)
from pipeline.errors import UserError, unknown
from pipeline.files.json_file import parse_json


def per_replica_batch_size(global_batch_size: int, replicas: int) -> int:
    """Divide the global batch over the devices.

    Raises:
        UserError: it does not divide; the nearest sizes that do are named.
    """
    if global_batch_size % replicas:
        below = global_batch_size // replicas * replicas
        nearest = [str(size) for size in (below, below + replicas) if size > 0]
        raise UserError(
            f"--batch-size must be a multiple of the {replicas} devices; received "
            f"{global_batch_size} (nearest: {' or '.join(nearest)})"
        )
    return global_batch_size // replicas


SECTIONS: dict[str, type[Section]] = {
    "data": DataConfig,
    "augment": AugmentConfig,
    "model": ModelConfig,
    "transfer": TransferConfig,
    "fit": FitConfig,
    "run": RunConfig,
}
SECTION_OF = {f.name: name for name, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
"""Name of each setting -> name of the section that holds it. Setting names are unique."""


def _declaration(name: str) -> dataclasses.Field[Any]:
    """Return how a setting was declared."""
    return next(each for each in dataclasses.fields(SECTIONS[SECTION_OF[name]]) if each.name == name)


@dataclass(frozen=True)
class Config:
    """One run's settings. A run is a function of this, the data's fingerprint and the code."""

    data: DataConfig = field(default_factory=DataConfig)
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    transfer: TransferConfig = field(default_factory=TransferConfig)
    fit: FitConfig = field(default_factory=FitConfig)
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        replicas = parse_devices(self.run.devices)[1]
        share = per_replica_batch_size(self.fit.batch_size, replicas)
        if 3 * share * self.data.image_size**2 > MAX_BATCH_VALUES:
            raise UserError(
                f"3 values a pixel of --batch-size images (a device's share of them) must be at most "
                f"{MAX_BATCH_VALUES:,}; received {share:,} of --image-size {self.data.image_size}"
            )
        if self.fit.early_stopping and self.transfer.finetune_epochs:
            raise UserError(
                "--early-stopping must be 0 with --finetune-epochs, which it would never reach; "
                f"received {self.fit.early_stopping}"
            )
        if replicas > 1 and self.fit.clip_norm:
            raise UserError(
                "--clip-norm needs a single device, because each would clip its own share of the "
                f"gradient; received --devices {self.run.devices}"
            )

    @property
    def split_seed(self) -> int:
        """Seed of the splits: their own where one is given, else the run's."""
        return self.run.seed if self.data.split_seed < 0 else self.data.split_seed

    @property
    def total_epochs(self) -> int:
        """Epochs of the whole run, those of fine-tuning included."""
        return self.fit.epochs + self.transfer.finetune_epochs

    def with_own_width(self) -> Self:
        """Return a copy with the network's own width in place of 0."""
        return self.with_values({"width": self.model.architecture.width})

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """Return a copy with the named settings changed.

        Raises:
            UserError: unknown name, wrong type or a value out of range.
        """
        by_section: dict[str, dict[str, Any]] = {}
        for name, value in values.items():
            if name not in SECTION_OF:
                raise unknown("setting", name, SECTION_OF)
            by_section.setdefault(SECTION_OF[name], {})[name] = value
        changed = {
            section: dataclasses.replace(getattr(self, section), **settings)
            for section, settings in by_section.items()
        }
        return dataclasses.replace(self, **changed)

    def values(self) -> dict[str, Any]:
        """Every setting by its flat name."""
        return {name: getattr(getattr(self, section), name) for name, section in SECTION_OF.items()}

    def without_effect(self, names: Iterable[str]) -> list[str]:
        """Tell of those of the named settings that no other setting asks for."""
        values, found = self.values(), []
        for name in names:
            needed = _declaration(name).metadata["of"] or {}
            met = (values[other] in on if on else values[other] for other, on in needed.items())
            if needed and not any(met):
                beside = (f"{flag(other)} {' or '.join(on)}".strip() for other, on in needed.items())
                found.append(f"{flag(name)} has no effect without {' or '.join(beside)}")
        return found

    def differences(self, other: Self) -> list[str]:
        """List the settings in which `other` differs, as `--width 64 -> 16`."""
        theirs = other.values()
        return [
            f"{flag(name)} {value} -> {theirs[name]}"
            for name, value in self.values().items()
            if theirs[name] != value
        ]

    def to_json(self) -> str:
        """Write the settings section by section."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"


EXCLUDED = "excluded.csv"
"""What lies beside the settings of a run that left images out: which."""


def load_values(path: Path) -> dict[str, Any]:
    """Read a JSON file of settings, all or some of them, into flat names.

    The list of images that a run left out is the one in its directory: what it was made from may have
    changed since.

    Raises:
        UserError: no such file, not JSON, or an unknown section or setting.
    """
    try:
        sections = parse_json(path)
    except OSError as error:
        raise UserError(f"a configuration file must be readable; {path}: {error.strerror}") from None
    except ValueError as error:
        raise UserError(f"a configuration file must be JSON; {path}: {error}") from None
    values = flat_values(sections, path)
    if values.get("exclude") and (own := path.with_name(EXCLUDED)).is_file():
        values["exclude"] = str(own)
    return values


BEFORE: dict[str, Any] = {
    "exif_orientation": False,
    "image_formats": "basic",
    "duplicates": "bytes",
    "quick_reading": False,
}
"""What an earlier version did, where that is not today's default."""


def fill_in(values: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """Put settings that an earlier version did not have at what it did, and say so.

    Args:
        values: all that the version knew, by flat names.
        path: the file that they are from.
    """
    before = {**Config().values(), **BEFORE}
    absent = [f"{name} read as {value!r}" for name, value in before.items() if name not in values]
    if absent:
        _say_once(f"{path} is of an earlier version: {', '.join(absent)}")
    return {**before, **values}


@functools.cache
def _say_once(line: str) -> None:
    """Print a line, once however many times a command reads the settings."""
    print(line, file=sys.stderr)


def flat_values(sections: Any, path: Path) -> dict[str, Any]:
    """Turn an object of sections, as it stands in the file `path`, into flat names.

    Raises:
        UserError: it is none, or has an unknown section or setting.
    """
    if not isinstance(sections, dict):
        raise UserError(f"a configuration file must hold an object of sections; received {path}")
    values: dict[str, Any] = {}
    for section, settings in sections.items():
        if section not in SECTIONS:
            raise unknown(f"section in {path}:", section, SECTIONS)
        if not isinstance(settings, dict):
            raise UserError(f"section {section!r} in {path} must be an object of settings")
        for name in settings:
            if name not in SECTION_OF:
                raise unknown(f"setting in {path}:", name, SECTION_OF)
            if SECTION_OF[name] != section:
                raise UserError(
                    f"setting {name!r} must be in section {SECTION_OF[name]!r}; {path} has it in {section!r}"
                )
        values.update(settings)
    return values
