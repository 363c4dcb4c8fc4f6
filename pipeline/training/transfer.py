"""Transfer: which parts of a network stay as they are, and how much slower earlier parts learn."""

import keras

from pipeline.config.settings import PARTS
from pipeline.errors import UserError
from pipeline.models.names import part_of


def parts_of(network: keras.Model) -> list[str]:
    """List the parts that have weights, first to last, as in stem, stage1, ..., stage4, head.

    Plain networks have hidden layers as well, pre-activation networks a final norm.
    """
    return list(dict.fromkeys(part_of(layer.name) for layer in network.layers if layer.weights))


def freeze(network: keras.Model, last: str) -> None:
    """Let only what comes after the part `last` train; what came before may train no more.

    Frozen layers keep their weights bit for bit, and frozen norms normalise by their moving
    statistics in training as well.

    Args:
        network: one of `pipeline.models`.
        last: `none`, `stem`, `stage1`, ... or `backbone`, all but the head.

    Raises:
        UserError: the network has no such part.
    """
    parts = parts_of(network)
    if last not in ("none", "backbone", *parts[:-1]):
        known = ", ".join(part for part in parts if part in PARTS) or "none by name"
        raise UserError(f"--freeze must name a part of {network.name} ({known}) or backbone; received {last}")
    counts = {"none": 0, "backbone": len(parts) - 1}
    frozen = parts[: counts[last] if last in counts else parts.index(last) + 1]
    for layer in network.layers:
        layer.trainable = part_of(layer.name) not in frozen


def rate_factors(network: keras.Model, decay: float) -> list[float]:
    """Give each trainable variable the factor on its learning rate: `decay` to the power of n.

    n is 0 for the head and rises by 1 from each part to the one before it (Howard & Ruder 2018,
    arXiv:1801.06146, section 3.2, "discriminative fine-tuning").

    Args:
        network: one of `pipeline.models`, nothing of it frozen.
        decay: in (0, 1].

    Returns:
        In the order of `network.trainable_variables`.
    """
    parts = parts_of(network)
    factors = {
        variable.path: decay ** (len(parts) - 1 - parts.index(part_of(layer.name)))
        for layer in network.layers
        for variable in layer.trainable_variables
    }
    return [factors[variable.path] for variable in network.trainable_variables]
