"""Networks whose weights do not matter."""

from typing import Any

import keras


def conv_of_zeros(*arguments: Any, **settings: Any) -> keras.layers.Conv2D:
    """Build a convolution at once: random numbers for millions of weights take longer than a test."""
    return keras.layers.Conv2D(*arguments, **{**settings, "kernel_initializer": "zeros"})
