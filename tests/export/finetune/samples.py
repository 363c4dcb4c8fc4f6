"""A network with every operation that training for int8 knows, and images for it."""

import keras
import numpy as np
from keras import layers

TABLE = np.random.default_rng(0)
BRIGHTNESS = TABLE.uniform(0, 1, (200, 1, 1, 3))
IMAGES = (BRIGHTNESS * TABLE.integers(0, 256, (200, 9, 12, 3))).astype(np.uint8)
"""Images that differ in brightness and colour, as noise alone would not."""


def build_network() -> keras.Model:
    """Both convolutions, groups, every kind of padding and pool, a concatenation, an addition."""
    keras.utils.set_random_seed(0)
    pixels = keras.Input((9, 12, 3), name="pixels")
    x = layers.Normalization(mean=[125.3, 123.0, 113.9], variance=[4096.0] * 3, name="normalization")(pixels)
    x = layers.Conv2D(8, 3, padding="same", name="conv1")(x)
    x = stem = layers.ReLU(6.0, name="relu1")(x)
    x = layers.DepthwiseConv2D(3, padding="same", depth_multiplier=1, name="depthwise")(x)
    x = layers.Add(name="add")([x, stem])
    x = layers.ZeroPadding2D(1, name="padding")(x)
    x = layers.Conv2D(6, 3, strides=2, name="conv2")(x)
    x = layers.ReLU(name="relu2")(x)
    large = layers.MaxPooling2D(2, padding="same", name="largest")(x)
    mean = layers.AveragePooling2D(2, padding="same", name="mean")(x)
    x = layers.Concatenate(name="both")([large, mean])
    x = layers.Conv2D(12, 3, dilation_rate=2, padding="same", name="conv3")(x)
    x = layers.Conv2D(16, 1, groups=4, activation="relu", name="conv4")(x)
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    logits = layers.Dense(5, name="head")(x)
    _spread(keras.Model(pixels, logits))
    return keras.Model(pixels, layers.Softmax(name="probabilities")(logits), name="all")


def _spread(network: keras.Model) -> None:
    """Let logits vary as those of trained networks, each class being the greatest for some images."""
    logits = np.asarray(network(IMAGES.astype(np.float32)))
    kernel, bias = network.get_layer("head").get_weights()
    spread = logits.std(axis=0) / 3
    network.get_layer("head").set_weights([kernel / spread, (bias - logits.mean(axis=0)) / spread])
