"""Trained networks that come with the project: each a folder in `ready/`, known by its name."""

import difflib
import os
from pathlib import Path

from pipeline.errors import UserError

READY = Path(__file__).parents[1] / "ready"

CARD = "card.md"
"""What every one of them has: where it comes from, and what it is worth."""


def list_ready() -> list[str]:
    """Name the ready models."""
    return sorted(card.parent.name for card in READY.glob(f"[!.]*/{CARD}"))


def describe_ready(near: str = "") -> str:
    """Write the names for a message, behind the one that is nearest to `near`, where one is near."""
    names = list_ready()
    nearest = difflib.get_close_matches(near, names, n=1)
    hint = f"did you mean {nearest[0]!r}? " if nearest else ""
    return f"{hint}ready: {', '.join(names) or 'none'}"


def find_place(name: str) -> Path:
    """Return the path that was typed, or the folder of the ready model of that name.

    A path that exists here wins over a name.
    """
    path = Path(name)
    is_name = name in list_ready() and not os.path.lexists(path)
    return READY / name if is_name else path


def is_ready(path: Path) -> bool:
    """Whether a path leads into the folder of a ready model, which stays as it is."""
    return Path(os.path.realpath(path)).is_relative_to(READY.resolve())


def refuse_ready(out: Path) -> None:
    """Refuse to write into the folder of a ready model: its files are as its card says.

    Raises:
        UserError: `out` is in `READY`.
    """
    if is_ready(out):
        raise UserError(
            f"--out must be outside the ready models, which stay as they are (add --out DIR); received {out}"
        )
