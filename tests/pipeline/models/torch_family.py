"""The whole family a second time, in PyTorch and from the papers: what the tests compare with.

The weights of residual networks carry torchvision's and timm's names, so that theirs can be loaded.
"""

from collections import OrderedDict
from math import prod
from typing import Any

import pytest
import torch
from torch import nn
from torch.nn import functional


def convolution(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1):
    """Convolution without bias, centred by its padding."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)


class ZeroPadding(nn.Module):
    """Option A: every other pixel, and zeros for the new channels (He et al. 2015, 3.3)."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.before = (outputs - inputs) // 2
        self.behind = outputs - inputs - self.before
        self.stride = stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x[:, :, :: self.stride, :: self.stride]
        return functional.pad(x, (0, 0, 0, 0, self.before, self.behind))


def build_shortcut(kind: str, inputs: int, outputs: int, stride: int) -> nn.Module:
    """The shortcut of a block that changes the shape.

    `projection` is option B of He et al. 2015, `pooling` ResNet-D of He et al. 2019, figure 2c,
    and `convolution` a projection without norm, as in Zagoruyko & Komodakis 2016.
    """
    if kind == "zero_padding":
        return ZeroPadding(inputs, outputs, stride)
    if kind == "convolution":
        return nn.Sequential(convolution(inputs, outputs, 1, stride))
    if kind == "projection":
        return nn.Sequential(convolution(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
    pool = nn.AvgPool2d(2, 2, ceil_mode=True, count_include_pad=False)
    pool = pool if stride > 1 else nn.Identity()
    return nn.Sequential(pool, convolution(inputs, outputs, 1), nn.BatchNorm2d(outputs))


class Basic(nn.Module):
    """Two 3x3 convolutions (He et al. 2015, figure 5, left)."""

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.conv1 = convolution(inputs, planes, 3, stride)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = convolution(planes, planes, 3)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.downsample(x) if self.downsample else x
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))) + shortcut)


class Plain(Basic):
    """The same without a shortcut (He et al. 2015, figure 3, middle)."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class PreActivation(nn.Module):
    """Norm and ReLU before each convolution; a changed shape is projected from the activated input.

    He et al. 2016, figure 1b; Zagoruyko & Komodakis 2016, figure 1a.
    """

    expansion = 1

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, planes, 3, stride)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv2 = convolution(planes, planes, 3)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        activated = torch.relu(self.bn1(x))
        shortcut = self.downsample(activated) if self.downsample else x
        return self.conv2(torch.relu(self.bn2(self.conv1(activated)))) + shortcut


class Bottleneck(nn.Module):
    """1x1, 3x3 with the stride (version 1.5) and 1x1 convolution (He et al. 2015, figure 5, right).

    With 32 groups of 4 channels a 64 planes it is ResNeXt's (Xie et al. 2017, figure 3c).
    """

    expansion = 4
    groups, group_width = 1, 64

    def __init__(self, inputs: int, planes: int, stride: int, downsample: nn.Module | None) -> None:
        super().__init__()
        inner = planes * self.group_width // 64 * self.groups
        self.conv1 = convolution(inputs, inner, 1)
        self.bn1 = nn.BatchNorm2d(inner)
        self.conv2 = convolution(inner, inner, 3, stride, self.groups)
        self.bn2 = nn.BatchNorm2d(inner)
        self.conv3 = convolution(inner, 4 * planes, 1)
        self.bn3 = nn.BatchNorm2d(4 * planes)
        self.downsample = downsample

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shortcut = self.downsample(x) if self.downsample else x
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class GroupedBottleneck(Bottleneck):
    groups, group_width = 32, 4


class ResNet(nn.Module):
    """Normalised pixels, float32 [batch, 3, height, width], to logits [batch, classes].

    A pre-activation network's stem ends in its convolution, and `norm` follows its last block.
    """

    def __init__(
        self,
        blocks: tuple[int, ...],
        classes: int,
        *,
        stem: str,
        width: int = 64,
        stem_width: int = 0,
        block: type[nn.Module] = Basic,
        shortcut: str = "projection",
    ) -> None:
        super().__init__()
        self.preactivation = block is PreActivation
        channels = stem_width or width
        self.conv1 = stem_convolution(stem, channels)
        self.bn1 = nn.Identity() if self.preactivation else nn.BatchNorm2d(channels)
        # Around signed maps stand zeros too, as in Kolesnikov et al. 2020's BiT.
        pool = nn.Sequential(nn.ConstantPad2d(1, 0.0), nn.MaxPool2d(3, 2))
        self.maxpool = nn.Identity() if stem == "cifar" else pool
        for stage, count in enumerate(blocks):
            planes = width * 2**stage
            layer = nn.Sequential()
            for index in range(count):
                stride = 2 if stage and not index else 1
                downsample, outputs = None, planes * block.expansion
                if (stride > 1 or channels != outputs) and block is not Plain:
                    downsample = build_shortcut(shortcut, channels, outputs, stride)
                layer.append(block(channels, planes, stride, downsample))
                channels = outputs
            setattr(self, f"layer{stage + 1}", layer)
        self.norm = nn.BatchNorm2d(channels) if self.preactivation else nn.Identity()
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv1(x)
        x = self.maxpool(x if self.preactivation else torch.relu(self.bn1(x)))
        for name, part in self.named_children():
            x = part(x) if name.startswith("layer") else x
        x = torch.relu(self.norm(x)) if self.preactivation else x
        return self.fc(x.mean((2, 3)))


def stem_convolution(stem: str, channels: int) -> nn.Module:
    """He et al. 2015's 3x3 or 7x7 convolution, or three 3x3 (He et al. 2019, figure 2b)."""
    if stem == "cifar":
        return convolution(3, channels, 3)
    if stem == "imagenet":
        return convolution(3, channels, 7, 2)
    half = channels // 2
    return nn.Sequential(
        convolution(3, half, 3, 2),
        nn.BatchNorm2d(half),
        nn.ReLU(),
        convolution(half, half, 3),
        nn.BatchNorm2d(half),
        nn.ReLU(),
        convolution(half, channels, 3),
    )


class MLP(nn.Module):
    """McMahan et al. 2017's 2NN: two hidden layers with ReLU."""

    def __init__(self, pixels: int, classes: int, units: int) -> None:
        super().__init__()
        self.hidden1 = nn.Linear(pixels, units)
        self.hidden2 = nn.Linear(units, units)
        self.fc = nn.Linear(units, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x.permute(0, 2, 3, 1).flatten(1)  # in TensorFlow's order of the pixels
        return self.fc(torch.relu(self.hidden2(torch.relu(self.hidden1(x)))))


class ConvNet(nn.Module):
    """McMahan et al. 2017's CNN: two 5x5 convolutions, each with 2x2 max pooling, and 512 units."""

    def __init__(self, input_shape: tuple[int, int, int], classes: int, width: int = 32) -> None:
        super().__init__()
        height, length, channels = input_shape
        self.stage1_conv = nn.Conv2d(channels, width, 5, padding=2)
        self.stage2_conv = nn.Conv2d(width, 2 * width, 5, padding=2)
        self.hidden = nn.Linear((height // 4) * (length // 4) * 2 * width, 16 * width)
        self.fc = nn.Linear(16 * width, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(torch.relu(self.stage1_conv(x)), 2)
        x = functional.max_pool2d(torch.relu(self.stage2_conv(x)), 2)
        x = x.permute(0, 2, 3, 1).flatten(1)  # in TensorFlow's order of the pixels
        return self.fc(torch.relu(self.hidden(x)))


class SamePadding(nn.Module):
    """TensorFlow's `same`: as many outputs as the stride leaves, an odd zero at the bottom right."""

    def __init__(self, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel, self.stride = kernel, stride

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        sides = []
        for length in (x.shape[3], x.shape[2]):
            zeros = max((-(-length // self.stride) - 1) * self.stride + self.kernel - length, 0)
            sides += [zeros // 2, zeros - zeros // 2]
        return functional.pad(x, sides)


class InvertedResidual(nn.Module):
    """Sandler et al. 2018, table 1: expand, filter each channel, project without ReLU."""

    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        self.expands, self.adds = expansion > 1, stride == 1 and inputs == outputs
        inner = expansion * inputs
        if self.expands:
            self.conv1 = convolution(inputs, inner, 1)
            self.bn1 = nn.BatchNorm2d(inner, eps=1e-3)
        self.pad = SamePadding(3, stride)
        self.conv2 = nn.Conv2d(inner, inner, 3, stride, groups=inner, bias=False)
        self.bn2 = nn.BatchNorm2d(inner, eps=1e-3)
        self.conv3 = convolution(inner, outputs, 1)
        self.bn3 = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = functional.relu6(self.bn1(self.conv1(x))) if self.expands else x
        y = functional.relu6(self.bn2(self.conv2(self.pad(y))))
        y = self.bn3(self.conv3(y))
        return x + y if self.adds else y


class MobileNetV2(nn.Module):
    """Sandler et al. 2018, table 2: expansion, channels, repeats and stride of each stage."""

    def __init__(self, classes: int, width: int = 16) -> None:
        super().__init__()
        self.pad = SamePadding(3, 2)
        self.conv1 = nn.Conv2d(3, 32, 3, 2, bias=False)
        self.bn1 = nn.BatchNorm2d(32, eps=1e-3)
        table = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        inputs = 32
        for number, (expansion, channels, repeats, stride) in enumerate(table, start=1):
            outputs, blocks = channels * width // 16, nn.Sequential()
            for index in range(repeats):
                blocks.append(InvertedResidual(inputs, outputs, 1 if index else stride, expansion))
                inputs = outputs
            setattr(self, f"layer{number}", blocks)
        self.top_conv = convolution(inputs, 1280, 1)
        self.top_norm = nn.BatchNorm2d(1280, eps=1e-3)
        self.fc = nn.Linear(1280, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.relu6(self.bn1(self.conv1(self.pad(x))))
        for number in range(1, 8):
            x = getattr(self, f"layer{number}")(x)
        x = functional.relu6(self.top_norm(self.top_conv(x)))
        return self.fc(x.mean((2, 3)))


class VGG16(nn.Module):
    """Simonyan & Zisserman 2014, table 1, column D; the mean over the maps in place of `FC-4096`."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        inputs = 3
        for number, (factor, count) in enumerate([(1, 2), (2, 2), (4, 3), (8, 3), (8, 3)], start=1):
            for index in range(1, count + 1):
                layer = nn.Conv2d(inputs, factor * width, 3, padding=1)
                setattr(self, f"stage{number}_conv{index}", layer)
                inputs = factor * width
        self.fc = nn.Linear(inputs, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for name, layer in self.named_children():
            if name.endswith("conv1") and name != "stage1_conv1":
                x = functional.max_pool2d(x, 2)
            if name != "fc":
                x = torch.relu(layer(x))
        return self.fc(functional.max_pool2d(x, 2).mean((2, 3)))


class Dense(nn.Module):
    """Huang et al. 2016, section 3: norm, ReLU, 1x1 to four times k, norm, ReLU, 3x3 to k."""

    def __init__(self, inputs: int, growth: int) -> None:
        super().__init__()
        self.bn1 = nn.BatchNorm2d(inputs)
        self.conv1 = convolution(inputs, 4 * growth, 1)
        self.bn2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = convolution(4 * growth, growth, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        new = self.conv2(torch.relu(self.bn2(self.conv1(torch.relu(self.bn1(x))))))
        return torch.cat([x, new], dim=1)


class DenseNet121(nn.Module):
    """Huang et al. 2016, table 1: 6, 12, 24 and 16 blocks, and transitions that halve the channels."""

    def __init__(self, classes: int, width: int = 64) -> None:
        super().__init__()
        self.conv1 = convolution(3, width, 7, 2)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for number, count in enumerate((6, 12, 24, 16), start=1):
            if number > 1:
                parts = {"norm": nn.BatchNorm2d(channels), "relu": nn.ReLU()}
                parts |= {"conv": convolution(channels, channels // 2, 1), "pool": nn.AvgPool2d(2)}
                setattr(self, f"transition{number}", nn.Sequential(OrderedDict(parts)))
                channels //= 2
            blocks = nn.Sequential()
            for _ in range(count):
                blocks.append(Dense(channels, width // 2))
                channels += width // 2
            setattr(self, f"layer{number}", blocks)
        self.norm = nn.BatchNorm2d(channels)
        self.fc = nn.Linear(channels, classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.max_pool2d(torch.relu(self.bn1(self.conv1(x))), 3, 2, padding=1)
        for name, part in self.named_children():
            x = part(x) if name.startswith(("layer", "transition")) else x
        return self.fc(torch.relu(self.norm(x)).mean((2, 3)))


RESNETS: dict[str, dict[str, Any]] = {
    "resnet18": {"blocks": (2, 2, 2, 2)},
    "resnet34": {"blocks": (3, 4, 6, 3)},
    "resnet50": {"blocks": (3, 4, 6, 3), "block": Bottleneck},
    "resnet101": {"blocks": (3, 4, 23, 3), "block": Bottleneck},
    "resnext50": {"blocks": (3, 4, 6, 3), "block": GroupedBottleneck},
    "resnet18d": {"blocks": (2, 2, 2, 2), "shortcut": "pooling"},
    "resnet50d": {"blocks": (3, 4, 6, 3), "block": Bottleneck, "shortcut": "pooling"},
    "resnet8": {"blocks": (1, 1, 1), "width": 16},
    **{
        f"resnet{6 * n + 2}": {"blocks": (n, n, n), "width": 16, "shortcut": "zero_padding"}
        for n in (2, 3, 5, 7, 9, 18)
    },
    "preresnet18": {"blocks": (2, 2, 2, 2), "block": PreActivation, "shortcut": "convolution"},
    "plain18": {"blocks": (2, 2, 2, 2), "block": Plain},
}


def build_torch_network(
    name: str, input_shape: tuple[int, int, int], classes: int, **settings: Any
) -> nn.Module:
    """Build a network of the family; `settings` (stem, width, shortcut) replace its own."""
    if name == "mlp":
        return MLP(prod(input_shape), classes, 8 * settings.get("width", 64))
    if name == "convnet":
        return ConvNet(input_shape, classes, **settings)
    others = {"mobilenetv2": MobileNetV2, "vgg16": VGG16, "densenet121": DenseNet121}
    if name in others:
        return others[name](classes, **settings)
    if name == "efficientnet_lite0":
        package = pytest.importorskip("efficientnet_lite_pytorch", reason="the independent definition")
        size = {"image_size": input_shape[:2], "num_classes": classes}
        return package.EfficientNet.from_name("efficientnet-lite0", **size)
    if name.startswith("wrn_"):
        depth, factor = map(int, name.split("_")[1:])
        architecture = {
            "blocks": ((depth - 4) // 6,) * 3,
            "width": 16 * factor,
            "stem_width": 16,
            "block": PreActivation,
            "shortcut": "convolution",
        }
    else:
        architecture = RESNETS[name]
    return ResNet(classes=classes, **{"stem": "cifar", **architecture, **settings})
