"""What a run's settings are far off from, told before it begins: one line, or none."""

from pipeline.config.config import Config
from pipeline.config.published import IMAGENET, IMAGENET_PIXELS

FEW_STEPS, ENOUGH_STEPS = 400, 1000
"""Steps from scratch that end early, and some more than the recipes for folders take (docs/choose.md)."""

LARGEST_BATCH_SHARE = 0.25
"""Of train: with fewer than four steps an epoch, the rate changes by leaps."""

ENLARGED = 2.5
"""Times that images are enlarged from which on most pixels that are computed tell nothing."""

SHRUNK = 0.75
"""Share of the size that weights learned from, below which their features suffer."""

RATE_AT_128, FAR_OFF = 0.1, 8.0
"""Peak rate of SGD with momentum for batches of 128 (He et al. 2015, 4.2), and what factor is far off."""

WITH_MOMENTUM = ("momentum", "nesterov")


def advise(config: Config, *, train_images: int, own_side: int | None) -> str | None:
    """Say in one line what is farthest off, the first of eight rules that holds.

    Args:
        config: resolved: image size and width are settled.
        train_images: images of train.
        own_side: median of the images' shorter sides, pixels, where it is known.
    """
    fit, size = config.fit, config.data.image_size
    from_scratch = not config.transfer.weights
    steps = config.total_epochs * (train_images // fit.batch_size)
    if fit.batch_size > LARGEST_BATCH_SHARE * train_images:
        batch = _power_of_two(train_images / 16)
        return (
            f"--batch-size {fit.batch_size} is more than a quarter of train's {train_images:,} images: "
            f"--batch-size {batch} takes {train_images // batch} steps an epoch"
        )
    if from_scratch and steps < FEW_STEPS:
        epochs = -(-ENOUGH_STEPS // (train_images // fit.batch_size))
        return f"{steps:,} steps are few for a network from scratch: --epochs {epochs} takes {ENOUGH_STEPS:,}"
    if from_scratch and own_side is not None and size > ENLARGED * own_side:
        return (
            f"--image-size {size} enlarges images of {own_side} pixels: --image-size {own_side} needs about "
            f"1/{(size / own_side) ** 2:.0f} of the time"
        )
    if config.transfer.weights == IMAGENET and size < SHRUNK * IMAGENET_PIXELS:
        want = f"--image-size {IMAGENET_PIXELS} suits them"
        return f"the weights learned from images of {IMAGENET_PIXELS} pixels: {want}"
    linear = RATE_AT_128 * fit.batch_size / 128
    if from_scratch and fit.optimizer in WITH_MOMENTUM and _is_far(fit.peak_learning_rate, linear):
        return (
            f"--peak-learning-rate {fit.peak_learning_rate:g} is far from {linear:.2g}, which batches of "
            f"{fit.batch_size} want where those of 128 want {RATE_AT_128} (linear scaling)"
        )
    return _without_effect(config)


def _without_effect(config: Config) -> str | None:
    """Say in one line what is asked for and comes to nothing, by how long the run is or by its network."""
    fit = config.fit
    longest = max(fit.epochs, config.transfer.finetune_epochs)
    if fit.schedule == "step" and fit.step_epochs >= longest:
        return f"the rate never drops: --step-epochs {fit.step_epochs} is not less than {longest} epochs"
    if fit.early_stopping >= fit.epochs:
        return f"--early-stopping {fit.early_stopping} cannot stop a run of {fit.epochs} epochs"
    if fit.optimizer == "muon" and config.model.model == "mlp":
        return "mlp has no convolutions for --optimizer muon: all of it learns as by nesterov"
    return None


def _is_far(value: float, other: float) -> bool:
    return not 1 / FAR_OFF <= value / other <= FAR_OFF


def _power_of_two(most: float) -> int:
    """Return the largest power of two up to `most`, at least 1."""
    return 1 << max(int(most).bit_length() - 1, 0)
