"""What a float32 file computes once it is int8, in floating point, so that it can be trained."""

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from export.convert.converter import Range
from export.finetune.network import compute
from pipeline.tflite.constants import read_constants, replace_constants
from pipeline.tflite.file import TFLiteFile
from pipeline.tflite.graph import Graph

KERNELS = {"CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}
"""Operation with a kernel -> the kernel's axis of output channels, each of which has a scale."""

ONE_SCALE = ("CONCATENATION", "MAX_POOL_2D", "AVERAGE_POOL_2D", "PAD", "RESHAPE")
"""Operations whose output has the scale of their inputs (TFLite's 8-bit quantisation specification)."""

TINY = 1e-9
"""Greatest magnitude that a channel of zeros is taken to have."""


class Simulation:
    """Rounds where the int8 file does: kernels by channel, activations and other constants by tensor.

    Jacob et al. 2018 (arXiv:1712.05877), section 3: what is rounded is used forwards, and backwards
    the gradient passes as if it were not. Norms are in the kernels, as they are in the file. The biases,
    int32 in the file, are not rounded: their steps are a kernel's times an activation's.

    Weights are trained in units of their own channel's greatest magnitude at the start, biases in
    units of their output's range, and ranges as logarithms of how far they have grown (Jain et al.
    2020, "Trained quantization thresholds", arXiv:1903.08066): so one rate suits all of them.

    Args:
        float32: the network in float32.
        ranges: name of each activation -> its range to begin with.
    """

    def __init__(self, float32: TFLiteFile, ranges: Mapping[str, Range]) -> None:
        self._float32 = float32
        self._constants = read_constants(float32.content)
        self._group = group_activations(float32.graph)
        self._first = _join_ranges(self._group, ranges)
        # Of pixels, so that a device has to subtract 128 and no more, and of probabilities.
        fixed = {float32.graph.input.name}
        fixed |= {op.output.name for op in float32.graph.operations if op.name == "SOFTMAX"}
        self._growth = {
            group: keras.Variable(np.zeros(2, np.float32), name="growth")
            for group in self._first
            if group not in fixed
        }
        self._weights: dict[int, keras.Variable] = {}
        self._units: dict[int, np.ndarray] = {}
        self._kernels: dict[int, int] = {}
        for operation in float32.graph.operations:
            if operation.name in KERNELS:
                _, kernel, bias = operation.inputs
                self._kernels[kernel.index] = axis = KERNELS[operation.name]
                magnitude = np.abs(self._constants[kernel.index])
                others = tuple({0, 1, 2, 3} - {axis})
                self._add_weight(kernel.index, magnitude.max(axis=others, keepdims=True))
                # Without a bias it reads zeros, which are one tensor for all others without.
                if self._constants[bias.index].any():
                    low, high = self._first[self._group[operation.output.name]]
                    self._add_weight(bias.index, high - low)

    def _add_weight(self, place: int, unit: np.ndarray) -> None:
        self._units[place] = np.maximum(unit, np.float32(TINY))
        self._weights[place] = keras.Variable(self._constants[place] / self._units[place], name="weight")

    @property
    def weights(self) -> list[keras.Variable]:
        """Kernels and biases."""
        return list(self._weights.values())

    @property
    def growths(self) -> list[keras.Variable]:
        """Logarithms of how far the ranges have grown, [low, high] each."""
        return list(self._growth.values())

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Compute with rounding: from pixels [batch, height, width, 3] to logits [batch, classes]."""
        constants = {place: self._constant(place) for place in self._constants}
        return compute(
            self._float32.graph,
            tf.cast(images, tf.float32),
            constants,
            lambda tensor, values: tf.quantization.fake_quant_with_min_max_vars(
                values, *self._range(self._group[tensor.name])
            ),
        )

    def _range(self, group: str) -> tuple[tf.Tensor, tf.Tensor]:
        first, growth = self._first[group], self._growth.get(group)
        low, high = tf.unstack(first if growth is None else first * tf.exp(growth.value))
        return low, high

    def _constant(self, place: int) -> tf.Tensor | np.ndarray:
        values = self._constants[place]
        if place in self._weights:
            weight = self._weights[place].value * self._units[place]
            return _round_kernel(weight, self._kernels[place]) if place in self._kernels else weight
        if values.dtype != np.float32:
            return values
        low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
        return tf.quantization.fake_quant_with_min_max_vars(values, low, high)

    def trained(self) -> tuple[TFLiteFile, dict[str, Range]]:
        """Return the network with its weights of now, in float32, and the ranges of now."""
        weights = {place: weight.numpy() * self._units[place] for place, weight in self._weights.items()}
        content = replace_constants(self._float32.content, weights)
        ranges = {
            name: Range(*(float(end) for end in self._range(group))) for name, group in self._group.items()
        }
        return TFLiteFile(content, self._float32.layers), ranges


def _round_kernel(kernel: tf.Tensor, axis: int) -> tf.Tensor:
    """Round to -127 to 127 steps, one step a channel; the greatest magnitude is 127.

    No weight is beyond its channel's range, so that the gradient passes for all: TensorFlow's stops where
    127 steps, in float32, are a bit less than the greatest.
    """
    to_last = [*(place for place in range(4) if place != axis), axis]
    channels_last = tf.transpose(kernel, to_last)
    greatest = tf.reduce_max(tf.abs(tf.stop_gradient(channels_last)), axis=(0, 1, 2))
    greatest = tf.maximum(greatest, TINY)

    def fake_quantize(kernel: tf.Tensor) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_vars_per_channel(
            kernel, -greatest, greatest, narrow_range=True
        )

    return tf.transpose(tf.grad_pass_through(fake_quantize)(channels_last), np.argsort(to_last))


def _join_ranges(group: Mapping[str, str], ranges: Mapping[str, Range]) -> dict[str, np.ndarray]:
    """Find the range of each group, float32 [low, high]: that which holds those of all its members."""
    joined: dict[str, np.ndarray] = {}
    for name, first in group.items():
        low, high = joined.get(first, np.zeros(2, np.float32))
        ends = min(low, ranges[name].low), max(high, ranges[name].high)
        joined[first] = np.array(ends, np.float32)
    return joined


def group_activations(graph: Graph) -> dict[str, str]:
    """Name for each activation of a graph the first of those that have one scale with it."""
    group = {graph.input.name: graph.input.name}
    for operation in graph.operations:
        group[operation.output.name] = operation.output.name
        if operation.name in ONE_SCALE:
            joined = {group[tensor.name] for tensor in operation.inputs if not tensor.constant}
            first = next(name for name in group if group[name] in joined)
            joined.add(operation.output.name)
            group.update({name: first for name in group if group[name] in joined})
    return group
