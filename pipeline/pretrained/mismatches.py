"""Where pretrained weights and a network differ."""

import keras

from pipeline.pretrained.weights import Pretrained, shortcut_of

Shapes = list[tuple[int, ...]]


def mismatches(pretrained: Pretrained, network: keras.Model) -> list[str]:
    """Describe each layer but a new head that only one of the two has, or of another shape.

    Networks of the same weights but other shortcuts differ as well.
    """
    theirs, ours = _theirs(pretrained), _ours(network)
    if head_is_new(pretrained, network):
        theirs.pop("head", None)
        del ours["head"]
    differences = []
    for name in dict.fromkeys([*ours, *theirs]):
        if name not in theirs:
            differences.append(f"{name} is missing")
        elif name not in ours:
            differences.append(f"{name} has no place")
        elif theirs[name] != ours[name]:
            differences.append(f"{name} is {_text(theirs[name])}, here {_text(ours[name])}")
    shortcut = shortcut_of(layer.name for layer in network.layers)
    if pretrained.shortcut != shortcut:
        differences.insert(0, f"the shortcut is {pretrained.shortcut}, here {shortcut}")
    return differences


def head_is_new(pretrained: Pretrained, network: keras.Model) -> bool:
    """Whether the network's head cannot be taken over, and is to be trained from the start."""
    theirs, ours = _theirs(pretrained).get("head"), _ours(network).get("head")
    if ours is None:
        return False
    return theirs is None or (theirs[0][:-1] == ours[0][:-1] and theirs[0] != ours[0])


def _theirs(pretrained: Pretrained) -> dict[str, Shapes]:
    return {name: [each.shape for each in arrays] for name, arrays in pretrained.layers.items()}


def _ours(network: keras.Model) -> dict[str, Shapes]:
    return {
        layer.name: [tuple(weight.shape) for weight in layer.weights]
        for layer in network.layers
        if layer.weights
    }


def _text(shapes: Shapes) -> str:
    return " + ".join(str(shape) for shape in shapes)
