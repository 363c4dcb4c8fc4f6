"""The search space: what is searched, over which values, and when it matters.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.config.config import SECTION_OF, SECTIONS, Config
from pipeline.config.settings import MAX_IMAGE_SIZE, OPTIMIZERS

Value = float | int | str
Values = dict[str, Value]
"""Values of those hyperparameters that matter beside each other, by name."""

SGD_KINDS: tuple[str, ...] = ("sgd", "momentum", "nesterov")
ADAPTIVE = tuple(name for name in OPTIMIZERS if name not in SGD_KINDS)


@dataclass(frozen=True)
class Dimension:
    """One hyperparameter: continuous from `low` to `high`, or one of `choices`.

    Attributes:
        name: a setting, or one of the names that `apply` translates into settings.
        meaning: in words, with the unit.
        low: least value.
        high: greatest value.
        log: search evenly in the logarithm.
        choices: what it may be; where they are numbers, in ascending order.
        when: another dimension and those of its values beside which this one matters.
    """

    name: str
    meaning: str
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    choices: tuple[Value, ...] = ()
    when: tuple[str, tuple[Value, ...]] | None = None

    @property
    def is_ordered(self) -> bool:
        """Whether nearby positions mean similar values."""
        return all(not isinstance(choice, str) for choice in self.choices)

    def matters(self, values: Mapping[str, Value]) -> bool:
        """Whether it has an effect beside the other values."""
        return self.when is None or values.get(self.when[0]) in self.when[1]

    def value_at(self, position: float) -> Value:
        """Return the value at a position in [0, 1]."""
        if self.choices:
            return self.choices[min(int(position * len(self.choices)), len(self.choices) - 1)]
        if self.log:
            value = self.low * (self.high / self.low) ** position
        else:
            value = self.low + (self.high - self.low) * position
        # Rounding must not lead out of what the setting allows.
        return float(min(max(value, self.low), self.high))

    def position_of(self, value: Value) -> float:
        """Return the position of a value, in [0, 1]; of a choice, the middle of its share."""
        if self.choices:
            return (self.choices.index(value) + 0.5) / len(self.choices)
        assert not isinstance(value, str)
        if self.log:
            position = math.log(value / self.low) / math.log(self.high / self.low)
        else:
            position = (value - self.low) / (self.high - self.low)
        return min(max(position, 0.0), 1.0)

    def nearest(self, value: Value) -> Value:
        """Return the value of this dimension that is nearest to `value`."""
        if not self.choices:
            assert not isinstance(value, str)
            return float(min(max(value, self.low), self.high))
        if value in self.choices:
            return value
        numbers = [choice for choice in self.choices if not isinstance(choice, str)]
        if len(numbers) < len(self.choices):
            return self.choices[0]
        assert not isinstance(value, str)
        return min(numbers, key=lambda choice: abs(choice - value))


Space = tuple[Dimension, ...]
"""Hyperparameters by unique names; one that another depends on stands before it."""

STRENGTHS = ("crop_padding", "rotation", "brightness", "contrast", "saturation", "hue", "cutout", "erasing")
"""Settings that `augment_strength` multiplies."""

SIZE_STEP = 8
"""Pixels between the sizes of images in LOW..HIGH: networks halve them three times and more."""

DEFAULT_ALPHA = 0.2
"""Of mixup or CutMix where the settings mix nothing (Zhang et al. 2018, arXiv:1710.09412, 3.1)."""


def search_space(config: Config) -> Space:
    """Return what is searched unless `--space` narrows it, around the settings of `config`."""
    width, batch = config.model.architecture.width, config.fit.batch_size
    step = config.model.architecture.width_step
    widths = {max(round(width * factor / step), 1) * step for factor in (0.5, 0.75, 1, 1.5)}
    batches = {max(round(batch * factor), 1) for factor in (0.5, 1, 2)}
    kinds = _with(("sgd", "momentum", "rmsprop", "adamw"), config.fit.optimizer)
    sgd, adaptive = SGD_KINDS, ADAPTIVE
    if "muon" in kinds:
        # Here alone, so that searches of earlier versions, without it, go on in the same space.
        sgd, adaptive = (*sgd, "muon"), tuple(name for name in adaptive if name != "muon")
    space = (
        Dimension("width", "channels of the first stage", choices=tuple(sorted(widths))),
        Dimension("batch_size", "images a step", choices=tuple(sorted(batches))),
        Dimension("optimizer", "the optimizer", choices=kinds),
        Dimension(
            "peak_learning_rate", "highest learning rate of SGD", 0.01, 1.0, log=True, when=("optimizer", sgd)
        ),
        Dimension(
            "muon_rate",
            "highest rate of the kernels of convolutions, a share of their norm",
            0.01,
            1.0,
            log=True,
            when=("optimizer", ("muon",)),
        ),
        Dimension(
            "adaptive_learning_rate",
            "highest learning rate of the others",
            3e-4,
            3e-2,
            log=True,
            when=("optimizer", adaptive),
        ),
        Dimension("weight_decay", "decoupled decay times learning rate", 1e-5, 0.1, log=True),
        Dimension(
            "schedule",
            "shape of the learning rate after warm-up",
            choices=_with(("cosine", "triangular", "constant"), config.fit.schedule),
        ),
        Dimension("label_smoothing", "share of the target spread over all classes", 0.0, 0.2),
        Dimension("dropout", "share of features dropped before the head", 0.0, 0.5),
        Dimension("augment_strength", "factor on the augmentation's own strengths", 0.0, 2.0),
        Dimension("policy", "automatic augmentation", choices=("none", "trivialaugment", "randaugment")),
        Dimension(
            "randaugment_magnitude",
            "strength of its operations, of 30",
            choices=(3, 6, 9, 12, 15),
            when=("policy", ("randaugment",)),
        ),
        Dimension("mixing", "what mixes images", choices=("none", "mixup", "cutmix")),
        Dimension(
            "mixing_alpha", "alpha of its Beta(alpha, alpha)", 0.1, 1.0, when=("mixing", ("mixup", "cutmix"))
        ),
    )
    senseless = set()
    if not any(getattr(config.augment, name) for name in STRENGTHS):
        # Nothing times a factor is nothing.
        senseless.add("augment_strength")
    if "muon" not in kinds:
        senseless.add("muon_rate")
    if config.transfer.weights:
        # They fit one width.
        senseless.add("width")
    if config.augment.mixup and config.augment.cutmix:
        # Both at once is none of the choices.
        senseless |= {"mixing", "mixing_alpha"}
    return tuple(dimension for dimension in space if dimension.name not in senseless)


def network_space(config: Config) -> Space:
    """Return what `--space` may open of the network beside its width, where it names it.

    Names have the settings' own value alone; of sizes there are those that a range may hold.
    """
    own = config.model
    space = (
        Dimension("model", "the network", choices=(own.model,)),
        Dimension("stem", "the first layers", choices=(own.stem,)),
        Dimension("shortcut", "where shapes differ", choices=(own.shortcut,)),
        Dimension(
            "image_size",
            "height and width of its input, pixels",
            choices=tuple(range(SIZE_STEP, MAX_IMAGE_SIZE + 1, SIZE_STEP)),
        ),
    )
    senseless = set()
    if config.transfer.weights:
        # They fit one network, but mostly images of any size.
        senseless |= {"model", "stem", "shortcut"}
    if config.transfer.teacher:
        # It answers for images of one size.
        senseless.add("image_size")
    return tuple(dimension for dimension in space if dimension.name not in senseless)


def _with(choices: tuple[str, ...], own: str) -> tuple[str, ...]:
    return choices if own in choices else (own, *choices)


def settle(space: Space, values: Mapping[str, Value]) -> Values:
    """Leave out the values that do not matter beside the others."""
    settled: Values = {}
    for dimension in space:
        if dimension.name in values and dimension.matters(settled):
            settled[dimension.name] = values[dimension.name]
    return settled


def values_at(space: Space, point: Iterator[float]) -> Values:
    """Return the values at a point of the unit cube, one coordinate a dimension."""
    return settle(space, {d.name: d.value_at(p) for d, p in zip(space, point, strict=True)})


def own_values(config: Config) -> dict[str, Value]:
    """Return what `config` itself has for every hyperparameter there may be."""
    own = config.with_own_width().values()
    return {
        **own,
        "adaptive_learning_rate": own["peak_learning_rate"],
        "augment_strength": 1.0,
        "mixing": mixing_of(config),
        "mixing_alpha": own["mixup"] or own["cutmix"] or DEFAULT_ALPHA,
    }


def nearest_values(space: Space, config: Config) -> Values:
    """Return the point of the space that is nearest to the settings of `config`."""
    own = own_values(config)
    return settle(space, {d.name: d.nearest(own[d.name]) for d in space})


def apply(values: Mapping[str, Value], config: Config) -> Config:
    """Return `config` with the hyperparameters in place of its settings.

    Args:
        values: of the hyperparameters that matter.
        config: what is being tuned.

    Raises:
        UserError: a value is out of its setting's range.
    """
    settings = dict(values)
    if "adaptive_learning_rate" in settings:
        settings["peak_learning_rate"] = settings.pop("adaptive_learning_rate")
    strength = settings.pop("augment_strength", 1.0)
    assert not isinstance(strength, str)
    for name in STRENGTHS:
        settings[name] = _times(name, getattr(config.augment, name), strength)
    if settings.keys() & {"mixing", "mixing_alpha"}:
        own_alpha = config.augment.mixup or config.augment.cutmix or DEFAULT_ALPHA
        alpha = settings.pop("mixing_alpha", own_alpha)
        mixing = settings.pop("mixing", mixing_of(config))
        settings |= {kind: alpha if kind == mixing else 0.0 for kind in ("mixup", "cutmix")}
    return config.with_values(settings)


def mixing_of(config: Config) -> str:
    """Name what mixes images under `config`."""
    return "mixup" if config.augment.mixup else "cutmix" if config.augment.cutmix else "none"


def _times(name: str, value: float, strength: float) -> float:
    """Multiply a strength within its setting's type and maximum."""
    kind, rules = setting(name).type, setting(name).metadata
    product = min(value * strength, rules["maximum"] or math.inf)
    return round(product) if kind is int else product


def setting(name: str) -> dataclasses.Field[Any]:
    """Return the declaration of a setting."""
    section = SECTIONS[SECTION_OF[name]]
    return next(field for field in dataclasses.fields(section) if field.name == name)


def describe_space(space: Space) -> str:
    """Describe each dimension in a line: values, scale, meaning, condition."""
    lines = []
    for dimension in space:
        if dimension.choices:
            values = " | ".join(map(str, dimension.choices))
        else:
            scale = ", log" if dimension.log else ""
            values = f"{dimension.low:g} .. {dimension.high:g}{scale}"
        condition = ""
        if dimension.when:
            condition = f"; where {dimension.when[0]} is {' or '.join(_shown(dimension, space))}"
        lines.append(f"{dimension.name:>22}  {values}  ({dimension.meaning}{condition})")
    return "\n".join(lines)


def _shown(dimension: Dimension, space: Space) -> list[str]:
    """List those values of the condition that are searched."""
    assert dimension.when
    name, wanted = dimension.when
    (condition,) = (other for other in space if other.name == name)
    return [str(choice) for choice in condition.choices if choice in wanted]
