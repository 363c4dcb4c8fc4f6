"""Batch normalisation as TensorFlow's one fused op, faster than Keras' chain of small ones."""

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable(package="pipeline")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """`keras.layers.BatchNormalization` for NHWC feature maps on one replica.

    Weights, configuration and results are the plain layer's, so that a model can be rebuilt with
    plain layers and given these weights by `set_weights` (not by a weights file: Keras keys those
    by class name). Inputs may be float32, bfloat16 or float16; statistics
    are float32, outputs have the input's dtype. Statistics are each replica's own: under a
    strategy of several replicas use the plain layer with `synchronized=True`.

    Ioffe and Szegedy, "Batch Normalization", 2015 (arXiv:1502.03167), algorithms 1 and 2.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the weights.

        Raises:
            ValueError: a setting that the fused op has no counterpart for.
        """
        last_axis = self.axis in (-1, len(input_shape) - 1)
        plain = self.scale and self.center and not self.renorm and not self.synchronized
        if len(input_shape) != 4 or not last_axis or not plain:
            raise ValueError(
                "FusedBatchNormalization takes [batch, height, width, channels], axis=-1, scale, "
                "center, no renorm and no synchronized; "
                f"received input_shape={input_shape}, {self.get_config()}"
            )
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Normalise by the batch's statistics in training, else by the moving ones.

        Args:
            inputs: [batch, height, width, channels].
            training: a frozen layer (`trainable=False`) always counts as not in training.
        """
        by_batch = bool(training) and self.trainable
        outputs, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=self.gamma,
            offset=self.beta,
            mean=[] if by_batch else self.moving_mean,
            variance=[] if by_batch else self.moving_variance,
            epsilon=self.epsilon,
            is_training=by_batch,
        )
        if by_batch:
            self._update(self.moving_mean, mean)
            # The op returns the sample variance, divided by n - 1; Keras keeps the one by n.
            n = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
            self._update(self.moving_variance, variance * (n - 1.0) / n)
        return outputs

    def _update(self, moving: keras.Variable, batch: tf.Tensor) -> None:
        moving.assign(moving * self.momentum + batch * (1.0 - self.momentum))
