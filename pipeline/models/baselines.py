"""Plain networks that show why convolutions, depth and residuals matter."""

from collections.abc import Callable

from keras import KerasTensor, layers

from pipeline.models.elements import check_size, hidden
from pipeline.models.names import stage_name


def mlp_features(x: KerasTensor, width: int, *, conv: Callable[..., KerasTensor], seed: int) -> KerasTensor:
    """Turn normalised pixels into features: two hidden layers of 8 x `width` rectified units.

    With 200 units it is the "2NN" of McMahan et al. 2017 (arXiv:1602.05629), section 3.
    """
    x = layers.Flatten(name="flatten")(x)
    x = hidden(x, 8 * width, seed=seed, name="hidden1")
    return hidden(x, 8 * width, seed=seed, name="hidden2")


def convnet_features(
    x: KerasTensor, width: int, *, conv: Callable[..., KerasTensor], seed: int
) -> KerasTensor:
    """Turn normalised pixels into features: two convolutions with pooling, 16 x `width` units.

    5x5 convolutions of `width` and 2 x `width` channels, each with a bias, a ReLU and a max-pool
    of 2x2; at width 32 the CNN of McMahan et al. 2017 (arXiv:1602.05629), section 3.

    Raises:
        UserError: an image too small to be halved twice.
    """
    check_size(x, 4, "the convnet")
    for name, filters in ((stage_name(1), width), (stage_name(2), 2 * width)):
        x = conv(x, filters, 5, use_bias=True, name=f"{name}_conv")
        x = layers.ReLU(name=f"{name}_relu")(x)
        x = layers.MaxPooling2D(2, name=f"{name}_pool")(x)
    return hidden(layers.Flatten(name="flatten")(x), 16 * width, seed=seed, name="hidden")


BASELINES: dict[str, Callable[..., KerasTensor]] = {"mlp": mlp_features, "convnet": convnet_features}
"""The plain networks by name, each up to its features."""
