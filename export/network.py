"""The network that is exported: float32, for inference only, raw pixels in, scores out."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

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


def export_saved_model(network: keras.Model, path: Path) -> None:
    """Write a SavedModel with one signature, `serve`, as TensorFlow Serving takes it.

    From `pixels`, uint8 [batch, height, width, 3], to `scores`, float32 [batch, classes].
    """

    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": network(tf.cast(pixels, tf.float32), training=False)}

    _write(network, serve, tf.TensorSpec([None, *network.input_shape[1:]], tf.uint8), path)


def write_single_picture_graph(network: keras.Model, path: Path) -> None:
    """Write the SavedModel that the TFLite converter reads: float32 pixels, a batch of one.

    Of uint8 pixels the converter would leave a conversion to floating point in an int8 file.
    """
    network = with_convolutions_for_dense(network)

    def serve(pixels: tf.Tensor) -> tf.Tensor:
        return network(pixels, training=False)

    _write(network, serve, tf.TensorSpec([1, *network.input_shape[1:]], tf.float32), path)


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


def _write(network: keras.Model, serve, pixels: tf.TensorSpec, path: Path) -> None:  # noqa: ANN001
    archive = keras.export.ExportArchive()
    archive.track(network)
    signature = [tf.TensorSpec(pixels.shape, pixels.dtype, name="pixels")]
    archive.add_endpoint("serve", serve, input_signature=signature)
    try:
        archive.write_out(str(path), verbose=False)
    except tf.errors.OpError as error:
        reason = error.message.splitlines()[0]
        raise UserError(f"--out must be writable; {path}: {reason}") from error
