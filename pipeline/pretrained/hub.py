"""ImageNet weights of timm's residual networks, from the Hugging Face Hub."""

from dataclasses import replace

from pipeline.config.published import PUBLISHED, HubWeights
from pipeline.hub import fetch
from pipeline.pretrained.efficientnet_lite0 import imagenet_class_names
from pipeline.pretrained.state_dict import read_state_dict
from pipeline.pretrained.weights import Pretrained


def read_hub_weights(model: str) -> Pretrained:
    """Read the weights that timm publishes of a network, downloading them where they are not kept.

    Raises:
        UserError: they cannot be downloaded, are damaged, or of another network.
    """
    published = PUBLISHED[model]
    assert isinstance(published, HubWeights)
    found = fetch(published.repository)
    return replace(
        read_state_dict(found.weights),
        origin=f"{published.repository} of the hub, trained on ImageNet, "
        f"{found.licence or 'of no stated licence'}, revision {found.revision[:12]}, "
        f"SHA-256 {found.sha256[:16]}...",
        class_names=imagenet_class_names(),
    )
