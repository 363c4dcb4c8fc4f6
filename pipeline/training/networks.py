"""From the settings to a network: as it is trained, and as it is deployed."""

from collections.abc import Callable
from functools import partial

import keras

from pipeline.config.config import Config
from pipeline.data.prepare import PixelStatistics
from pipeline.models import build_model
from pipeline.models.fast_gradient import FastGradientConv2D
from pipeline.models.fused_norm import FusedBatchNormalization
from pipeline.training.optimization import Schedule, SoftmaxCrossEntropy, build_optimizer
from pipeline.training.transfer import rate_factors

LayerClass = Callable[..., keras.Layer]


def build_training_network(
    config: Config, classes: int, statistics: PixelStatistics, replicas: int
) -> keras.Model:
    """Build the network in the precision and of the layers that train it fastest.

    Call it in the scope of the strategy. Its weights fit `build_deployed_network`'s one to one.
    """
    norm: LayerClass = FusedBatchNormalization
    if replicas > 1:
        # Each replica would otherwise normalise, and keep statistics, by its own share alone.
        norm = partial(keras.layers.BatchNormalization, synchronized=True)
    bfloat16_on_cpu = config.run.precision == "mixed_bfloat16" and config.run.devices.startswith("cpu")
    convolution = FastGradientConv2D if bfloat16_on_cpu else keras.layers.Conv2D
    keras.config.set_dtype_policy(config.run.precision)
    try:
        return _build(config, classes, statistics, convolution, norm)
    finally:
        keras.config.set_dtype_policy("float32")


def build_deployed_network(config: Config, classes: int, statistics: PixelStatistics) -> keras.Model:
    """Build the network of stock Keras layers in float32, which any Keras can load."""
    return _build(config, classes, statistics, keras.layers.Conv2D, keras.layers.BatchNormalization)


def _build(
    config: Config, classes: int, statistics: PixelStatistics, convolution: LayerClass, norm: LayerClass
) -> keras.Model:
    size = config.data.image_size
    return build_model(
        config.model,
        input_shape=(size, size, 3),
        classes=classes,
        pixel_mean=statistics.mean,
        pixel_std=statistics.std,
        seed=config.run.seed,
        convolution_layer=convolution,
        batch_normalization=norm,
    )


def compile_for_training(
    model: keras.Model, config: Config, schedule: Schedule, class_weights: list[float] | None
) -> list[keras.metrics.Metric]:
    """Give the model its loss, optimizer and metrics; return the epoch's running means.

    The variables of all of them exist afterwards, so that a checkpoint can hold them. What is to
    be frozen for a while is frozen afterwards.
    """
    metrics = build_metrics()
    decay = config.transfer.stage_rate_decay
    factors = rate_factors(model, decay) if decay < 1 else None
    model.compile(
        optimizer=build_optimizer(config.fit, schedule, factors),
        loss=SoftmaxCrossEntropy(config.fit.label_smoothing, class_weights),
        weighted_metrics=metrics,
        # XLA halves the speed of convolutions on a CPU and fails under a mirrored strategy.
        jit_compile=False,
    )
    model.optimizer.build(model.trainable_variables)
    mean_loss = model.metrics[0]
    return [mean_loss, *metrics]


def build_metrics() -> list[keras.metrics.Metric]:
    """Build accuracy and cross-entropy in nats, without smoothing, each example by its weight."""
    return [
        keras.metrics.CategoricalAccuracy(name="accuracy"),
        keras.metrics.CategoricalCrossentropy(from_logits=True, name="cross_entropy"),
    ]
