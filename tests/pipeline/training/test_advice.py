"""The plan's line of advice: when it comes, what it says, and that no preset needs it."""

import pytest

from pipeline.config.presets import preset
from pipeline.training.advice import advise

IMAGES = {"cifar10": (44_500, 32), "cifar10_small": (44_500, 32), "cifar100": (44_500, 32)}
IMAGES |= {name: (48_500, 32) for name in ("cifar10_10min", "cifar10_1h", "cifar10_2h")}
IMAGES |= {"digits": (1_277, 8), "folder": (459, 300), "folder_scratch": (459, 300)}
IMAGES |= {"imagenette": (8_000, 160), "imagenet": (1_281_167, 400)}


@pytest.mark.parametrize("name", IMAGES)
def test_no_preset_needs_advice_on_what_it_is_for(name):
    train_images, own_side = IMAGES[name]
    config = preset(name)
    if not config.data.image_size:
        config = config.with_values({"image_size": own_side})
    assert advise(config, train_images=train_images, own_side=own_side) is None


@pytest.mark.parametrize(
    ("name", "values", "train_images", "own_side", "advice"),
    [
        # 15 epochs of 12 steps; 1000 / 12 = 83.3.
        (
            "folder_scratch",
            {"epochs": 15},
            384,
            300,
            "180 steps are few for a network from scratch: --epochs 84 takes 1,000",
        ),
        # A sixteenth of 400 images is 25, and 16 the power of two below.
        (
            "folder_scratch",
            {"batch_size": 101},
            400,
            300,
            "--batch-size 101 is more than a quarter of train's 400 images: --batch-size 16 takes 25 steps",
        ),
        ("folder", {"batch_size": 4}, 10, 300, "--batch-size 1 takes 10 steps"),
        # (160 / 32)^2 = 25.
        ("folder_scratch", {}, 459, 32, "--image-size 32 needs about 1/25 of the time"),
        ("folder", {"image_size": 128}, 459, 300, "images of 224 pixels: --image-size 224 suits them"),
        # 0.1 * 32 / 128 = 0.025, and 8 times that is 0.2.
        ("folder_scratch", {"peak_learning_rate": 0.21}, 459, 300, "0.21 is far from 0.025"),
        ("folder_scratch", {"peak_learning_rate": 0.003}, 459, 300, "0.003 is far from 0.025"),
        # The first drop would come as the run ends.
        (
            "imagenette",
            {"schedule": "step", "step_epochs": 40},
            8_000,
            160,
            "--step-epochs 40 is not less than 40",
        ),
        # The first epoch is the best so far, so that at most 39 come without a better one.
        ("imagenette", {"early_stopping": 40}, 8_000, 160, "--early-stopping 40 cannot stop a run of 40"),
        ("cifar10_10min", {"model": "mlp"}, 48_500, 32, "mlp has no convolutions for --optimizer muon"),
    ],
)
def test_what_is_far_off_is_told(name, values, train_images, own_side, advice):
    told = advise(preset(name).with_values(values), train_images=train_images, own_side=own_side)
    assert advice in told
    assert "\n" not in told


@pytest.mark.parametrize(
    ("name", "values", "own_side"),
    [
        ("folder_scratch", {"batch_size": 100, "epochs": 100}, 300),
        ("folder_scratch", {"peak_learning_rate": 0.2}, 300),
        ("folder_scratch", {"peak_learning_rate": 0.001, "optimizer": "adamw"}, 300),
        # Learned features want 224 pixels of whatever size.
        ("folder", {}, 32),
        ("folder_scratch", {}, None),
        ("folder_scratch", {"image_size": 80}, 32),
        ("folder_scratch", {"schedule": "step", "step_epochs": 59, "early_stopping": 59}, 300),
        ("folder", {"schedule": "step", "step_epochs": 5, "finetune_epochs": 6}, 300),
        ("folder_scratch", {"optimizer": "muon", "model": "convnet", "peak_learning_rate": 0.025}, 300),
        # Weights of one's own need few steps, at any rate.
        ("folder_scratch", {"weights": "runs/x", "epochs": 2, "peak_learning_rate": 0.0001}, 300),
    ],
)
def test_what_is_near_is_not(name, values, own_side):
    assert advise(preset(name).with_values(values), train_images=400, own_side=own_side) is None
