"""Every network costs what is published, and what PyTorch counts in the independent definition."""

import math
from dataclasses import dataclass, field
from typing import Any

import keras
import pytest

from pipeline.config.architectures import ARCHITECTURES
from pipeline.config.settings import ModelConfig
from pipeline.models import build_model
from pipeline.models.cost import count_parameters, multiply_adds
from tests.pipeline.untrained import conv_of_zeros


@dataclass(frozen=True)
class Cost:
    """What a network is published to cost, to the published digits; None: nothing published.

    timm counts two operations for each value that a norm computes as well.
    """

    model: str
    parameters: str | None = None
    multiply_adds: str | None = None
    with_norms: str | None = None
    input_shape: tuple[int, int, int] = (32, 32, 3)
    classes: int = 10
    settings: dict[str, Any] = field(default_factory=dict)


IMAGENET = {"input_shape": (224, 224, 3), "classes": 1000, "settings": {"stem": "imagenet"}}
DEEP = IMAGENET | {"settings": {"stem": "deep"}}
MNIST = {"input_shape": (28, 28, 1)}
COSTS = [
    # torchvision's pages of the models, num_params and GFLOPS; timm's results,
    # benchmark-infer-amp-nchw-pt240-cu124-rtx3090.csv, infer_gmacs.
    Cost("resnet18", "11689512", "1.81G", "1.82G", **IMAGENET),
    Cost("resnet34", "21797672", "3.66G", "3.67G", **IMAGENET),
    Cost("resnet50", "25557032", "4.09G", "4.11G", **IMAGENET),
    Cost("resnet101", "44549160", "7.80G", "7.83G", **IMAGENET),
    Cost("resnext50", "25028904", "4.23G", "4.26G", **IMAGENET),
    # The same results of timm, param_count too; He et al. 2019, table 5: 4.3 GFLOPs.
    Cost("resnet18d", "11.71M", None, "2.06G", **DEEP),
    Cost("resnet50d", "25.58M", "4.3G", "4.35G", **DEEP),
    # He et al. 2015, table 1: 1.8e9 FLOPs; section 4.1: shortcuts of option A cost none.
    Cost("plain18", None, "1.8G", **IMAGENET),
    # He et al. 2015, table 6.
    Cost("resnet20", "0.27M"),
    Cost("resnet32", "0.46M"),
    Cost("resnet44", "0.66M"),
    Cost("resnet56", "0.85M"),
    Cost("resnet110", "1.7M"),
    # Zagoruyko & Komodakis 2016, table 4.
    Cost("wrn_40_1", "0.6M"),
    Cost("wrn_16_8", "11.0M"),
    Cost("wrn_28_10", "36.5M"),
    # github.com/tensorflow/tpu, models/official/efficientnet/lite; its 407M multiply-adds are
    # by another count, which PyTorch's is not.
    Cost("efficientnet_lite0", "4.7M", input_shape=(224, 224, 3), classes=1000),
    # torchvision's pages and timm's results, as above.
    Cost("mobilenetv2", "3504872", "0.30G", "0.31G", input_shape=(224, 224, 3), classes=1000),
    Cost("densenet121", "7978856", "2.83G", "2.87G", input_shape=(224, 224, 3), classes=1000),
    # torchvision's 138,357,544 without both layers of 4,096 units, and 512 features in the head.
    Cost(
        "vgg16",
        str(138_357_544 - (7 * 7 * 512 + 1 + 4096 + 1) * 4096 - 4097 * 1000 + 513 * 1000),
        input_shape=(224, 224, 3),
        classes=1000,
    ),
    # MLPerf Tiny's reference has 78,666 in Keras' count. That counts 336 biases of convolutions
    # and 480 moving statistics of 7 norms, and lacks 192 scales and offsets of 2 projection norms.
    Cost("resnet8", str(78_666 - 336 - 480 + 192)),
    # McMahan et al. 2017, section 3: 199,210 and 1,663,370.
    Cost("mlp", "199210", **MNIST, settings={"width": 25}),
    Cost("convnet", "1663370", **MNIST),
    # Nothing published, or in another setting.
    Cost("preresnet18"),
    Cost("resnet14"),
    Cost("preresnet18", **IMAGENET),
    Cost("resnet18"),
    Cost("resnet20", settings={"shortcut": "projection"}),
    Cost("mlp"),
    Cost("convnet"),
]


def as_published(count, published):
    """`count` in the unit and to the digits of `published`."""
    unit = {"M": 1e6, "G": 1e9}.get(published[-1], 1)
    number = published.rstrip("MG")
    return f"{count / unit:.{len(number.partition('.')[2])}f}{published[len(number) :]}"


def count_in_torch(cost):
    """Parameters and multiply-adds of the independent definition, counted by PyTorch itself."""
    torch = pytest.importorskip("torch", reason="PyTorch is the independent reference")
    from torch.utils.flop_counter import FlopCounterMode

    from tests.pipeline.models.torch_family import build_torch_network

    height, width, channels = cost.input_shape
    with torch.device("meta"):
        network = build_torch_network(cost.model, cost.input_shape, cost.classes, **cost.settings).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, channels, height, width))
    # A multiply-add is two operations to PyTorch.
    return sum(weight.numel() for weight in network.parameters()), counter.get_total_flops() // 2


def values_of_norms(model):
    norms = [x for x in model.layers if isinstance(x, keras.layers.BatchNormalization)]
    return sum(math.prod(norm.output.shape[1:]) for norm in norms)


@pytest.mark.parametrize("cost", COSTS, ids=lambda cost: f"{cost.model}-{cost.input_shape[0]}px")
def test_cost(cost):
    channels = cost.input_shape[2]
    model = build_model(
        ModelConfig(**{"model": cost.model, **cost.settings}),
        input_shape=cost.input_shape,
        classes=cost.classes,
        pixel_mean=(0.0,) * channels,
        pixel_std=(1.0,) * channels,
        seed=0,
        convolution_layer=conv_of_zeros,
    )
    parameters, adds = count_parameters(model), sum(multiply_adds(model).values())
    assert (parameters, adds) == count_in_torch(cost)
    for count, published in (
        (parameters, cost.parameters),
        (adds, cost.multiply_adds),
        (adds + 2 * values_of_norms(model), cost.with_norms),
    ):
        assert published is None or as_published(count, published) == published


def test_every_network_is_counted():
    assert {cost.model for cost in COSTS} >= set(ARCHITECTURES)
