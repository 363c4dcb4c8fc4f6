"""What a network costs: its parameters, and its multiply-adds layer by layer."""

import math

import keras


def count_parameters(layer: keras.Layer) -> int:
    """Count the trainable weights of a layer or of a whole model, element by element."""
    return sum(math.prod(weight.shape) for weight in layer.trainable_weights)


def multiply_adds(model: keras.Model) -> dict[str, int]:
    """Count the multiply-adds that one image costs in each convolution and dense layer.

    A convolution takes `h_out * w_out * k * k * (c_in / groups) * c_out`, a depthwise one
    `h_out * w_out * k * k * c_out`, a dense layer `features_in * features_out`: every weight of
    the kernel works once at every output position. Multiply-adds on padding count; biases, norms,
    activations and pooling do not. These are the "FLOPs" of He et al. 2015 (arXiv:1512.03385,
    table 1).

    Args:
        model: channels-last and of a fixed input size; layers inside nested models are not seen.

    Returns:
        Layer name -> multiply-adds, in the model's order.
    """
    counted = (keras.layers.Conv2D, keras.layers.DepthwiseConv2D, keras.layers.Dense)
    return {
        layer.name: math.prod(layer.output.shape[1:-1]) * math.prod(layer.kernel.shape)
        for layer in model.layers
        if isinstance(layer, counted)
    }
