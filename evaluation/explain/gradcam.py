"""Grad-CAM: where in an image a network finds the evidence for a class."""

import math

import keras
import numpy as np
import tensorflow as tf
from matplotlib import colormaps

BATCH = 64
"""Images explained at once, which bounds the memory."""

COLOURS = "inferno"
"""Its lightness grows with the value, so that it can be read in grey as well."""

OPACITY = 0.5
"""Of the colours over the image."""

ENOUGH_POSITIONS = 16
"""Feature maps of fewer, as of 2 x 2, hardly tell places apart: earlier ones do so better."""

_CONVOLUTIONS = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.SeparableConv2D)


class GradCAM:
    """Gradient-weighted class activation mapping.

    Selvaraju et al. 2017 (arXiv:1610.02391, section 3, eq. 1 and 2): with feature maps A_k of
    h x w positions and the logit y_c of class c, before any softmax,

        map_c = ReLU(sum_k alpha_kc A_k),    alpha_kc = 1 / (h w) sum_ij d y_c / d A_k[i, j]

    Args:
        network: from pixels in [0, 255], [batch, height, width, 3], to logits.

    Raises:
        ValueError: it has no feature maps.
    """

    def __init__(self, network: keras.Model) -> None:
        features = last_feature_maps(network)
        if features is None:
            raise ValueError(f"Grad-CAM needs feature maps, and {network.name!r} has none")
        two_outputs = keras.Model(network.input, [features, network.output])

        def explain(images: tf.Tensor, classes: tf.Tensor) -> tf.Tensor:
            pixels = tf.cast(images, tf.float32)
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(pixels)
                maps, logits = two_outputs(pixels, training=False)
                chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
            # In inference no logit depends on another image's maps, so one gradient does for all.
            weights = tf.reduce_mean(tape.gradient(chosen, maps), axis=[1, 2], keepdims=True)
            return tf.reduce_sum(weights * maps, axis=-1)

        shape = [None, *network.input_shape[1:]]
        signature = [tf.TensorSpec(shape, tf.uint8), tf.TensorSpec([None], tf.int64)]
        self._explain = tf.function(explain, input_signature=signature)

    def maps(self, images: np.ndarray, classes: np.ndarray) -> np.ndarray:
        """Explain one class of each image.

        Args:
            images: uint8 [images, height, width, 3].
            classes: int [images], the class to explain.

        Returns:
            float32 [images, height, width] in [0, 1]; the greatest value of each map is 1,
            unless nothing speaks for the class: then it is zero everywhere.
        """
        sums = [
            self._explain(images[start : start + BATCH], classes[start : start + BATCH])
            for start in range(0, len(images), BATCH)
        ]
        return rectify_and_resize(np.concatenate(sums), images.shape[1:3])


def last_feature_maps(network: keras.Model) -> keras.KerasTensor | None:
    """Find the last feature maps that tell places apart and that all information passes.

    They lie behind a convolution, have `ENOUGH_POSITIONS`, or more than one where there are none
    of so many, and no path from the pixels to the logits leads around them: not the middle of a
    residual branch.

    Args:
        network: functional, of a fixed input size; each layer is called once.

    Returns:
        [batch, h, w, channels] with h w > 1; None where there are none, as in a perceptron.
    """
    convolved, pending = False, 0
    found: dict[bool, keras.KerasTensor] = {}
    last_reader = {
        id(tensor): place
        for place, operation in enumerate(network.operations)
        for tensor in keras.tree.flatten(operation.input)
    }
    # Operations stand in the order in which they are computed, so that a path around an output
    # is one tensor, at least, that is written before it and read after it.
    for place, operation in enumerate(network.operations):
        output = operation.output
        convolved |= isinstance(operation, _CONVOLUTIONS)
        positions = math.prod(output.shape[1:3]) if len(output.shape) == 4 else 1
        if convolved and positions > 1 and pending <= place:
            found[positions >= ENOUGH_POSITIONS] = output
        pending = max(pending, last_reader.get(id(output), place))
    return found.get(True, found.get(False))


def rectify_and_resize(sums: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Turn weighted sums of feature maps into maps over the image.

    Args:
        sums: float32 [images, h, w].
        size: height and width of the images.

    Returns:
        float32 [images, height, width] in [0, 1]: the positive part, resized bilinearly, each
        divided by its own maximum.
    """
    maps = tf.image.resize(np.maximum(sums, 0)[..., None], size, "bilinear").numpy()[..., 0]
    peaks = maps.max(axis=(1, 2), keepdims=True)
    return maps / np.where(peaks > 0, peaks, 1)


def overlay(images: np.ndarray, maps: np.ndarray) -> np.ndarray:
    """Lay maps as colours over the images in grey.

    Args:
        images: uint8 [images, height, width, 3].
        maps: [images, height, width] in [0, 1].

    Returns:
        uint8 [images, height, width, 3].
    """
    grey = tf.image.rgb_to_grayscale(images).numpy()
    colours = colormaps[COLOURS](maps)[..., :3] * 255
    return np.rint((1 - OPACITY) * grey + OPACITY * colours).astype(np.uint8)
