"""The network that is exported: float32, for inference only, raw pixels in, scores out."""

from collections import Counter
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from export.convert.writable import writable
from pipeline.errors import UserError


def build_inference_network(trained: keras.Model, output: str) -> keras.Model:
    """Return `trained`, with a softmax behind its logits where `output` is `probabilities`.

    Args:
        trained: the model of a finished run: stock layers in float32, pixels to logits.
        output: `logits` or `probabilities`.
    """
    trained.trainable = False
    if output == "logits":
        return trained
    probabilities = keras.layers.Softmax(name="probabilities")(trained.output)
    return keras.Model(trained.input, probabilities, name=trained.name)


def with_temperature(network: keras.Model, temperature: float) -> keras.Model:
    """Return a copy whose logits are divided by `temperature`, folded into its last layer.

    Guo et al. 2017 (arXiv:1706.04599), section 4.2: what is most probable stays so. It costs
    nothing at inference, as the last layer's weights are divided and no operation is added.

    Raises:
        UserError: the last layer is not linear.
    """
    copy = keras.models.clone_model(network)
    copy.set_weights(network.get_weights())
    last = copy.layers[-1]
    if not isinstance(last, keras.layers.Dense) or last.activation is not keras.activations.linear:
        raise UserError(
            "--temperature needs a network whose last layer is dense and linear; "
            f"received {last.name!r}, {type(last).__name__}"
        )
    last.set_weights([weight / temperature for weight in last.get_weights()])
    return copy


def write_single_image_graph(network: keras.Model, path: Path) -> None:
    """Write the SavedModel that the TFLite converter reads: float32 pixels, a batch of one.

    Of uint8 pixels the converter would leave a conversion to floating point in an int8 file.
    """
    write_graph(with_convolutions_for_norms(with_convolutions_for_dense(network)), path, batch=1)


def write_graph(network: keras.Model, path: Path, batch: int | None) -> None:
    """Write a SavedModel of one signature, `serve`, from float32 `pixels` to `scores`.

    Args:
        network: pixels to scores.
        path: where to.
        batch: images that it takes; None for any number.
    """

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": network(pixels, training=False)}

    archive = keras.export.ExportArchive()
    archive.track(network)
    signature = [tf.TensorSpec([batch, *network.input_shape[1:]], tf.float32, name="pixels")]
    archive.add_endpoint("serve", serve, input_signature=signature)
    with writable("the folder for temporary files", path):
        archive.write_out(str(path), verbose=False)


def with_convolutions_for_dense(network: keras.Model) -> keras.Model:
    """Return the same function with a 1x1 convolution in place of each dense layer on vectors.

    It bears the layer's name. LiteRT rounds the int8 results of FULLY_CONNECTED in floating point,
    TensorFlow Lite Micro twice in integers (github.com/google-ai-edge/LiteRT/issues/8567), so that
    some scores would differ by a level; of CONV_2D both compute the same bits.
    """

    def call(layer: keras.Layer, *inputs: keras.KerasTensor, **settings: Any) -> keras.KerasTensor:
        if isinstance(layer, keras.layers.Dense) and len(inputs[0].shape) == 2:
            return _call_as_convolution(layer, *inputs)
        return layer(*inputs, **settings)

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


def _call_as_convolution(dense: keras.layers.Dense, features: keras.KerasTensor) -> Any:
    convolution = keras.layers.Conv2D(
        dense.units, 1, activation=dense.activation, use_bias=dense.use_bias, name=dense.name
    )
    # Named, or the file would hold Keras' numbering, as long as the process has built layers.
    maps = keras.layers.Reshape((1, 1, features.shape[-1]), name=f"{dense.name}_maps")(features)
    vector = keras.layers.Reshape((dense.units,), name=f"{dense.name}_vector")
    scores = vector(convolution(maps))
    kernel, *bias = dense.get_weights()
    convolution.set_weights([kernel[None, None], *bias])
    return scores


FOLDING = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
"""Layers whose weights take up a norm that alone reads their output."""


def with_convolutions_for_norms(network: keras.Model) -> keras.Model:
    """Return the same function with a depthwise 1x1 convolution in place of each lone norm.

    It bears the norm's name. A norm that alone reads a convolution is folded into its weights, but
    not one in front of a convolution, or whose maps a shortcut takes too (He et al. 2016,
    arXiv:1603.05027): that would become two operations in int8, MUL and ADD, with one scale for
    all channels. LiteRT divides the scales of MUL in float32, TensorFlow Lite Micro in float64, so
    that ties would round differently; of DEPTHWISE_CONV_2D both compute the same bits.
    """
    lone = _lone_norms(network)

    def call(layer: keras.Layer, *inputs: keras.KerasTensor, **settings: Any) -> keras.KerasTensor:
        if layer.name in lone:
            return _call_as_depthwise(layer, *inputs)
        return layer(*inputs, **settings)

    return keras.models.clone_model(network, clone_function=lambda layer: layer, call_function=call)


def _lone_norms(network: keras.Model) -> set[str]:
    """Name the norms of maps that are not of a convolution which nothing else reads."""
    steps = network.operations
    readers = Counter(id(maps) for step in steps for maps in keras.tree.flatten(step.input))
    foldable = {
        id(step.output) for step in steps if isinstance(step, FOLDING) and readers[id(step.output)] == 1
    }
    norms = (step for step in steps if isinstance(step, keras.layers.BatchNormalization))
    return {norm.name for norm in norms if id(norm.input) not in foldable}


def _call_as_depthwise(norm: keras.layers.BatchNormalization, maps: keras.KerasTensor) -> Any:
    depthwise = keras.layers.DepthwiseConv2D(1, name=norm.name)
    result = depthwise(maps)
    gamma, beta, mean, variance = norm.get_weights()
    scale = gamma / np.sqrt(variance + norm.epsilon)
    depthwise.set_weights([scale[None, None, :, None], beta - mean * scale])
    return result
