"""Residual networks in PyTorch, from the papers and with the names of their published weights."""

from typing import Any

import torch
from torch import nn


class Block(nn.Module):
    """A basic or bottleneck block; `names` are of the shortcut: `downsample` or `shortcut`."""

    def __init__(self, inputs, width, strides, *, bottleneck, groups, kind, shortcut_name) -> None:
        super().__init__()
        outputs = 4 * width if bottleneck else width
        inner = 2 * width if groups > 1 else width
        plan = [(inputs, width, 3, strides, 1), (width, width, 3, 1, 1)]
        if bottleneck:
            plan = [(inputs, inner, 1, 1, 1), (inner, inner, 3, strides, groups)]
            plan += [(inner, outputs, 1, 1, 1)]
        self.depth, self.kind, self.name = len(plan), kind, shortcut_name
        for k, (c_in, c_out, size, stride, parts) in enumerate(plan, 1):
            conv = nn.Conv2d(c_in, c_out, size, stride, size // 2, groups=parts, bias=False)
            setattr(self, f"conv{k}", conv)
            setattr(self, f"bn{k}", nn.BatchNorm2d(c_out))
        self.pad = (strides, (outputs - inputs) // 2)
        if (strides > 1 or inputs != outputs) and kind != "zero_padding":
            self.add_module(shortcut_name, project(inputs, outputs, strides, kind))

    def forward(self, x):
        residual = x
        for k in range(1, self.depth + 1):
            residual = getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(residual))
            residual = torch.relu(residual) if k < self.depth else residual
        if hasattr(self, self.name):
            x = getattr(self, self.name)(x)
        elif self.kind == "zero_padding":
            strides, channels = self.pad
            x = x[:, :, ::strides, ::strides]
            x = nn.functional.pad(x, (0, 0, 0, 0, channels, channels))
        return torch.relu(x + residual)


def project(inputs, outputs, strides, kind):
    if kind == "projection":
        conv = nn.Conv2d(inputs, outputs, 1, strides, bias=False)
        return nn.Sequential(conv, nn.BatchNorm2d(outputs))
    pool = nn.Identity()
    if strides > 1:
        pool = nn.AvgPool2d(2, strides, ceil_mode=True, count_include_pad=False)
    conv = nn.Conv2d(inputs, outputs, 1, bias=False)
    return nn.Sequential(pool, conv, nn.BatchNorm2d(outputs))


class Network(nn.Module):
    """From normalised pixels, [batch, 3, height, width], to logits."""

    def __init__(
        self, blocks, width=8, *, classes=10, bottleneck=False, groups=1, stem="cifar",
        kind="projection", shortcut_name="downsample", head_name="fc",
    ) -> None:  # fmt: skip
        super().__init__()
        self.pool = None if stem == "cifar" else nn.MaxPool2d(3, 2, 1)
        if stem == "deep":
            half = width // 2
            self.conv1 = nn.Sequential(
                nn.Conv2d(3, half, 3, 2, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
                nn.Conv2d(half, half, 3, 1, 1, bias=False), nn.BatchNorm2d(half), nn.ReLU(),
                nn.Conv2d(half, width, 3, 1, 1, bias=False),
            )  # fmt: skip
        elif stem == "imagenet":
            self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        else:
            self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        inputs, self.stages, self.head_name = width, len(blocks), head_name
        for stage, count in enumerate(blocks):
            filters, stack = width * 2**stage, []
            for block in range(count):
                strides = 2 if stage and not block else 1
                stack.append(Block(
                    inputs, filters, strides, bottleneck=bottleneck, groups=groups, kind=kind,
                    shortcut_name=shortcut_name,
                ))  # fmt: skip
                inputs = 4 * filters if bottleneck else filters
            setattr(self, f"layer{stage + 1}", nn.Sequential(*stack))
        setattr(self, head_name, nn.Linear(inputs, classes))

    def forward(self, x):
        x = torch.relu(self.bn1(self.conv1(x)))
        x = self.pool(x) if self.pool else x
        for stage in range(self.stages):
            x = getattr(self, f"layer{stage + 1}")(x)
        return getattr(self, self.head_name)(x.mean((2, 3)))


def build_network(*settings: Any, **named: Any):
    """A network with norms whose scales, offsets and statistics no initial value hides behind."""
    torch.manual_seed(0)
    network = Network(*settings, **named).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            for values, low, high in (
                (module.weight, 0.5, 1.5), (module.bias, -0.3, 0.3),
                (module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 1.5),
            ):  # fmt: skip
                nn.init.uniform_(values, low, high)
    return network


def logits(network, pixels, mean, std):
    """Of raw pixels, [batch, height, width, 3]; mean and std are in units of [0, 1]."""
    x = torch.tensor(pixels).permute(0, 3, 1, 2).float() / 255
    x = (x - torch.tensor(mean)[:, None, None]) / torch.tensor(std)[:, None, None]
    with torch.no_grad():
        return network(x).numpy()
