"""Pretrained weights into a network, all that fit or none."""

import keras

from pipeline.errors import UserError
from pipeline.pretrained.fitting import fitting_flags
from pipeline.pretrained.mismatches import head_is_new, mismatches
from pipeline.pretrained.weights import Pretrained

SHOWN = 3
"""How many differences a message shows."""


def assign_pretrained(pretrained: Pretrained, network: keras.Model) -> list[str]:
    """Give the layers of `network` the pretrained weights of the same name.

    The head stays as it is where the weights have none, or one of another number of classes. One
    of the same number is taken, whatever its classes are called: it is what a run is continued
    with, and no worse a start than a random one.

    Returns:
        The names of the layers left as they were: `["head"]` or none.

    Raises:
        UserError: any other layer is missing, extra or of another shape, or the shortcuts differ;
            the network is then as it was.
    """
    if differences := mismatches(pretrained, network):
        more = len(differences) - SHOWN
        listed = "; ".join(differences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        fitting = fitting_flags(pretrained)
        hint = f" (a network for them: {fitting})" if fitting else ""
        raise UserError(f"--weights must fit the network; of {pretrained.origin} {listed}{hint}")
    fresh = ["head"] if head_is_new(pretrained, network) else []
    for name, arrays in pretrained.layers.items():
        if name not in fresh:
            network.get_layer(name).set_weights(arrays)
    return fresh
