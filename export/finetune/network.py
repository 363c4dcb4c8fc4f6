"""A float32 .tflite file as TensorFlow operations, which gradients pass through."""

from collections.abc import Callable, Mapping

import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

from export.errors import ExportFailed
from pipeline.tflite.graph import Graph, Operation, Tensor

_ACTIVATIONS: dict[int, Callable[[tf.Tensor], tf.Tensor]] = {
    schema.ActivationFunctionType.NONE: tf.identity,
    schema.ActivationFunctionType.RELU: tf.nn.relu,
    schema.ActivationFunctionType.RELU6: tf.nn.relu6,
}


def _activate(operation: Operation, values: tf.Tensor) -> tf.Tensor:
    return _ACTIVATIONS[operation.options["fusedActivationFunction"]](values)


def _placing(operation: Operation) -> dict[str, object]:
    """Where a window stands."""
    options = operation.options
    return {
        "strides": [1, options["strideH"], options["strideW"], 1],
        "padding": "SAME" if options["padding"] == schema.Padding.SAME else "VALID",
    }


def _dilations(operation: Operation) -> list[int]:
    return [operation.options["dilationHFactor"], operation.options["dilationWFactor"]]


def _convolution(operation: Operation, maps: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    kernel = tf.transpose(kernel, (1, 2, 3, 0))
    sums = tf.nn.conv2d(maps, kernel, dilations=_dilations(operation), **_placing(operation))
    return _activate(operation, sums + bias)


def _depthwise(operation: Operation, maps: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor) -> tf.Tensor:
    # From [1, height, width, input channels * kernels for each].
    kernel = tf.reshape(kernel, (*kernel.shape[1:3], maps.shape[-1], -1))
    sums = tf.nn.depthwise_conv2d(maps, kernel, dilations=_dilations(operation), **_placing(operation))
    return _activate(operation, sums + bias)


def _pool(pool: Callable[..., tf.Tensor]) -> Callable[..., tf.Tensor]:
    def compute(operation: Operation, maps: tf.Tensor) -> tf.Tensor:
        window = [1, operation.options["filterHeight"], operation.options["filterWidth"], 1]
        return _activate(operation, pool(maps, window, **_placing(operation)))

    return compute


_OPERATIONS: dict[str, Callable[..., tf.Tensor]] = {
    "ADD": lambda operation, one, other: _activate(operation, one + other),
    "SUB": lambda operation, one, other: _activate(operation, one - other),
    "MUL": lambda operation, one, other: _activate(operation, one * other),
    "CONV_2D": _convolution,
    "DEPTHWISE_CONV_2D": _depthwise,
    "MAX_POOL_2D": _pool(tf.nn.max_pool2d),
    "AVERAGE_POOL_2D": _pool(tf.nn.avg_pool2d),
    "CONCATENATION": lambda operation, *maps: tf.concat(maps, operation.options["axis"]),
    "MEAN": lambda operation, maps, axes: tf.reduce_mean(maps, axes, operation.options["keepDims"]),
    "PAD": lambda operation, maps, paddings: tf.pad(maps, paddings),
    # Its constant is the shape for a batch of one image.
    "RESHAPE": lambda operation, values, _: tf.reshape(values, (-1, *operation.output.shape[1:])),
    "SOFTMAX": lambda operation, logits: tf.nn.softmax(logits),
}
"""TFLite's name -> function of the operation and its inputs, of a batch of any size."""


def verify_known(graph: Graph) -> None:
    """Check that `compute` knows every operation.

    Raises:
        ExportFailed: one it does not know; it and its layer are named.
    """
    for operation in graph.operations:
        activation = operation.options.get("fusedActivationFunction", schema.ActivationFunctionType.NONE)
        if operation.name not in _OPERATIONS or activation not in _ACTIVATIONS:
            raise ExportFailed(
                f"--finetune knows {', '.join(_OPERATIONS)}, with ReLU and ReLU6; layer "
                f"{operation.layer!r} is another {operation.name}"
            )


def compute(
    graph: Graph,
    images: tf.Tensor,
    constants: Mapping[int, tf.Tensor | np.ndarray],
    change: Callable[[Tensor, tf.Tensor], tf.Tensor] = lambda _, values: values,
) -> tf.Tensor:
    """Compute the logits of a float32 graph: a softmax at its end is left out.

    Args:
        graph: the graph.
        images: pixels, float32 [batch, height, width, 3].
        constants: place of each constant's tensor -> values, in the file's layout.
        change: from an activation's tensor and values to what is read of it.

    Returns:
        Logits, float32 [batch, classes].
    """
    values = {**constants, graph.input.index: change(graph.input, images)}
    operations = graph.operations
    for operation in operations[:-1] if operations[-1].name == "SOFTMAX" else operations:
        inputs = [values[tensor.index] for tensor in operation.inputs]
        output = change(operation.output, _OPERATIONS[operation.name](operation, *inputs))
        values[operation.output.index] = output
    return output
