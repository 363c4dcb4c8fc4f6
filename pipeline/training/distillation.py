"""Distillation: a network learns from another one's answers as well as from labels; on any Keras backend."""

from functools import partial
from typing import Any

import keras
from keras import ops


class DistillationLoss(keras.losses.Loss):
    """Distance of a network's answers from a teacher's, both softened by a temperature.

    For a teacher's logits v, the network's logits z and the temperature T:

        p = softmax(v / T),    loss = T^2 KL(p || softmax(z / T)) = T^2 sum_k p_k log(p_k / softmax(z / T)_k)

    Hinton, Vinyals and Dean 2015, arXiv:1503.02531, section 2: the gradient of the divergence falls as
    1 / T^2, so that T^2 keeps its size beside the labels' whatever the temperature. (They write the
    cross-entropy, which differs by p's entropy: no gradient flows from that.)

    Args:
        temperature: T, above 0.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__(name="distillation")
        self.temperature = temperature

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Loss of each example, float32 [batch], of the teacher's and own logits [batch, classes]."""
        theirs = ops.log_softmax(y_true / self.temperature, axis=-1)
        own = ops.log_softmax(y_pred / self.temperature, axis=-1)
        return self.temperature**2 * ops.sum(ops.exp(theirs) * (theirs - own), axis=-1)


class TaughtNetwork(keras.Model):
    """A network whose training loss has a share S that is its distance from a teacher's answers.

        loss = (1 - S) label_loss + S distillation_loss

    The teacher answers for the very pixels that the network sees, in the same step (Beyer et al. 2022,
    arXiv:2106.05237, section 3.1, "consistent teaching"), as it would be deployed: by moving
    statistics, without dropout. It is no part of the network: layers, weights and what is evaluated
    are those of `network`, and so is the loss of an evaluation, which is that of labels alone.

    `keras.distillation.Distiller` ignores the weights of examples, asks the teacher in evaluations as
    well and keeps means that start anew with each process.

    Args:
        network: what learns; its layers and weights become this one's.
        teacher: from the same pixels to logits of the same classes.
        share: S, in [0, 1].
        temperature: see `DistillationLoss`.
    """

    def __init__(
        self, network: keras.Model, teacher: keras.Model, *, share: float, temperature: float
    ) -> None:
        super().__init__(network.input, network.output, name=network.name)
        # By it Keras decides whether the loss is scaled, without which gradients vanish in float16.
        self.dtype_policy = network.dtype_policy
        self.share, self.distance = share, DistillationLoss(temperature)
        # As a function: a model among the attributes would count as a layer of this one.
        self.ask_teacher = partial(teacher, training=False)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Loss of a batch, a float32 scalar; each replica's part of it is scaled alike by Keras."""
        loss = super().compute_loss(x, y, y_pred, sample_weight, training)
        if not training:
            return loss
        answers = ops.stop_gradient(self.ask_teacher(x))
        return (1 - self.share) * loss + self.share * self.distance(answers, y_pred, sample_weight)
