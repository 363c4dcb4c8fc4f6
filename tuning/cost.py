"""What a network costs on a device, known before it is trained."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import keras
import numpy as np

from export.quantize.preview import preview_int8
from export.verify.micro import measure_arena
from pipeline.config.config import Config
from pipeline.config.option import flag
from pipeline.data.batches import load_images
from pipeline.errors import UserError
from pipeline.files.json_file import read_json, verify_fields, write_json
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import measure_file
from pipeline.training.networks import build_deployed_network
from pipeline.training.resolve import Ground, resolve
from tuning.space.limits import Limits

IMAGES = 8
"""Images of train that quantisation looks at and that latency is measured on."""

FREE = ("dropout", "zero_init")
"""Settings of the model section that change nothing in what a deployed network costs."""

UNITS = {
    "max_parameters": "parameters",
    "max_mac": "multiply-adds",
    "max_bytes_int8": "bytes in int8",
    "max_latency_ms": "ms an image",
    "max_arena_kib": "KiB of arena",
}
"""Each of the `Limits` -> what it counts."""


@dataclass(frozen=True)
class Cost:
    """What one architecture costs.

    Attributes:
        parameters: trainable weights.
        multiply_adds: of one image, see `pipeline.models.cost`.
        int8_bytes: size of the int8 .tflite file.
        latency_ms: median time of one image through that file on one thread of this machine, to
            the microsecond.
        arena_kib: what TensorFlow Lite Micro needs for that file; None where that was not asked.
    """

    parameters: int
    multiply_adds: int
    int8_bytes: int
    latency_ms: float
    arena_kib: float | None = None


COST = {"parameters": int, "multiply_adds": int, "int8_bytes": int, "latency_ms": float}
"""What a file tells of a `Cost`, and its type."""


class Costs:
    """Costs of the architectures of one search, each measured once and kept in a file.

    A search that was killed so goes on with the figures that it began with.

    Args:
        path: the JSON file; what it lacks is measured, and all of it where it is damaged.
        ground: the images, which give the input size and the classes.
        with_arena: whether TensorFlow Lite Micro's arena is measured as well.
    """

    def __init__(self, path: Path, ground: Ground, *, with_arena: bool = False) -> None:
        self._path, self._ground, self._with_arena = path, ground, with_arena
        self._costs = _load(path)
        self._counts: dict[str, tuple[int, int]] = {}

    def of(self, config: Config) -> Cost:
        """Return what the architecture of `config` costs; measure it where that is not known.

        Raises:
            UserError: the images are too small for the network, or the file cannot be written.
        """
        architecture = resolve(config, self._ground).config
        name = _name(architecture)
        known = self._costs.get(name)
        if known is None or (self._with_arena and known.arena_kib is None):
            self._costs[name] = self._measure(architecture)
            write_json(self._path, {name: dataclasses.asdict(cost) for name, cost in self._costs.items()})
        return self._costs[name]

    def exceeded(self, config: Config, limits: Limits) -> str | None:
        """Tell the first limit that the architecture of `config` breaks, with both figures.

        What can be counted comes first, and nothing is converted where that decides.

        Raises:
            UserError: as of `of`.
        """
        parameters, adds = self._count(resolve(config, self._ground).config)
        broken = _first_broken({"max_parameters": parameters, "max_mac": adds}, limits)
        if broken or not limits.need_file:
            return broken
        cost = self.of(config)
        measured = {"max_bytes_int8": cost.int8_bytes, "max_latency_ms": cost.latency_ms}
        if limits.max_arena_kib is not None:
            assert cost.arena_kib is not None
            measured["max_arena_kib"] = cost.arena_kib
        return _first_broken(measured, limits)

    def _build(self, architecture: Config) -> keras.Model:
        classes = len(self._ground.data.source.class_names)
        return build_deployed_network(architecture, classes, self._ground.statistics)

    def _count(self, architecture: Config) -> tuple[int, int]:
        """Count parameters and multiply-adds; a search asks often, and building takes a while."""
        name = _name(architecture)
        if name not in self._counts:
            network = self._build(architecture)
            adds = sum(multiply_adds(network).values())
            self._counts[name] = count_parameters(network), adds
        return self._counts[name]

    def _measure(self, architecture: Config) -> Cost:
        file = preview_int8(self._build(architecture), self._images)
        latency = measure_file(file, self._images, threads=1)
        arena = _arena_kib(file) if self._with_arena else None
        return Cost(*self._count(architecture), file.size, round(latency.p50_ms, 3), arena)

    @cached_property
    def _images(self) -> np.ndarray:
        train = self._ground.data.examples("train")
        return load_images(dataclasses.replace(train, rows=train.rows[:IMAGES]))


def _arena_kib(file: TFLiteFile) -> float:
    arena = measure_arena(file)
    if isinstance(arena, str):
        raise UserError(f"--max-arena-kib needs a file that TensorFlow Lite Micro runs; received {arena}")
    return arena / 1024


def _load(path: Path) -> dict[str, Cost]:
    try:
        content = read_json(path)
        for figures in content.values():
            verify_fields(figures, COST, path)
        return {name: Cost(**figures) for name, figures in content.items()}
    except (UserError, TypeError):
        return {}


def _name(architecture: Config) -> str:
    """Name an architecture by all the settings that it is a function of."""
    settings = dataclasses.asdict(architecture.model)
    settings["image_size"] = architecture.data.image_size
    return ", ".join(f"{name} {value}" for name, value in settings.items() if name not in FREE)


def _first_broken(figures: Mapping[str, float], limits: Limits) -> str | None:
    for name, figure in figures.items():
        limit = getattr(limits, name)
        if limit is not None and figure > limit:
            return f"{figure:,} {UNITS[name]}, more than {flag(name)} {limit:,}"
    return None
