"""What a network costs on a device, known before it is trained."""

import contextlib
import dataclasses
import functools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from export.quantize.preview import preview_int8
from export.verify.micro import measure_arena
from pipeline.config.config import Config
from pipeline.config.option import flag
from pipeline.console.progress import Progress
from pipeline.data.batches import load_images
from pipeline.data.prepare import PixelStatistics
from pipeline.errors import UserError
from pipeline.files.json_file import read_json, verify_fields, write_json
from pipeline.models.cost import count_parameters, multiply_adds
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.latency import measure_file
from pipeline.training.networks import build_deployed_network
from pipeline.training.resolve import Ground, resolve_network
from tuning.side_by_side import side_by_side
from tuning.space.limits import Limits

IMAGES = 8
"""Images of train that quantisation looks at and that latency is measured on."""

FILES_A_PROCESS = 2
"""As many pay for a process: to load TensorFlow takes it about as long as a file of a small ResNet."""

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


@dataclass(frozen=True)
class Architecture:
    """What decides what a network costs.

    Attributes:
        config: the settings, with nothing of the network left open.
        classes: number of logits.
        statistics: of pixels; those of any size will do, for no cost depends on them.
    """

    config: Config
    classes: int
    statistics: PixelStatistics

    @property
    def name(self) -> str:
        """All the settings that it is a function of."""
        settings = dataclasses.asdict(self.config.model)
        settings["image_size"] = self.config.data.image_size
        return ", ".join(f"{name} {value}" for name, value in settings.items() if name not in FREE)

    def build(self) -> keras.Model:
        """Build the network as it is deployed."""
        return build_deployed_network(self.config, self.classes, self.statistics)


class Untrained(NamedTuple):
    """What an int8 file is made of: an architecture, and uint8 [images, height, width, 3] of its size."""

    architecture: Architecture
    images: np.ndarray


class Made(NamedTuple):
    """An int8 file, and its arena in bytes, or in a few words why that is not known."""

    content: bytes
    arena: int | str


def make_file(untrained: Untrained, *, with_arena: bool) -> Made:
    """Make the int8 file and, where that is asked, size its arena."""
    file = preview_int8(untrained.architecture.build(), untrained.images)
    return Made(file.content, measure_arena(file) if with_arena else "")


class Costs:
    """Costs of the architectures of one search, each measured once and kept in a file.

    A search that was killed so goes on with the figures that it began with.

    Args:
        path: the JSON file; what it lacks is measured, and all of it where it is damaged.
        ground: the images, some of which a network is shown, and their classes.
        with_arena: whether TensorFlow Lite Micro's arena is measured as well.
    """

    def __init__(self, path: Path, ground: Ground, *, with_arena: bool = False) -> None:
        self._path, self._ground, self._with_arena = path, ground, with_arena
        self._costs = _load(path)
        self._counts: dict[str, tuple[int, int]] = {}
        self._images: dict[int, np.ndarray] = {}
        self._make = functools.partial(make_file, with_arena=with_arena)

    def of(self, config: Config) -> Cost:
        """Return what the architecture of `config` costs; measure it where that is not known.

        Raises:
            UserError: the images are too small for the network, or the file cannot be written.
        """
        architecture = self._architecture(config)
        if not self._knows(architecture):
            self._measure(architecture, self._make(self._untrained(architecture)))
        return self._costs[architecture.name]

    def measure_all(self, configs: Iterable[Config], cores: int) -> None:
        """Measure the architectures that are not known yet, and show how far that is.

        Files are made side by side, as many at a time as pays, and then each is timed alone: what else
        computes would slow it. What is measured is written at once, and so is there after a kill. Where it
        cannot be measured, `of` tells why.

        Args:
            configs: the settings with the architectures.
            cores: that may compute.
        """
        found = map(self._architecture, configs)
        missing = list({one.name: one for one in found if not self._knows(one)}.values())
        if not missing:
            return
        count = max(min(cores, len(missing) // FILES_A_PROCESS), 1)
        with (
            Progress(len(missing), "measuring what networks cost", "networks") as progress,
            side_by_side(self._make, count) as make,
        ):
            for start in range(0, len(missing), count):
                batch = missing[start : start + count]
                for architecture, made in zip(batch, make(list(map(self._untrained, batch))), strict=True):
                    if made is not None:
                        with contextlib.suppress(UserError):
                            self._measure(architecture, made)
                    progress.update(1)

    def exceeded(self, config: Config, limits: Limits) -> str | None:
        """Tell the first limit that the architecture of `config` breaks, with both figures.

        What can be counted comes first, and nothing is converted where that decides.

        Raises:
            UserError: as of `of`.
        """
        parameters, adds = self._count(self._architecture(config))
        broken = _first_broken({"max_parameters": parameters, "max_mac": adds}, limits)
        if broken or not limits.need_file:
            return broken
        cost = self.of(config)
        measured = {"max_bytes_int8": cost.int8_bytes, "max_latency_ms": cost.latency_ms}
        if limits.max_arena_kib is not None:
            assert cost.arena_kib is not None
            measured["max_arena_kib"] = cost.arena_kib
        return _first_broken(measured, limits)

    def _architecture(self, config: Config) -> Architecture:
        data = self._ground.data
        config = resolve_network(config, data)
        return Architecture(config, len(data.source.class_names), self._ground.statistics)

    def _knows(self, architecture: Architecture) -> bool:
        known = self._costs.get(architecture.name)
        return known is not None and (known.arena_kib is not None or not self._with_arena)

    def _count(self, architecture: Architecture) -> tuple[int, int]:
        """Count parameters and multiply-adds; a search asks often, and building takes a while."""
        if architecture.name not in self._counts:
            network = architecture.build()
            adds = sum(multiply_adds(network).values())
            self._counts[architecture.name] = count_parameters(network), adds
        return self._counts[architecture.name]

    def _measure(self, architecture: Architecture, made: Made) -> None:
        """Time a file and write down all that its architecture costs."""
        arena = None
        if self._with_arena:
            if isinstance(made.arena, str):
                raise UserError(
                    f"--max-arena-kib needs a file that TensorFlow Lite Micro runs; received {made.arena}"
                )
            arena = made.arena / 1024
        images = self._untrained(architecture).images
        latency = measure_file(TFLiteFile(made.content), images, threads=1)
        counts = self._count(architecture)
        self._costs[architecture.name] = Cost(*counts, len(made.content), round(latency.p50_ms, 3), arena)
        write_json(self._path, {name: dataclasses.asdict(cost) for name, cost in self._costs.items()})

    def _untrained(self, architecture: Architecture) -> Untrained:
        size = architecture.config.data.image_size
        if size not in self._images:
            train = self._ground.data.examples("train")
            few = dataclasses.replace(train, rows=train.rows[:IMAGES], image_size=size)
            self._images[size] = load_images(few)
        return Untrained(architecture, self._images[size])


def _load(path: Path) -> dict[str, Cost]:
    try:
        content = read_json(path)
        for figures in content.values():
            verify_fields(figures, COST, path)
        return {name: Cost(**figures) for name, figures in content.items()}
    except (UserError, TypeError):
        return {}


def _first_broken(figures: Mapping[str, float], limits: Limits) -> str | None:
    for name, figure in figures.items():
        limit = getattr(limits, name)
        if limit is not None and figure > limit:
            return f"{figure:,} {UNITS[name]}, more than {flag(name)} {limit:,}"
    return None
