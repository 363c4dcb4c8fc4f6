"""Every setting of a run: its default, unit, range and meaning.

Standard library only: the command line must answer without importing TensorFlow.
"""

import dataclasses
import os
import re
from dataclasses import dataclass

from pipeline.config.architectures import ARCHITECTURES, Architecture, ResidualArchitecture, find_architecture
from pipeline.config.option import Section, flag, option
from pipeline.config.reading import READING, RESIZES, Reading
from pipeline.errors import UserError, received

OPTIMIZERS = (
    "sgd",
    "momentum",
    "nesterov",
    "rmsprop",
    "adam",
    "adamw",
    "adadelta",
    "adafactor",
    "adagrad",
    "adamax",
    "ftrl",
    "lamb",
    "lion",
    "muon",
    "nadam",
)
"""Keras' optimizers by their lower-case names, with momentum and nesterov as kinds of sgd.

All but ScheduleFreeAdamW, whose weight decay Keras 3.15 computes and then overwrites.
"""


MAX_IMAGE_SIZE = 2048
"""Largest side of the model's input, pixels; a larger image is resized."""

MAX_EPOCHS, MAX_STEPS, MAX_SECONDS = 10**6, 10**9, 10**9
"""More than any machine gets through; the schedule counts them all in numbers that hold."""

MAX_FLOAT = 1e30
"""Largest setting without a natural end; float32, in which all is computed, ends at 3.4e38."""

MAX_DEVICES = 64
MAX_BATCH_VALUES = 2**31
"""Most values of a device's share of a batch of images: 2 GiB of pixels."""

PARTS = ("stem", *(f"stage{number}" for number in range(1, 8)))
"""Parts of a network of blocks before its head, first to last, as many as the longest has."""


@dataclass(frozen=True)
class DataConfig(Section):
    """Where images come from and how they are split."""

    data: str = option("cifar10", "a folder of images, a TFDS name (cifar10, imagenet2012, ...) or digits")
    image_size: int = option(
        0,
        "height and width of the model's input in pixels; 0: the source's own",
        minimum=0,
        maximum=MAX_IMAGE_SIZE,
    )
    validation_share: float = option(
        0.1, "share of train that is carved out for validation", above=0, maximum=0.5
    )
    test_share: float = option(
        0.15, "share kept for the test, where the source brings no test split", above=0, maximum=0.5
    )
    calibration_size: int = option(
        500, "images of train that quantisation may look at", minimum=1, maximum=10**6
    )
    split_seed: int = option(-1, "seed of the splits; -1: the run's own", minimum=-1, maximum=2**31 - 1)
    resize: str = option(
        "squash",
        "how an image becomes a square: all of it, whatever its shape (squash), the square in its middle "
        "(crop), or all of it in a grey border (pad)",
        choices=RESIZES,
    )
    eval_crop_share: float = option(
        0.875, "of --resize crop: side of the square, as a share of the shorter side", above=0, maximum=1
    )
    exif_orientation: bool = option(True, "turn images upright, as the EXIF orientation of their files says")
    image_formats: str = option(
        "all",
        "which files of a folder are read; basic: JPEG, PNG, GIF and BMP alone, without WebP and TIFF",
        choices=("all", "basic"),
    )
    duplicates: str = option(
        "pixels",
        "what two images of a folder share that are copies of each other: their pixels, or only their bytes",
        choices=("pixels", "bytes"),
    )
    quick_reading: bool = option(
        True,
        "read files for training faster than for evaluation: the same up to rounding, and large JPEGs at a "
        "part of their size",
    )
    max_bad_share: float = option(
        0.05, "share of damaged or unread files above which training refuses", minimum=0, maximum=1
    )
    exclude: str = option(
        "",
        "leave out the images that a CSV names, such as the label_errors.csv of an evaluation; every other "
        "stays in its split",
        metavar="FILE",
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.data.strip():
            raise UserError(f"--data must be folder:PATH, digits or a name of TFDS; received {self.data!r}")
        if self.eval_crop_share != READING.crop_share and self.resize != "crop":
            raise UserError(
                "--eval-crop-share is a setting of --resize crop; received "
                f"--eval-crop-share {self.eval_crop_share:g} and --resize {self.resize}"
            )
        if self.data == "folder:":
            # An empty path would be the current directory.
            raise UserError("--data folder:PATH must name a path; received 'folder:'")
        for name in ("data", "exclude"):
            _check_path(flag(name), getattr(self, name))

    @property
    def reading(self) -> Reading:
        """How image files are read."""
        return Reading(self.exif_orientation, self.resize, self.eval_crop_share)


def _check_path(name: str, text: str) -> None:
    if "\0" in text:
        raise UserError(f"{name} must hold no NUL; received {received(text)}")
    try:
        os.fsencode(text)
    except UnicodeEncodeError:
        raise UserError(f"{name} must be text that can be encoded; received {received(text)}") from None


@dataclass(frozen=True)
class AugmentConfig(Section):
    """How training images are varied; every strength of 0 is off."""

    crop_padding: int = option(
        0, "random crop after padding by this many pixels", minimum=0, maximum=MAX_IMAGE_SIZE
    )
    crop_mode: str = option(
        "reflect",
        "what the padding holds, and the corners of a rotation",
        choices=("reflect", "zero"),
        of={"crop_padding": (), "rotation": ()},
    )
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
        "none", "an automatic augmentation policy", choices=("none", "trivialaugment", "randaugment")
    )
    randaugment_layers: int = option(
        2,
        "operations RandAugment applies to an image",
        minimum=1,
        maximum=20,
        of={"policy": ("randaugment",)},
    )
    randaugment_magnitude: int = option(
        9,
        "strength of RandAugment's operations, of 30",
        minimum=0,
        maximum=30,
        of={"policy": ("randaugment",)},
    )
    cutout: int = option(0, "side in pixels of a square that is cut out", minimum=0, maximum=MAX_IMAGE_SIZE)
    erasing: float = option(0.0, "probability of random erasing", minimum=0, maximum=1)
    mixup: float = option(0.0, "alpha of mixup's Beta(alpha, alpha)", minimum=0, maximum=1000)
    cutmix: float = option(0.0, "alpha of CutMix's Beta(alpha, alpha)", minimum=0, maximum=1000)


@dataclass(frozen=True)
class ModelConfig(Section):
    """Which network."""

    model: str = option("resnet18", f"the network: {', '.join(ARCHITECTURES)} or wrn_N_K")
    width: int = option(
        0, "channels of the first stage; 0: as in the network's paper", minimum=0, maximum=1024
    )
    stem: str = option(
        "auto",
        "3x3 convolution (cifar), 7x7/2 or three 3x3 (deep) with max-pool; auto: cifar below 96 px",
        choices=("auto", "cifar", "imagenet", "deep"),
    )
    shortcut: str = option(
        "auto",
        "where shapes differ: 1x1 convolution (option B), zeros (option A) or average-pool and "
        "1x1 convolution (ResNet-D); none: no shortcuts at all; auto: as in the network's paper",
        choices=("auto", "projection", "zero_padding", "pooling", "none"),
    )
    dropout: float = option(0.0, "share of features dropped before the head", minimum=0, maximum=0.9)
    zero_init: bool = option(False, "start each block as the identity (last norm's scale at zero)")

    def __post_init__(self) -> None:
        super().__post_init__()
        architecture = self.architecture
        if not isinstance(architecture, ResidualArchitecture):
            self._check_residual_settings_are_unset()
        elif self.zero_init and not architecture.blocks_end_in_norms:
            raise UserError(
                "--zero-init needs blocks with shortcuts whose last layer is a norm; received "
                f"--model {self.model}, --shortcut {self.shortcut}"
            )
        if self.width % architecture.width_step:
            raise UserError(
                f"--width of {self.model} must be a multiple of {architecture.width_step}, so that all "
                f"its channels and groups are whole; received {self.width}"
            )

    def _check_residual_settings_are_unset(self) -> None:
        for name, unset in (("stem", "auto"), ("shortcut", "auto"), ("zero_init", False)):
            if getattr(self, name) != unset:
                raise UserError(f"{flag(name)} is a setting of ResNets; received --model {self.model}")

    @property
    def architecture(self) -> Architecture:
        """What the network is made of; width and shortcut are the paper's where left open."""
        architecture = find_architecture(self.model)
        if self.width:
            architecture = dataclasses.replace(architecture, width=self.width)
        if self.shortcut != "auto" and isinstance(architecture, ResidualArchitecture):
            architecture = dataclasses.replace(architecture, shortcut=self.shortcut)
        return architecture


@dataclass(frozen=True)
class TransferConfig(Section):
    """Weights to start from and how much of them trains, and a teacher."""

    weights: str = option(
        "",
        "start from a run directory, a .keras file, the state dict of a PyTorch ResNet (.pth, .pt, "
        ".safetensors), a KerasHub preset, or imagenet (those published of --model); none: from scratch",
    )
    freeze: str = option(
        "none", "train only what comes after this part of the network", choices=("none", *PARTS, "backbone")
    )
    linear_head: bool = option(
        False, "begin with the head that logistic regression finds on the features of the weights"
    )
    finetune_epochs: int = option(
        0, "epochs after --epochs, in which the frozen part trains as well", minimum=0, maximum=MAX_EPOCHS
    )
    finetune_rate: float = option(
        0.1,
        "their peak learning rate, as a share of --peak-learning-rate",
        above=0,
        maximum=1,
        of={"finetune_epochs": ()},
    )
    stage_rate_decay: float = option(
        1.0, "factor on the learning rate from each stage to the one before it", above=0, maximum=1
    )
    teacher: str = option(
        "",
        "learn from another network's answers as well as from labels: a finished run of the same classes, or "
        "a ready model; none: from labels alone",
    )
    teacher_share: float = option(
        0.9,
        "share of the loss that is the distance to the teacher's answers",
        minimum=0,
        maximum=1,
        of={"teacher": ()},
    )
    temperature: float = option(
        4.0,
        "what logits are divided by before that distance is taken",
        minimum=0.1,
        maximum=100,
        of={"teacher": ()},
    )
    teacher_precision: str = option(
        "auto",
        "arithmetic of the teacher's layers",
        choices=("auto", "float32", "mixed_bfloat16"),
        of={"teacher": ()},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("weights", "teacher"):
            _check_path(flag(name), getattr(self, name))
            if getattr(self, name) == "none":
                # One spelling, so that both are the same setting.
                object.__setattr__(self, name, "")
        if self.freeze != "none" and not self.weights:
            raise UserError(f"--freeze needs --weights to keep; received --freeze {self.freeze}")
        if self.linear_head and not self.weights:
            raise UserError("--linear-head needs --weights whose features it reads; received none")
        if self.finetune_epochs and self.freeze == "none":
            raise UserError(
                "--finetune-epochs needs --freeze, as it trains what was frozen; received "
                f"--finetune-epochs {self.finetune_epochs}"
            )


@dataclass(frozen=True)
class FitConfig(Section):
    """Loss, optimizer, schedule and length of training."""

    epochs: int = option(30, "passes over the training split", minimum=1, maximum=MAX_EPOCHS)
    batch_size: int = option(128, "images a step over all devices together", minimum=1, maximum=2**20)
    optimizer: str = option("nesterov", "the optimizer", choices=OPTIMIZERS)
    momentum: float = option(
        0.9,
        "of momentum, nesterov, rmsprop and muon",
        minimum=0,
        maximum=0.9999,
        of={"optimizer": ("momentum", "nesterov", "rmsprop", "muon")},
    )
    peak_learning_rate: float = option(
        0.1, "highest learning rate of the schedule", above=0, maximum=MAX_FLOAT
    )
    muon_rate: float = option(
        0.24,
        "optimizer muon: highest rate of the kernels of convolutions, a step as a share of their norm; "
        "--peak-learning-rate is for all else",
        above=0,
        maximum=100,
        of={"optimizer": ("muon",)},
    )
    schedule: str = option(
        "cosine",
        "shape of the learning rate after warm-up",
        choices=("constant", "step", "cosine", "triangular"),
    )
    warmup_share: float = option(
        0.05, "share of all steps in which the rate rises linearly", minimum=0, maximum=0.9
    )
    step_epochs: int = option(
        10,
        "schedule step: epochs between two drops",
        minimum=1,
        maximum=MAX_EPOCHS,
        of={"schedule": ("step",)},
    )
    step_factor: float = option(
        0.1, "schedule step: factor of each drop", above=0, maximum=1, of={"schedule": ("step",)}
    )
    weight_decay: float = option(
        0.0005, "decoupled decay times learning rate; spares norms and biases", minimum=0, maximum=MAX_FLOAT
    )
    clip_norm: float = option(
        0.0, "largest global norm of the gradient; 0: no clipping", minimum=0, maximum=MAX_FLOAT
    )
    label_smoothing: float = option(
        0.0, "share of the target spread over all classes", minimum=0, maximum=0.9
    )
    class_weights: str = option(
        "none", "balanced: weight each class by the inverse of its frequency", choices=("none", "balanced")
    )
    ema_decay: float = option(
        0.0, "decay a step of the weights' moving average; 0: none", minimum=0, maximum=0.99999
    )
    early_stopping: int = option(
        0,
        "epochs without a better validation accuracy before stopping; 0: never",
        minimum=0,
        maximum=MAX_EPOCHS,
    )


@dataclass(frozen=True)
class RunConfig(Section):
    """Seed, hardware and safety."""

    seed: int = option(0, "of everything random", minimum=0, maximum=2**31 - 1)
    devices: str = option(
        "auto",
        "auto (every GPU, else the CPU), cpu, cpu:N (N logical CPUs), gpu or gpu:N; all hosts together",
    )
    precision: str = option(
        "auto",
        "arithmetic of the layers; weights stay float32",
        choices=("auto", "float32", "mixed_bfloat16", "mixed_float16"),
    )
    deterministic: bool = option(True, "bit-identical runs; off is faster on some GPUs")
    checkpoint_seconds: float = option(
        120.0, "longest time between two checkpoints", above=0, maximum=MAX_SECONDS
    )
    checkpoint_steps: int = option(
        0, "most steps between two checkpoints; 0: by time only", minimum=0, maximum=MAX_STEPS
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
    # The digits are counted first: Python refuses to read thousands of them.
    if kind in ("cpu", "gpu") and re.fullmatch("[0-9]{1,4}", count) and 1 <= int(count) <= MAX_DEVICES:
        return kind, int(count)
    raise UserError(
        f"--devices must be auto, cpu, cpu:N, gpu or gpu:N with N from 1 to {MAX_DEVICES}; "
        f"received {received(devices)}"
    )
