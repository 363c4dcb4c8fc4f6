"""Every setting of a run: its default, unit, range and meaning.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pipeline.errors import UserError, unknown
from pipeline.settings import Section, flag, option

MODELS = ("resnet18",)
"""Networks that `pipeline.models` builds."""


OPTIMIZERS = (
    "sgd", "momentum", "nesterov", "rmsprop", "adam", "adamw", "adadelta", "adafactor", "adagrad",
    "adamax", "ftrl", "lamb", "lion", "muon", "nadam",
)  # fmt: skip
"""Keras' optimizers by their lower-case names, with momentum and nesterov as kinds of sgd.

All but ScheduleFreeAdamW, whose weight decay Keras 3.15 computes and then overwrites.
"""


@dataclass(frozen=True)
class DataConfig(Section):
    """Where pictures come from and how they are split."""

    data: str = option("cifar10", "a TFDS name (cifar10, imagenet2012, ...), folder:PATH or digits")
    image_size: int = option(
        0, "height and width of the model's input in pixels; 0: the source's own", minimum=0
    )
    validation_share: float = option(
        0.1, "share of train that is carved out for validation", above=0, maximum=0.5
    )
    test_share: float = option(
        0.15, "share kept for the test, where the source brings no test split", above=0, maximum=0.5
    )
    calibration_size: int = option(
        500, "pictures of train that quantisation may look at", minimum=1
    )
    split_seed: int = option(
        -1, "seed of the splits; -1: the run's own", minimum=-1, maximum=2**31 - 1
    )
    max_bad_share: float = option(
        0.05, "share of damaged files above which training refuses", minimum=0, maximum=1
    )


@dataclass(frozen=True)
class AugmentConfig(Section):
    """How training pictures are varied; every strength of 0 is off."""

    crop_padding: int = option(0, "random crop after padding by this many pixels", minimum=0)
    crop_mode: str = option("reflect", "what the padding holds", choices=("reflect", "zero"))
    resized_crop_area: float = option(
        0.0, "random resized crop of at least this share of the area", minimum=0, maximum=1
    )
    flip: str = option(
        "none",
        "random flips; alternating: every other epoch shows the mirror image",
        choices=("none", "horizontal", "vertical", "both", "alternating"),
    )
    rotation: float = option(0.0, "rotation by up to +- degrees", minimum=0, maximum=180)
    brightness: float = option(0.0, "brightness factor in 1 +- this", minimum=0, maximum=1)
    contrast: float = option(0.0, "contrast factor in 1 +- this", minimum=0, maximum=1)
    saturation: float = option(0.0, "saturation factor in 1 +- this", minimum=0, maximum=1)
    hue: float = option(0.0, "hue shift of +- this share of the circle", minimum=0, maximum=0.5)
    policy: str = option(
        "none",
        "an automatic augmentation policy",
        choices=("none", "trivialaugment", "randaugment"),
    )
    randaugment_layers: int = option(2, "operations RandAugment applies to a picture", minimum=1)
    randaugment_magnitude: int = option(
        9, "strength of RandAugment's operations, of 30", minimum=0, maximum=30
    )
    cutout: int = option(0, "side in pixels of a square that is cut out", minimum=0)
    erasing: float = option(0.0, "probability of random erasing", minimum=0, maximum=1)
    mixup: float = option(0.0, "alpha of mixup's Beta(alpha, alpha)", minimum=0)
    cutmix: float = option(0.0, "alpha of CutMix's Beta(alpha, alpha)", minimum=0)


@dataclass(frozen=True)
class ModelConfig(Section):
    """Which network."""

    model: str = option("resnet18", "the network", choices=MODELS)
    width: int = option(64, "channels of the first stage", minimum=1)
    stem: str = option(
        "auto",
        "3x3 convolution (cifar) or 7x7/2 with max-pool (imagenet); auto: imagenet from 96 px",
        choices=("auto", "cifar", "imagenet"),
    )
    dropout: float = option(
        0.0, "share of features dropped before the head", minimum=0, maximum=0.9
    )
    zero_init: bool = option(False, "start each block as the identity (last norm's scale at zero)")


@dataclass(frozen=True)
class FitConfig(Section):
    """Loss, optimizer, schedule and length of training."""

    epochs: int = option(30, "passes over the training split", minimum=1)
    batch_size: int = option(128, "pictures a step over all devices together", minimum=1)
    optimizer: str = option("nesterov", "the optimizer", choices=OPTIMIZERS)
    momentum: float = option(0.9, "of momentum, nesterov and rmsprop", minimum=0, maximum=0.9999)
    peak_learning_rate: float = option(0.1, "highest learning rate of the schedule", above=0)
    schedule: str = option(
        "cosine",
        "shape of the learning rate after warm-up",
        choices=("constant", "step", "cosine", "triangular"),
    )
    warmup_share: float = option(
        0.05, "share of all steps in which the rate rises linearly", minimum=0, maximum=0.9
    )
    step_epochs: int = option(10, "schedule step: epochs between two drops", minimum=1)
    step_factor: float = option(0.1, "schedule step: factor of each drop", above=0, maximum=1)
    weight_decay: float = option(
        0.0005, "decoupled decay times learning rate; spares norms and biases", minimum=0
    )
    clip_norm: float = option(0.0, "largest global norm of the gradient; 0: no clipping", minimum=0)
    label_smoothing: float = option(
        0.0, "share of the target spread over all classes", minimum=0, maximum=0.9
    )
    class_weights: str = option(
        "none",
        "balanced: weight each class by the inverse of its frequency",
        choices=("none", "balanced"),
    )
    ema_decay: float = option(
        0.0, "decay a step of the weights' moving average; 0: none", minimum=0, maximum=0.99999
    )
    early_stopping: int = option(
        0, "epochs without a better validation accuracy before stopping; 0: never", minimum=0
    )


@dataclass(frozen=True)
class RunConfig(Section):
    """Seed, hardware and safety."""

    seed: int = option(0, "of everything random", minimum=0, maximum=2**31 - 1)
    devices: str = option(
        "auto", "auto (every GPU, else the CPU), cpu, cpu:N (N logical CPUs), gpu or gpu:N"
    )
    precision: str = option(
        "auto",
        "arithmetic of the layers; weights stay float32",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    deterministic: bool = option(True, "bit-identical runs; off is faster on some GPUs")
    checkpoint_seconds: float = option(120.0, "longest time between two checkpoints", above=0)
    checkpoint_steps: int = option(
        0, "most steps between two checkpoints; 0: by time only", minimum=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        kind, count = parse_devices(self.devices)
        if kind != "auto":
            # One spelling, so that `cpu` and `cpu:1` are the same setting.
            object.__setattr__(self, "devices", f"{kind}:{count}")


def parse_devices(devices: str) -> tuple[str, int]:
    """Split `--devices` into its kind (auto, cpu, gpu) and number of devices (auto: 1).

    Raises:
        UserError: of another form.
    """
    kind, colon, count = devices.partition(":")
    if devices == "auto" or (kind in ("cpu", "gpu") and not colon):
        return kind, 1
    if kind in ("cpu", "gpu") and count.isdecimal() and int(count) > 0:
        return kind, int(count)
    raise UserError(f"--devices must be auto, cpu, cpu:N, gpu or gpu:N; received {devices!r}")


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
    "fit": FitConfig,
    "run": RunConfig,
}
SECTION_OF = {f.name: name for name, kind in SECTIONS.items() for f in dataclasses.fields(kind)}
"""Name of each setting -> name of the section that holds it. Setting names are unique."""


@dataclass(frozen=True)
class Config:
    """One run's settings. A run is a function of this, the data's fingerprint and the code."""

    data: DataConfig = DataConfig()
    augment: AugmentConfig = AugmentConfig()
    model: ModelConfig = ModelConfig()
    fit: FitConfig = FitConfig()
    run: RunConfig = RunConfig()

    def __post_init__(self) -> None:
        replicas = parse_devices(self.run.devices)[1]
        per_replica_batch_size(self.fit.batch_size, replicas)
        if replicas > 1 and self.fit.clip_norm:
            raise UserError(
                "--clip-norm needs a single device, because each would clip its own share of the "
                f"gradient; received --devices {self.run.devices}"
            )

    @property
    def split_seed(self) -> int:
        """Seed of the splits: their own where one is given, else the run's."""
        return self.run.seed if self.data.split_seed < 0 else self.data.split_seed

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


def load_values(path: Path) -> dict[str, Any]:
    """Read a JSON file of settings, all or some of them, into flat names.

    Raises:
        UserError: no such file, not JSON, or an unknown section.
    """
    try:
        sections = json.loads(path.read_text())
    except OSError as error:
        raise UserError(
            f"a configuration file must be readable; {path}: {error.strerror}"
        ) from None
    except ValueError as error:
        raise UserError(f"a configuration file must be JSON; {path}: {error}") from None
    if not isinstance(sections, dict):
        raise UserError(f"a configuration file must hold an object of sections; received {path}")
    values: dict[str, Any] = {}
    for section, settings in sections.items():
        if section not in SECTIONS:
            raise unknown(f"section in {path}:", section, SECTIONS)
        if not isinstance(settings, dict):
            raise UserError(f"section {section!r} in {path} must be an object of settings")
        for name in settings:
            if SECTION_OF.get(name, section) != section:
                raise UserError(
                    f"setting {name!r} must be in section {SECTION_OF[name]!r}; "
                    f"{path} has it in {section!r}"
                )
        values.update(settings)
    return values
