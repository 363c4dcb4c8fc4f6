"""Every network by its name in the field, and what it is made of; see docs/networks.md."""

import math
import re
from dataclasses import dataclass

from pipeline.errors import UserError, unknown


@dataclass(frozen=True)
class ResidualArchitecture:
    """A residual network: stem, stages of blocks, head.

    Attributes:
        blocks: blocks of each stage; the width doubles and the size halves between stages.
        block: `basic`, `bottleneck` or `preactivation`.
        width: channels of the first stage, in its paper.
        shortcut: `projection` (option B), `zero_padding` (option A), `pooling` (ResNet-D) or
            `none`.
        large_stem: stem for large images, `imagenet` or `deep`.
        stem_width: channels of the stem; 0: those of the first stage.
        groups: of a bottleneck's 3x3 convolution.
        inner_factor: channels of that convolution are the stage's times this.
        dropout_in_blocks: drop features between a block's convolutions, not before the head.
    """

    blocks: tuple[int, ...]
    block: str = "basic"
    width: int = 64
    shortcut: str = "projection"
    large_stem: str = "imagenet"
    stem_width: int = 0
    groups: int = 1
    inner_factor: int = 1
    dropout_in_blocks: bool = False

    @property
    def blocks_end_in_norms(self) -> bool:
        """Whether a block is its shortcut where its last norm's scale is zero."""
        return self.block != "preactivation" and self.shortcut != "none"

    @property
    def width_step(self) -> int:
        """What a width must be a multiple of, so that the groups divide its channels."""
        return self.groups // self.inner_factor


@dataclass(frozen=True)
class Baseline:
    """A plain network beside the residual ones.

    Attributes:
        width: what its layers' widths are multiples of.
    """

    width: int
    blocks_end_in_norms = False
    width_step = 1


@dataclass(frozen=True)
class MobileStage:
    """Inverted residual blocks of one shape, the first of which has the strides.

    Attributes:
        expansion: channels inside a block, as a multiple of those that enter it.
        filters: channels that leave it, as a multiple of the network's width.
        blocks: how many there are.
        strides: 1 or 2.
        kernel_size: of the depthwise convolutions.
    """

    expansion: int
    filters: float
    blocks: int
    strides: int
    kernel_size: int


@dataclass(frozen=True)
class MobileArchitecture:
    """A network of inverted residual blocks: stem, stages, a last 1x1 convolution, head.

    Attributes:
        stages: first to last.
        width: channels of the first stage, in its paper.
        stem_width: channels of the stem, at any width.
        top_width: channels of the last convolution, at any width.
    """

    stages: tuple[MobileStage, ...]
    width: int
    stem_width: int
    top_width: int
    blocks_end_in_norms = False
    width_step = 2  # so that all channels are whole

    @property
    def reduction(self) -> int:
        """How many times smaller the last feature maps are than the images."""
        return 2 * math.prod(stage.strides for stage in self.stages)


@dataclass(frozen=True)
class VGGArchitecture:
    """Stages of 3x3 convolutions with ReLUs, each followed by a max-pool, and a head.

    Attributes:
        convolutions: of each stage; the width doubles between stages, up to eight times.
        width: channels of the first stage, in its paper.
    """

    convolutions: tuple[int, ...]
    width: int
    blocks_end_in_norms = False
    width_step = 1

    @property
    def reduction(self) -> int:
        """How many times smaller the last feature maps are than the images."""
        return 2 ** len(self.convolutions)


@dataclass(frozen=True)
class DenseArchitecture:
    """A densely connected network: stem, stages of blocks with transitions between, head.

    Attributes:
        blocks: of each stage; each adds half of the width to the channels, its paper's growth rate.
        width: channels of the stem, in its paper.
    """

    blocks: tuple[int, ...]
    width: int
    blocks_end_in_norms = False
    width_step = 2  # so that the growth rate is whole

    @property
    def reduction(self) -> int:
        """How many times smaller the last feature maps are than the images."""
        return 4 * 2 ** (len(self.blocks) - 1)


LargeImageArchitecture = MobileArchitecture | VGGArchitecture | DenseArchitecture
"""Networks with one way of taking large images, and a smallest one that they can take."""

Architecture = ResidualArchitecture | LargeImageArchitecture | Baseline


def cifar_resnet(depth: int, shortcut: str = "zero_padding") -> ResidualArchitecture:
    """Depth 6n + 2: three stages of n blocks with 16, 32 and 64 channels (He et al. 2015, 4.2)."""
    return ResidualArchitecture(((depth - 2) // 6,) * 3, width=16, shortcut=shortcut)


def wide_resnet(depth: int, factor: int) -> ResidualArchitecture:
    """WRN-n-k: three stages of pre-activation blocks, k times as wide (Zagoruyko & Komodakis 2016).

    Raises:
        UserError: `depth` is not 6n + 4 within 10 to 1000, or `factor` not within 1 to 64.
    """
    if not 10 <= depth <= 1000 or (depth - 4) % 6 or not 1 <= factor <= 64:
        raise UserError(
            "--model wrn_N_K must have a depth N of 6n + 4 (10, 16, 22, 28, ..., 1000) and a "
            f"widening factor K from 1 to 64; received wrn_{depth}_{factor}"
        )
    return ResidualArchitecture(
        ((depth - 4) // 6,) * 3, "preactivation", width=16 * factor, stem_width=16, dropout_in_blocks=True
    )


EFFICIENTNET_LITE0 = MobileArchitecture(
    # Tan & Le 2019 (arXiv:1905.11946), table 1, B0; Lite0 has its stages, without squeeze-excitation.
    stages=(
        MobileStage(1, 1, 1, 1, 3),
        MobileStage(6, 1.5, 2, 2, 3),
        MobileStage(6, 2.5, 2, 2, 5),
        MobileStage(6, 5, 3, 2, 3),
        MobileStage(6, 7, 3, 1, 5),
        MobileStage(6, 12, 4, 2, 5),
        MobileStage(6, 20, 1, 1, 3),
    ),
    width=16,
    stem_width=32,
    top_width=1280,
)

MOBILENETV2 = MobileArchitecture(
    # Sandler et al. 2018 (arXiv:1801.04381), table 2.
    stages=(
        MobileStage(1, 1, 1, 1, 3),
        MobileStage(6, 1.5, 2, 2, 3),
        MobileStage(6, 2, 3, 2, 3),
        MobileStage(6, 4, 4, 2, 3),
        MobileStage(6, 6, 3, 1, 3),
        MobileStage(6, 10, 3, 2, 3),
        MobileStage(6, 20, 1, 1, 3),
    ),
    width=16,
    stem_width=32,
    top_width=1280,
)

ARCHITECTURES: dict[str, Architecture] = {
    "resnet18": ResidualArchitecture((2, 2, 2, 2)),
    "resnet34": ResidualArchitecture((3, 4, 6, 3)),
    "resnet50": ResidualArchitecture((3, 4, 6, 3), "bottleneck"),
    "resnet101": ResidualArchitecture((3, 4, 23, 3), "bottleneck"),
    # The reference topology of MLPerf Tiny, which projects (Banbury et al. 2021).
    "resnet8": cifar_resnet(8, shortcut="projection"),
    "resnet14": cifar_resnet(14),
    "resnet20": cifar_resnet(20),
    "resnet32": cifar_resnet(32),
    "resnet44": cifar_resnet(44),
    "resnet56": cifar_resnet(56),
    "resnet110": cifar_resnet(110),
    "resnet18d": ResidualArchitecture((2, 2, 2, 2), shortcut="pooling", large_stem="deep"),
    "resnet50d": ResidualArchitecture((3, 4, 6, 3), "bottleneck", shortcut="pooling", large_stem="deep"),
    # 32x4d: 32 groups of 4 channels in the first stage (Xie et al. 2017, table 1).
    "resnext50": ResidualArchitecture((3, 4, 6, 3), "bottleneck", groups=32, inner_factor=2),
    "wrn_28_10": wide_resnet(28, 10),
    "preresnet18": ResidualArchitecture((2, 2, 2, 2), "preactivation"),
    "mlp": Baseline(64),
    "convnet": Baseline(32),
    "plain18": ResidualArchitecture((2, 2, 2, 2), shortcut="none"),
    "efficientnet_lite0": EFFICIENTNET_LITE0,
    "mobilenetv2": MOBILENETV2,
    # Configuration D (Simonyan & Zisserman 2014, table 1).
    "vgg16": VGGArchitecture((2, 2, 3, 3, 3), width=64),
    # A growth rate of 32 (Huang et al. 2016, table 1).
    "densenet121": DenseArchitecture((6, 12, 24, 16), width=64),
}
"""The networks by name; `wrn_N_K` names any other wide one."""


def find_architecture(name: str) -> Architecture:
    """Return what the network of that name is made of.

    Raises:
        UserError: there is none.
    """
    if name in ARCHITECTURES:
        return ARCHITECTURES[name]
    if wide := re.fullmatch(r"wrn_(\d{1,4})_(\d{1,4})", name):
        return wide_resnet(int(wide[1]), int(wide[2]))
    raise unknown("--model", name, ARCHITECTURES)
