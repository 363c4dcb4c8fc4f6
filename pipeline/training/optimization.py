"""Learning-rate schedules, optimizers and the loss; on any Keras backend."""

import math
from collections.abc import Sequence
from typing import Any, Self

import keras
import numpy as np
from keras import ops

from pipeline.config.settings import FitConfig, TransferConfig
from pipeline.training.muon import Muon


@keras.saving.register_keras_serializable(package="pipeline")
class WarmupSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up to a peak, then a decay. With w warm-up steps, T total and step s from 0:

        s < w:       peak (s + 1) / w
        constant:    peak
        step:        peak factor^floor(s / drop_steps)
        cosine:      peak (1 + cos(pi t)) / 2,  t = (s - w) / (T - w)
        triangular:  peak (1 - t)

    Cosine: Loshchilov & Hutter 2017, section 3, without restarts. Triangular: the one-cycle
    policy of Smith & Topin 2018, section 3.

    Args:
        shape: constant, step, cosine or triangular.
        peak: highest learning rate.
        total_steps: T.
        warmup_steps: w; 0 for none.
        drop_steps: steps between two drops of shape step.
        drop_factor: factor of each drop.
    """

    def __init__(
        self,
        shape: str,
        peak: float,
        total_steps: int,
        warmup_steps: int = 0,
        drop_steps: int = 1,
        drop_factor: float = 1.0,
    ) -> None:
        self.shape, self.peak, self.total_steps = shape, peak, total_steps
        self.warmup_steps, self.drop_steps, self.drop_factor = warmup_steps, drop_steps, drop_factor

    def __call__(self, step: Any) -> Any:
        """Learning rate, float32 scalar, at step `step` (from 0)."""
        step = ops.cast(step, "float32")
        warmup = self.peak * (step + 1) / max(self.warmup_steps, 1)
        return ops.where(step < self.warmup_steps, warmup, self.peak * self._decay(step))

    def _decay(self, step: Any) -> Any:
        """Share of the peak that is left, in [0, 1]."""
        progress = (step - self.warmup_steps) / max(self.total_steps - self.warmup_steps, 1)
        if self.shape == "cosine":
            return (1 + ops.cos(math.pi * progress)) / 2
        if self.shape == "triangular":
            return 1 - progress
        if self.shape == "step":
            return self.drop_factor ** ops.floor(step / self.drop_steps)
        return ops.ones_like(step)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(vars(self))


@keras.saving.register_keras_serializable(package="pipeline")
class TwoPhaseSchedule(keras.optimizers.schedules.LearningRateSchedule):
    """One schedule, and from a step on another one, which begins anew.

    Args:
        first: of the steps before `switch_step`.
        second: of the others; its step 0 is `switch_step`.
        switch_step: from 0.
    """

    def __init__(self, first: WarmupSchedule, second: WarmupSchedule, switch_step: int) -> None:
        self.first, self.second, self.switch_step = first, second, switch_step

    def __call__(self, step: Any) -> Any:
        """Learning rate, float32 scalar, at step `step` (from 0)."""
        step = ops.cast(step, "float32")
        second = self.second(step - self.switch_step)
        return ops.where(step < self.switch_step, self.first(step), second)

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's arguments."""
        return dict(vars(self))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Build from what `get_config` returned and Keras serialised."""
        first, second = (keras.saving.deserialize_keras_object(config[n]) for n in ("first", "second"))
        return cls(first, second, config["switch_step"])


Schedule = WarmupSchedule | TwoPhaseSchedule


def build_schedule(config: FitConfig, transfer: TransferConfig, steps_per_epoch: int) -> Schedule:
    """Build the schedule of a run; epochs and shares become steps here and nowhere else.

    Fine-tuning warms up and decays anew, to a peak of its own.
    """

    def phase(epochs: int, peak: float) -> WarmupSchedule:
        steps = epochs * steps_per_epoch
        return WarmupSchedule(
            shape=config.schedule,
            peak=peak,
            total_steps=steps,
            warmup_steps=round(config.warmup_share * steps),
            drop_steps=config.step_epochs * steps_per_epoch,
            drop_factor=config.step_factor,
        )

    first = phase(config.epochs, config.peak_learning_rate)
    if not transfer.finetune_epochs:
        return first
    second = phase(transfer.finetune_epochs, config.peak_learning_rate * transfer.finetune_rate)
    return TwoPhaseSchedule(first, second, config.epochs * steps_per_epoch)


def build_optimizer(
    config: FitConfig, schedule: Schedule, rate_factors: Sequence[float] | None = None
) -> keras.optimizers.Optimizer:
    """Build the optimizer with decoupled weight decay w -= rate decay w on kernels alone.

    Norms' scales and offsets and all biases are spared (He et al. 2019, "Bag of Tricks",
    section 3.1). Decoupled: Loshchilov & Hutter 2019, algorithms 1 and 2.

    Args:
        config: which optimizer.
        schedule: step -> learning rate.
        rate_factors: on the learning rate, for each variable that the optimizer will be built on;
            None: all learn at the schedule's rate.
    """
    own: dict[str, dict[str, Any]] = {
        "momentum": {"momentum": config.momentum},
        "nesterov": {"momentum": config.momentum, "nesterov": True},
        "rmsprop": {"momentum": config.momentum},
        "muon": {"momentum": config.momentum, "kernel_rate": config.muon_rate / config.peak_learning_rate},
    }
    kind = _optimizer_class(config.optimizer)
    if rate_factors is not None:
        kind = _with_rate_factors(kind, rate_factors)
    optimizer = kind(
        learning_rate=schedule,
        weight_decay=config.weight_decay,
        global_clipnorm=config.clip_norm or None,
        **own.get(config.optimizer, {}),
    )
    optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    return optimizer


def _optimizer_class(name: str) -> type[keras.optimizers.Optimizer]:
    """Find Keras' class by its lower-case name; momentum and nesterov are kinds of SGD."""
    if name == "muon":
        return Muon
    if name in ("momentum", "nesterov"):
        return keras.optimizers.SGD
    return next(kind for key, kind in vars(keras.optimizers).items() if key.lower() == name)


def _with_rate_factors(
    kind: type[keras.optimizers.Optimizer], factors: Sequence[float]
) -> type[keras.optimizers.Optimizer]:
    """Derive an optimizer whose every variable has its own factor on the learning rate.

    Keras' MultiOptimizer would clip and count steps for each rate apart, and takes no gradients
    of a part of its variables.
    """

    class LayerwiseRates(kind):
        _factor = 1.0

        def _get_current_learning_rate(self) -> Any:
            return super()._get_current_learning_rate() * self._factor

        def _apply_weight_decay(self, variables: Sequence[Any]) -> None:
            # The decay is a share of the rate, which Keras reads anew for each call.
            for variable in variables:
                self._factor = factors[self._get_variable_index(variable)]
                super()._apply_weight_decay([variable])
            self._factor = 1.0

        def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
            factor = factors[self._get_variable_index(variable)]
            super().update_step(gradient, variable, learning_rate * factor)

    return LayerwiseRates


class SoftmaxCrossEntropy(keras.losses.Loss):
    """Softmax cross-entropy on logits with label smoothing and class weights.

    For a target q, K classes, smoothing e, class weights w and logits z:

        q' = (1 - e) q + e / K,    loss = -sum_k w_k q'_k log softmax(z)_k

    which is PyTorch's `CrossEntropyLoss(weight, label_smoothing)` before its reduction.
    Smoothing: Szegedy et al. 2016, section 7.

    Args:
        label_smoothing: e, in [0, 1).
        class_weights: w, one a class; None for ones.
    """

    def __init__(self, label_smoothing: float = 0.0, class_weights: Sequence[float] | None = None) -> None:
        super().__init__(name="loss")
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, float32 [batch], of targets and logits [batch, classes]."""
        logits = ops.cast(y_pred, "float32")
        share = self.label_smoothing / logits.shape[-1]
        targets = (1 - self.label_smoothing) * ops.cast(y_true, "float32") + share
        if self.class_weights is not None:
            targets = targets * ops.convert_to_tensor(self.class_weights, "float32")
        return -ops.sum(targets * ops.log_softmax(logits, axis=-1), axis=-1)


def balanced_class_weights(per_class: Sequence[int] | np.ndarray) -> list[float]:
    """Weight of each class, n / (K n_k): scikit-learn's `balanced`."""
    total, classes = sum(per_class), len(per_class)
    return [total / (classes * count) for count in per_class]
