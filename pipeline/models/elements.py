"""What every network is put together from: convolutions, norms, dense layers, input and logits.

Padding and batch-norm settings are PyTorch's, so that weights and published results carry over.
"""

import zlib
from collections.abc import Callable, Sequence

import keras
from keras import KerasTensor, layers

from pipeline.errors import UserError
from pipeline.models.names import DROPOUT, HEAD, NORMALIZATION


def check_size(x: KerasTensor, least: int, what: str) -> None:
    """Raise `UserError` unless height and width of `x` are at least `least` pixels."""
    if min(x.shape[1:3]) < least:
        raise UserError(
            f"images for {what} must be at least {least} x {least} pixels; "
            f"received {x.shape[1]} x {x.shape[2]}"
        )


def layer_seed(seed: int, name: str) -> int:
    """Derive a layer's 32-bit seed from the model's seed and the layer's own name.

    So a layer's initial weights do not depend on which layers were built before it.
    """
    return zlib.crc32(f"{seed} {name}".encode())


def normalised(pixels: KerasTensor, pixel_mean: Sequence[float], pixel_std: Sequence[float]) -> KerasTensor:
    """Turn raw pixels into float32 of mean 0 and deviation 1 in each channel."""
    variance = [std**2 for std in pixel_std]
    normalization = layers.Normalization(
        mean=list(pixel_mean), variance=variance, name=NORMALIZATION, dtype="float32"
    )
    return normalization(pixels)


def convolution(
    x: KerasTensor,
    filters: int,
    kernel_size: int,
    strides: int = 1,
    *,
    groups: int = 1,
    use_bias: bool = False,
    centred: bool = True,
    fan: str = "fan_out",
    layer: Callable[..., keras.Layer],
    seed: int,
    name: str,
) -> KerasTensor:
    """Convolve, padding `kernel_size // 2` zeros on every side (`kernel_size` odd).

    Where not `centred`, the padding is TensorFlow's `same`: of stride 2 on even sizes it puts one
    zero fewer at the top left.

    Initial weights are normal with variance 2 / fan_out (He et al. 2015, arXiv:1502.01852,
    eq. 14), or 2 / fan_in (eq. 10), as `fan` says.
    """
    padding = "same"
    if centred and strides > 1 and kernel_size > 1:
        x = layers.ZeroPadding2D(kernel_size // 2, name=f"{name}_padding")(x)
        padding = "valid"
    he_normal = keras.initializers.VarianceScaling(
        2.0, mode=fan, distribution="untruncated_normal", seed=layer_seed(seed, name)
    )
    return layer(
        filters,
        kernel_size,
        strides,
        padding,
        groups=groups,
        use_bias=use_bias,
        kernel_initializer=he_normal,
        name=name,
    )(x)


def norm_relu(
    x: KerasTensor, *, norm: Callable[..., keras.Layer], name: str, maximum: float | None = None
) -> KerasTensor:
    """Normalise and rectify; the ReLU is called as the norm, with `relu` in place of `norm`.

    Where there is a `maximum`, nothing becomes larger.
    """
    x = norm(name=name)(x)
    return layers.ReLU(maximum, name=name.replace("norm", "relu"))(x)


def hidden(x: KerasTensor, units: int, *, seed: int, name: str) -> KerasTensor:
    """Map feature vectors to `units` rectified ones.

    Initial weights are normal with variance 2 / fan_in (He et al. 2015, arXiv:1502.01852, eq. 10).
    """
    he_normal = keras.initializers.HeNormal(seed=layer_seed(seed, name))
    x = layers.Dense(units, kernel_initializer=he_normal, name=name)(x)
    return layers.ReLU(name=f"{name}_relu")(x)


def head(x: KerasTensor, classes: int, dropout: float, *, seed: int) -> KerasTensor:
    """Map feature vectors to float32 logits [batch, classes], under any dtype policy.

    Initial weights are uniform within +-1 / sqrt(features), as PyTorch's linear layer: He's
    fan_out would give few classes huge logits.
    """
    if dropout:
        dropout_seed = layer_seed(seed, DROPOUT)
        x = layers.Dropout(dropout, seed=dropout_seed, name=DROPOUT, dtype="float32")(x)
    uniform = keras.initializers.VarianceScaling(
        1 / 3, mode="fan_in", distribution="uniform", seed=layer_seed(seed, HEAD)
    )
    return layers.Dense(classes, kernel_initializer=uniform, name=HEAD, dtype="float32")(x)
