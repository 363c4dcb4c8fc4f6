"""ImageNet weights by the network that they are of: which are published, and where."""

from dataclasses import dataclass
from typing import Any

from pipeline.config.architectures import ARCHITECTURES, ResidualArchitecture

IMAGENET = "imagenet"
"""What `--weights` calls them."""

IMAGENET_PIXELS = 224
"""Side of the images that all of them learned from."""


@dataclass(frozen=True)
class ShippedWeights:
    """They come with the project."""


@dataclass(frozen=True)
class KerasWeights:
    """A file of `keras.applications`, which Keras keeps in `~/.keras/models`.

    Attributes:
        file: its name, and the end of its address.
        licence: of the weights.
        md5: of the file; empty where Keras tells none.
    """

    file: str
    licence: str
    md5: str = ""

    @property
    def url(self) -> str:
        """Where it is downloaded from."""
        return f"https://storage.googleapis.com/tensorflow/keras-applications/{self.file}"

    @property
    def name(self) -> str:
        """What it is called where Keras keeps it."""
        return self.file.rpartition("/")[2]


@dataclass(frozen=True)
class HubWeights:
    """A repository of timm's on the Hugging Face Hub.

    Attributes:
        repository: its owner and name.
    """

    repository: str


PUBLISHED: dict[str, ShippedWeights | KerasWeights | HubWeights] = {
    "efficientnet_lite0": ShippedWeights(),
    "mobilenetv2": KerasWeights(
        "mobilenet_v2/mobilenet_v2_weights_tf_dim_ordering_tf_kernels_1.0_224.h5", "Apache-2.0"
    ),
    # Without the layers of 4,096 units, which this pipeline's network does not have.
    "vgg16": KerasWeights(
        "vgg16/vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5",
        "CC-BY-4.0",
        "6d6bbae143d832006294945121d1f1fc",
    ),
    "densenet121": KerasWeights(
        "densenet/densenet121_weights_tf_dim_ordering_tf_kernels.h5",
        "BSD-3-Clause",
        "9d60b8095a5708f2dcce2bca79d332c7",
    ),
    # Those of them that timm gives under the network's name alone, where ours has no other layers.
    "resnet18": HubWeights("timm/resnet18.a1_in1k"),
    "resnet34": HubWeights("timm/resnet34.a1_in1k"),
    "resnet50": HubWeights("timm/resnet50.a1_in1k"),
    "resnet101": HubWeights("timm/resnet101.a1h_in1k"),
    "resnet18d": HubWeights("timm/resnet18d.ra2_in1k"),
    "resnet50d": HubWeights("timm/resnet50d.ra2_in1k"),
    "resnext50": HubWeights("timm/resnext50_32x4d.a1h_in1k"),
}
"""Network -> its weights, of its paper's width, shortcuts and stem for large images."""


def published_settings(model: str) -> dict[str, Any]:
    """Return the settings that the published weights of a network want, by name."""
    architecture = ARCHITECTURES[model]
    stem, shortcut = "auto", "auto"
    if isinstance(architecture, ResidualArchitecture):
        stem, shortcut = architecture.large_stem, architecture.shortcut
    return {
        "width": architecture.width,
        "stem": stem,
        "shortcut": shortcut,
        # They see best what is as large as what they learned from.
        "image_size": IMAGENET_PIXELS,
    }
