"""Arrays that are kept from one command to the next in the user's cache directory.

What is there can be found out again: it is written if it can be, believed if it is whole and of this
version of the code, and otherwise passed over in silence. It may be deleted at any time.
"""

import contextlib
import hashlib
import os
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import ModuleType

import numpy as np

from pipeline.errors import UserError
from pipeline.files.lock import hold_lock
from pipeline.files.regular import open_regular
from pipeline.files.whole import write_whole

FOLDER = "image_classifier"
"""Within the user's cache directory."""

FORMAT = 1
"""Of the files, below."""

VERSION = "version"


def cache_directory() -> Path | None:
    """Return where arrays are kept: below XDG_CACHE_HOME, else ~/.cache; None without a home directory.

    Source: XDG Base Directory Specification 0.8, which has relative paths ignored.
    """
    base = os.environ.get("XDG_CACHE_HOME", "")
    if not os.path.isabs(base):
        base = os.path.expanduser("~/.cache")
    return Path(base, FOLDER) if os.path.isabs(base) else None


def version_of(*modules: ModuleType, packages: tuple[str, ...]) -> str:
    """Digest the source of modules and the versions of packages: whatever found what is kept."""
    digest = hashlib.sha256(f"{FORMAT} {[version(name) for name in packages]}".encode())
    for module in modules:
        assert module.__file__
        digest.update(Path(module.__file__).read_bytes())
    return digest.hexdigest()


class Kept:
    """Arrays about one subject.

    Args:
        kind: what they tell, the beginning of the file's name.
        subject: what they are about.
        version: of what found them, as of `version_of`.
    """

    def __init__(self, kind: str, subject: bytes, version: str) -> None:
        self.version = version
        directory = cache_directory()
        name = f"{kind}_{hashlib.sha256(subject).hexdigest()[:32]}.npz"
        self.path = directory / name if directory else None

    def read(self) -> dict[str, np.ndarray] | None:
        """Return the arrays by name; None where there are none, or of another version, or damaged."""
        if self.path is None:
            return None
        try:
            # NumPy leaves a damaged file open that it opened itself.
            with open_regular(self.path) as content, np.load(content, allow_pickle=False) as file:
                if file[VERSION].tobytes() != self.version.encode():
                    return None
                return {name: file[name] for name in file.files if name != VERSION}
        except Exception:  # every byte can be wrong: zipfile, zlib and NumPy raise what they like
            return None

    def write(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Keep the arrays in place of what was kept, unless that cannot be, or another process does."""
        if self.path is None:
            return
        texts = {VERSION: np.frombuffer(self.version.encode(), np.uint8)}

        def save(aside: Path) -> None:
            with aside.open("wb") as file:
                np.savez(file, **texts, **arrays)  # type: ignore[arg-type]  # none is allow_pickle

        with contextlib.suppress(UserError, OSError):
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with hold_lock(self.path.with_suffix(".lock"), busy="another process keeps the same"):
                write_whole(self.path, save)
