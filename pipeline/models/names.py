"""The layers' names, `stem_conv`, `stage2_block1_norm1`, `head`: how they are made and read.

A name begins with its part: `stem`, `stage1`, ..., `head`. In a stage of blocks the block follows,
then what the layer is in it. Pretrained weights go by these names.
"""

import re
from collections import Counter
from collections.abc import Iterable

NORMALIZATION, DROPOUT, HEAD = "normalization", "dropout", "head"
PIXELS, FINAL_NORM, POOL = "pixels", "final_norm", "pool"

ADD, CONCATENATION = "add", "concatenation"
"""What the layer at the end of a block is that takes its input as well."""
PROJECTION, PROJECTION_NORM = "projection", "projection_norm"
SHORTCUT_POOL, SHORTCUT_SUBSAMPLE = "shortcut_pool", "shortcut_subsample"
"""What a layer of a shortcut is in its block."""

IN_BLOCK = re.compile(r"(stage(\d+)_block\d+)_(.*)")


def stem_layer(role: str) -> str:
    """Name a layer of the stem."""
    return f"stem_{role}"


def top_layer(role: str) -> str:
    """Name a layer between the last stage and the pooling."""
    return f"top_{role}"


def stage_name(stage: int) -> str:
    """Name a stage, from 1; also the beginning of the names of its layers."""
    return f"stage{stage}"


def block_name(stage: int, block: int) -> str:
    """Name a block, from 1 in its stage; also the beginning of the names of its layers."""
    return f"{stage_name(stage)}_block{block}"


def block_layer(stage: int, block: int, role: str) -> str:
    """Name a layer by what it is in its block, as in `conv1`."""
    return f"{block_name(stage, block)}_{role}"


def part_of(layer: str) -> str:
    """Return the first word of a name: stem, stage1, ..., final, head and the like."""
    return layer.partition("_")[0]


def block_of(layer: str) -> str:
    """Return the name of the block that a layer is in; empty where it is in none."""
    found = IN_BLOCK.match(layer)
    return found[1] if found else ""


def role_of(layer: str) -> str:
    """Return what a layer is in its block, as in `conv1`; its name where it is in none."""
    found = IN_BLOCK.match(layer)
    return found[3] if found else layer


def is_in_shortcut(role: str) -> bool:
    """Whether a layer of a block is one of its shortcut."""
    return role in (PROJECTION, PROJECTION_NORM, SHORTCUT_POOL, SHORTCUT_SUBSAMPLE)


def blocks_per_stage(layers: Iterable[str]) -> tuple[int, ...]:
    """Count the blocks of each stage."""
    blocks = {found[1]: found[2] for found in map(IN_BLOCK.match, layers) if found}
    counts = Counter(blocks.values())
    return tuple(counts[stage] for stage in sorted(counts))


def shortcut_of(layers: Iterable[str]) -> str:
    """Tell from the names of all of a network's layers how its blocks change shape."""
    roles = {role_of(layer) for layer in layers}
    if SHORTCUT_POOL in roles:
        return "pooling"
    if SHORTCUT_SUBSAMPLE in roles:
        return "zero_padding"
    return "projection" if PROJECTION in roles else "none"
