"""PyTorch networks with weights that hide nothing, under the names that they are published with."""

from typing import Any

import torch
from torch import nn

from tests.pipeline.models.torch_family import Basic, ResNet


def build_network(blocks: tuple[int, ...], *, block: type[nn.Module] = Basic, **settings: Any):
    """A network with norms whose scales, offsets and statistics no initial value hides behind."""
    torch.manual_seed(0)
    settings = {"width": 8, "stem": "cifar", **settings}
    network = ResNet(blocks, 10, block=block, **settings).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5),
                (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3),
                (module.running_var, 0.5, 1.5),
            ):
                nn.init.uniform_(values, low, high)
    return network


def renamed(state: dict[str, torch.Tensor], names: dict[str, str]) -> dict[str, torch.Tensor]:
    """A state dict as others write it: each key with the parts replaced that are in `names`."""
    return {".".join(names.get(part, part) for part in key.split(".")): value for key, value in state.items()}


def logits(network, pixels, mean, std):
    """Of raw pixels, [batch, height, width, 3]; mean and std are in units of [0, 1]."""
    x = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        return network(x).numpy()
