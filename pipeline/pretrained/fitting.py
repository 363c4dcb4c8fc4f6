"""Which of our networks pretrained weights would fit."""

import re
from collections import Counter
from collections.abc import Iterator

from pipeline.config.architectures import ARCHITECTURES, ResidualArchitecture
from pipeline.config.option import flag
from pipeline.config.settings import ModelConfig
from pipeline.errors import UserError
from pipeline.models import build_model
from pipeline.pretrained.mismatches import mismatches
from pipeline.pretrained.weights import Pretrained

LARGE_ENOUGH = (64, 64, 3)
"""An image that every stem and stage can halve; no weight of theirs depends on its size."""


def fitting_flags(pretrained: Pretrained) -> str | None:
    """Name the flags of a residual network that takes the weights, as far as there is one.

    Each candidate is built and tried, so that what is named does fit.
    """
    for settings in _candidates(pretrained):
        try:
            network = build_model(
                ModelConfig(**settings),
                input_shape=LARGE_ENOUGH,
                classes=1,
                pixel_mean=pretrained.mean,
                pixel_std=pretrained.std,
                seed=0,
            )
        except UserError:
            continue
        if not mismatches(pretrained, network):
            return " ".join(f"{flag(name)} {value}" for name, value in settings.items())
    return None


def _candidates(pretrained: Pretrained) -> Iterator[dict[str, str | int]]:
    layers = pretrained.layers
    first = layers.get("stage1_block1_conv3") or layers.get("stage1_block1_conv1")
    if first is None or not ("stem_conv" in layers or "stem_conv1" in layers):
        return
    bottleneck = "stage1_block1_conv3" in layers
    stem = "deep"
    if "stem_conv" in layers:
        stem = "imagenet" if layers["stem_conv"][0].shape[0] == 7 else "cifar"
    for name, architecture in _like(pretrained):
        settings: dict[str, str | int] = {
            "model": name,
            "width": first[0].shape[-1] // (4 if bottleneck else 1),
            "stem": stem,
        }
        if architecture.shortcut != pretrained.shortcut:
            settings["shortcut"] = pretrained.shortcut
        yield settings


def _like(pretrained: Pretrained) -> list[tuple[str, ResidualArchitecture]]:
    """List the architectures with as many blocks, first those with the same shortcuts."""
    names = "\n".join(pretrained.layers)
    counts = Counter(stage for stage, _ in set(re.findall(r"stage(\d+)_block(\d+)_", names)))
    blocks = tuple(counts[stage] for stage in sorted(counts))
    found = [
        (name, architecture)
        for name, architecture in ARCHITECTURES.items()
        if isinstance(architecture, ResidualArchitecture)
        and architecture.blocks == blocks
        and (architecture.block == "bottleneck") == ("stage1_block1_conv3" in pretrained.layers)
    ]
    return sorted(found, key=lambda each: each[1].shortcut != pretrained.shortcut)
