"""Named starting points: settings that go together."""

from typing import Any

from pipeline.config.config import Config
from pipeline.errors import unknown

PHOTOGRAPHS: dict[str, Any] = {
    "batch_size": 32,
    "resized_crop_area": 0.35,
    "flip": "horizontal",
    "brightness": 0.2,
    "contrast": 0.2,
    "saturation": 0.2,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
}
"""What a folder of a few hundred photographs is trained with, whatever it starts from."""

# With nearly all images to train on: what is left for validation tells a run that fails.
MUON: dict[str, Any] = {
    "data": "cifar10",
    "validation_share": 0.02,
    "width": 16,
    "batch_size": 128,
    "optimizer": "muon",
    "muon_rate": 0.08,
    "peak_learning_rate": 0.1,
    "schedule": "triangular",
    "warmup_share": 0.0,
    "flip": "alternating",
}
"""What ResNet18 of width 16 learns CIFAR-10 by, however long; see docs/recipes.md."""

PRESETS: dict[str, dict[str, Any]] = {
    "cifar10": {
        "data": "cifar10",
        "crop_padding": 4,
        "flip": "horizontal",
        "cutout": 8,
        "label_smoothing": 0.1,
    },
    "cifar10_small": {
        "data": "cifar10",
        "width": 16,
        "epochs": 10,
        "crop_padding": 4,
        "flip": "horizontal",
        "schedule": "triangular",
        "warmup_share": 0.25,
        "peak_learning_rate": 0.2,
        "batch_size": 256,
        "label_smoothing": 0.1,
    },
    "cifar10_10min": {**MUON, "epochs": 10, "crop_padding": 2, "label_smoothing": 0.2},
    "cifar10_1h": {**MUON, "epochs": 45, "crop_padding": 4, "cutout": 8},
    # Four times as wide: the head sums over as many more features, so its rate is lower.
    "cifar10_2h": {
        **MUON,
        "width": 64,
        "epochs": 12,
        "batch_size": 256,
        "muon_rate": 0.12,
        "peak_learning_rate": 0.03,
        "crop_padding": 2,
        "label_smoothing": 0.2,
    },
    "cifar100": {
        "data": "cifar100",
        "epochs": 100,
        "crop_padding": 4,
        "flip": "horizontal",
        "cutout": 8,
        "label_smoothing": 0.1,
    },
    "imagenette": {
        "data": "imagenette/160px-v2",
        "image_size": 160,
        "epochs": 40,
        "batch_size": 64,
        "resized_crop_area": 0.35,
        "flip": "horizontal",
        "label_smoothing": 0.1,
    },
    "imagenet": {
        "data": "imagenet2012",
        "image_size": 224,
        "epochs": 90,
        "batch_size": 256,
        "resized_crop_area": 0.08,
        "flip": "horizontal",
        "warmup_share": 0.05,
        "label_smoothing": 0.1,
        "weight_decay": 0.0001,
        "calibration_size": 1000,
    },
    # A linear head on ImageNet's features, then the upper part in a few careful epochs.
    "folder": {
        "data": "folder:images",
        "model": "efficientnet_lite0",
        "weights": "imagenet",
        "image_size": 224,
        "linear_head": True,
        "freeze": "stage6",
        "epochs": 4,
        **PHOTOGRAPHS,
        "peak_learning_rate": 0.01,
    },
    "folder_scratch": {
        "data": "folder:images",
        "image_size": 160,
        "width": 32,
        "epochs": 60,
        **PHOTOGRAPHS,
        "peak_learning_rate": 0.05,
    },
    "digits": {
        "data": "digits",
        "width": 16,
        "epochs": 30,
        "batch_size": 64,
        "crop_padding": 1,
        "crop_mode": "zero",
        "rotation": 10.0,
        "label_smoothing": 0.1,
        "calibration_size": 100,
    },
}
"""Named starting points; what a preset does not name keeps its default."""


def preset(name: str) -> Config:
    """Build the configuration of a preset.

    Raises:
        UserError: no preset has that name.
    """
    if name not in PRESETS:
        raise unknown("preset", name, PRESETS)
    return Config().with_values(PRESETS[name])
