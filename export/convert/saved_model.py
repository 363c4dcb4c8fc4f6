"""The SavedModel: pixels or encoded images in, scores or names of classes out."""

from collections.abc import Sequence
from pathlib import Path

import keras
import tensorflow as tf

from export.convert.encoded_images import read_encoded
from export.convert.writable import writable
from pipeline.config.reading import READING, Reading

MOST_PROBABLE = 5
"""Classes that are named for an image, at most."""


def export_saved_model(
    network: keras.Model,
    path: Path,
    class_names: Sequence[str],
    output: str = "logits",
    reading: Reading = READING,
) -> None:
    """Write a SavedModel with three signatures.

    - `serve`, which is TensorFlow Serving's default too: from `pixels`, uint8 [batch, height, width, 3], to
      `scores`, float32 [batch, classes].
    - `serve_pixels`: from the same to `classes`, string [batch, 5], the names of the most probable ones, and
      `probabilities`, float32 [batch, 5].
    - `serve_encoded`: from `images`, string [batch], JPEG or PNG files of any size, to the same.

    Pixels of another size are refused; of no images there are no answers.

    Args:
        network: pixels to scores.
        path: where to.
        class_names: label -> name.
        output: `logits` or `probabilities`, which the scores are.
        reading: how an image becomes what the network sees.
    """
    shape = network.input_shape[1:]
    pixels_of_any = tf.TensorSpec([None, *shape], tf.uint8, name="pixels")
    names = tf.constant(list(class_names))

    def scores_of(pixels: tf.Tensor) -> tf.Tensor:
        # Global average pooling would let the network answer for images of any size.
        pixels = tf.ensure_shape(pixels, [None, *shape])
        count = tf.shape(pixels)[0]
        # Some kernels of a saved graph fail on an empty batch: it gets one image for the way.
        padding = tf.zeros([tf.cast(count == 0, tf.int32), *shape], tf.uint8)
        some = tf.cast(tf.concat([pixels, padding], axis=0), tf.float32)
        return network(some, training=False)[:count]

    def answers_of(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        scores = scores_of(pixels)
        probabilities = scores if output == "probabilities" else tf.nn.softmax(scores)
        best = tf.math.top_k(probabilities, min(MOST_PROBABLE, len(class_names)))
        return {"classes": tf.gather(names, best.indices), "probabilities": best.values}

    @tf.function(input_signature=[pixels_of_any])
    def serve(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"scores": scores_of(pixels)}

    @tf.function(input_signature=[pixels_of_any])
    def serve_pixels(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        return answers_of(pixels)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="images")])
    def serve_encoded(images: tf.Tensor) -> dict[str, tf.Tensor]:
        seen = tf.TensorSpec(shape, tf.uint8)
        pixels = tf.map_fn(
            lambda image: read_encoded(image, shape[0], reading), images, fn_output_signature=seen
        )
        return answers_of(pixels)

    # Not Keras' `ExportArchive`, which writes every weight twice.
    module = tf.Module()
    module.weights = [weight.value for weight in network.weights]
    module.serve, module.serve_pixels, module.serve_encoded = serve, serve_pixels, serve_encoded
    signatures = {
        "serve": serve,
        "serving_default": serve,
        "serve_pixels": serve_pixels,
        "serve_encoded": serve_encoded,
    }
    with writable("--out", path):
        tf.saved_model.save(module, str(path), signatures)
