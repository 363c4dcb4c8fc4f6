"""Vela, Arm's compiler for its Ethos-U NPUs: where its command is, and for which it compiles."""

import shutil
import sys
from pathlib import Path

from pipeline.errors import UserError

NPUS = (
    *(f"ethos-u55-{units}" for units in (32, 64, 128, 256)),
    *(f"ethos-u65-{units}" for units in (256, 512)),
    *(f"ethos-u85-{units}" for units in (128, 256, 512, 1024, 2048)),
)
"""By the name that Vela gives them: family, and multiply-adds a cycle."""


def find_vela() -> str:
    """Find the command on PATH, or beside this Python; a command, for it may have an environment of its own.

    Raises:
        UserError: it is in neither place.
    """
    found = shutil.which("vela") or shutil.which("vela", path=Path(sys.executable).parent)
    if not found:
        raise UserError("--npu needs Arm's compiler, the command vela on PATH (pip install ethos-u-vela)")
    return found
