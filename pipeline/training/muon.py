"""Muon: the kernels of convolutions step along orthogonal matrices, all else by Nesterov's momentum."""

from typing import Any

import keras
from keras import ops

STEPS = 3
A, B, C = 3.4445, -4.7750, 2.0315
"""The quintic a s + b s^3 + c s^5, whose slope at zero is as steep as it can be and still be of use."""

MOMENTUM = 0.6
EPSILON = 1e-7


def orthogonalise(matrix: Any) -> Any:
    """Bring the singular values of a matrix towards 1 and leave its singular vectors as they are.

    Of G = U S V^T, float32 [rows, columns], that is U p(p(p(S / |G|))) V^T with the Frobenius norm
    |G| and p(s) = a s + b s^3 + c s^5: values from 0.02 |G| up come out within 0.6 to 1.3. Jordan
    2024, "Muon: An optimizer for hidden layers in neural networks", whose Newton-Schulz iteration
    this is.
    """
    x = matrix / (ops.norm(matrix) + EPSILON)
    tall = x.shape[0] > x.shape[1]
    for _ in range(STEPS):
        # The smaller of the two products.
        gram = ops.matmul(ops.transpose(x), x) if tall else ops.matmul(x, ops.transpose(x))
        rest = B * gram + C * ops.matmul(gram, gram)
        x = A * x + (ops.matmul(x, rest) if tall else ops.matmul(rest, x))
    return x


class Muon(keras.optimizers.SGD):
    """Muon for the kernels of convolutions, Nesterov's momentum for everything else.

    Of a kernel W with gradient G, both as matrices [height width channels, filters], and its rate r:

        M <- m M + G
        W <- |W| D / |D|,    D = W - r |W| O / sqrt(min(rows, columns)),    O = orthogonalise(G + m M)

    So r is the length of a step as a share of the kernel's norm, which it keeps: behind a batch norm
    only its direction counts, and weight decay, which would act on the norm alone, spares it. After
    Jordan 2024, "Muon", whose CIFAR-10 speedrun normalises each kernel before its step. Depthwise
    convolutions have no matrices to orthogonalise and are among the others.

    Args:
        learning_rate: of the others.
        kernel_rate: r, as a multiple of `learning_rate`.
        momentum: of the others.
        arguments: those of `keras.optimizers.SGD`.
    """

    def __init__(self, learning_rate: Any, *, kernel_rate: float, momentum: float, **arguments: Any) -> None:
        super().__init__(learning_rate, momentum=momentum, nesterov=True, **arguments)
        self.kernel_rate = kernel_rate

    def build(self, variables: list[keras.Variable]) -> None:
        """Create the momenta."""
        if not self.built:
            super().build(variables)
            if not self.momentum:
                # Where the others have none, the kernels still have theirs.
                self.momentums = self.add_optimizer_variables(variables, "momentum")

    def update_step(self, gradient: Any, variable: keras.Variable, learning_rate: Any) -> None:
        """Update one variable."""
        if not is_kernel_matrix(variable):
            super().update_step(gradient, variable, learning_rate)
            return
        momentum = self.momentums[self._get_variable_index(variable)]
        self.assign(momentum, MOMENTUM * momentum + gradient)
        matrix = ops.reshape(gradient + MOMENTUM * momentum, (-1, variable.shape[-1]))
        direction = ops.reshape(orthogonalise(matrix), variable.shape)
        norm = _norm(variable)
        rate = learning_rate * self.kernel_rate * norm / min(matrix.shape) ** 0.5
        moved = variable - rate * direction
        self.assign(variable, moved * (norm / (_norm(moved) + EPSILON)))

    def _use_weight_decay(self, variable: keras.Variable) -> bool:
        return not is_kernel_matrix(variable) and super()._use_weight_decay(variable)


def is_kernel_matrix(variable: keras.Variable) -> bool:
    """Whether it is a kernel [height, width, channels, filters] that sums over channels.

    Those of depthwise convolutions do not: [height, width, channels, 1], or as groups of one
    [height, width, 1, filters].
    """
    return len(variable.shape) == 4 and min(variable.shape[2:]) > 1


def _norm(values: Any) -> Any:
    return ops.sqrt(ops.sum(ops.square(values)))
