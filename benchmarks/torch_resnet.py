"""The training step's peer in PyTorch: ResNet-18 written from the paper, and its step."""

from collections.abc import Callable

import torch
from torch import nn


class Block(nn.Module):
    """Basic block with a projection shortcut where the shapes differ (He et al. 2015, figure 5)."""

    def __init__(self, inputs: int, filters: int, strides: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, filters, 3, strides, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut: nn.Module = nn.Identity()
        if strides > 1 or inputs != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, filters, 1, strides, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add and rectify."""
        return torch.relu(self.shortcut(x) + self.residual(x))


def build_torch_resnet18(width: int, classes: int, stem: str = "cifar") -> nn.Sequential:
    """Build ResNet-18 from normalised pixels, float32 [batch, 3, height, width], to logits."""
    parts: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
    if stem == "imagenet":
        parts = [nn.Conv2d(3, width, 7, 2, padding=3, bias=False)]
    parts += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if stem == "imagenet":
        parts.append(nn.MaxPool2d(3, 2, padding=1))
    inputs = width
    for stage in range(4):
        filters = width * 2**stage
        parts += [Block(inputs, filters, 2 if stage else 1), Block(filters, filters, 1)]
        inputs = filters
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def build_torch_step(network: nn.Module, *, bfloat16: bool) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """Build one eager training step, channels-last, with the cifar10 preset's loss and optimizer.

    Returns:
        A function from pixels, uint8 [batch, height, width, 3], and labels, int64 [batch], to the
        loss.
    """
    network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # not in stub
    network = network.train()
    kernels = [weight for weight in network.parameters() if weight.ndim > 1]
    others = [weight for weight in network.parameters() if weight.ndim == 1]
    optimizer = torch.optim.SGD(
        [{"params": kernels, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}],
        lr=0.01,
        momentum=0.9,
        nesterov=True,
        fused=True,  # 62 weights in one call
    )
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    mean, deviation = torch.tensor(127.5), torch.tensor(73.9)

    def step(pixels: torch.Tensor, labels: torch.Tensor) -> float:
        normalised = (pixels.permute(0, 3, 1, 2).float() - mean) / deviation
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = network(normalised)
        loss = loss_of(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
