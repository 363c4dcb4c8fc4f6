"""The training step's peer in PyTorch: ResNets written from the paper, and their step."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn import functional

BLOCKS = {"resnet18": (2, 2, 2, 2), "resnet20": (3, 3, 3), "resnet8": (1, 1, 1)}
"""Basic blocks of each stage: He et al. 2015, table 1 and section 4.2; MLPerf Tiny's ResNet-8."""

OPTION_A = ("resnet20",)
"""Networks whose shortcuts have no weights (He et al. 2015, sections 3.3 and 4.2)."""


class ZeroPadding(nn.Module):
    """Shortcut that takes every second position, with zeros for `channels` new channels (option A)."""

    def __init__(self, channels: int, strides: int) -> None:
        super().__init__()
        self.padding = (0, 0, 0, 0, channels // 2, channels - channels // 2)
        self.strides = strides

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Subsample and pad."""
        return functional.pad(x[:, :, :: self.strides, :: self.strides], self.padding)


class Block(nn.Module):
    """Basic block whose shortcut fits where the shapes differ (He et al. 2015, figure 5)."""

    def __init__(self, inputs: int, filters: int, strides: int, *, zero_padding: bool) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            nn.Conv2d(inputs, filters, 3, strides, padding=1, bias=False),
            nn.BatchNorm2d(filters),
            nn.ReLU(inplace=True),
            nn.Conv2d(filters, filters, 3, padding=1, bias=False),
            nn.BatchNorm2d(filters),
        )
        self.shortcut: nn.Module = nn.Identity()
        if inputs != filters and zero_padding:
            self.shortcut = ZeroPadding(filters - inputs, strides)
        elif inputs != filters:
            self.shortcut = nn.Sequential(
                nn.Conv2d(inputs, filters, 1, strides, bias=False), nn.BatchNorm2d(filters)
            )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Add and rectify."""
        return torch.relu(self.shortcut(x) + self.residual(x))


def build_torch_resnet(model: str, width: int, classes: int, stem: str = "cifar") -> nn.Sequential:
    """Build one of `BLOCKS` from normalised pixels, float32 [batch, 3, height, width], to logits."""
    parts: list[nn.Module] = [nn.Conv2d(3, width, 3, padding=1, bias=False)]
    if stem == "imagenet":
        parts = [nn.Conv2d(3, width, 7, 2, padding=3, bias=False)]
    parts += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
    if stem == "imagenet":
        parts.append(nn.MaxPool2d(3, 2, padding=1))
    inputs = width
    for stage, blocks in enumerate(BLOCKS[model]):
        filters = width * 2**stage
        for block in range(blocks):
            strides = 2 if stage and not block else 1
            parts.append(Block(inputs, filters, strides, zero_padding=model in OPTION_A))
            inputs = filters
    return nn.Sequential(*parts, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


def build_torch_step(
    network: nn.Module, *, bfloat16: bool, compiled: bool = False
) -> Callable[[torch.Tensor, torch.Tensor], float]:
    """Build one training step, channels-last, with the cifar10 preset's loss and optimizer.

    Args:
        network: from `build_torch_resnet`.
        bfloat16: compute the convolutions in it.
        compiled: compile the network, forward and backward, by `torch.compile`; else it is eager.

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
        fused=True,  # all weights in one call
    )
    compute = torch.compile(network) if compiled else network
    loss_of = nn.CrossEntropyLoss(label_smoothing=0.1)
    mean, deviation = torch.tensor(127.5), torch.tensor(73.9)

    def step(pixels: torch.Tensor, labels: torch.Tensor) -> float:
        normalised = (pixels.permute(0, 3, 1, 2).float() - mean) / deviation
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            logits = compute(normalised)
        loss = loss_of(logits.float(), labels)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        return loss.item()

    return step
