"""Which files of a folder the product wrote: a list with their digests, kept beside them.

Only what is on the list, and as it was then, may be replaced or removed.
"""

import hashlib
import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from pipeline.errors import UserError
from pipeline.files.json_file import read_json, write_json

LIST = "files.json"
"""The list: `made_by`, and `files`, from relative path to SHA-256s, of which the file has one."""

Listed = Mapping[str, list[str]]


def find_files(folder: Path) -> list[str]:
    """Name everything below a folder, of folders the empty ones: relative paths, sorted.

    Links are not followed.

    Raises:
        OSError: a folder cannot be read.
    """

    def fail(error: OSError) -> None:
        raise error

    found: list[str] = []
    if not os.path.isdir(folder):
        return found
    for parent, folders, files in os.walk(folder, onerror=fail):
        links = [name for name in folders if os.path.islink(os.path.join(parent, name))]
        found += [Path(parent, name).relative_to(folder).as_posix() for name in [*files, *links]]
        if not (folders or files) and Path(parent) != folder:
            found.append(Path(parent).relative_to(folder).as_posix())
    return sorted(found)


def sha256(content: bytes) -> str:
    """Return the digest by which the list knows a file."""
    return hashlib.sha256(content).hexdigest()


def list_files(folder: Path, names: Iterable[str]) -> dict[str, list[str]]:
    """Return the list of these files as they are now."""
    return {name: [sha256((folder / name).read_bytes())] for name in names}


def write_list(folder: Path, made_by: str, files: Listed) -> None:
    """Write the list of what a command wrote into a folder.

    Raises:
        UserError: it cannot be written.
    """
    write_json(folder / LIST, {"made_by": made_by, "files": files})


def read_list(folder: Path, made_by: str) -> Listed | None:
    """Return what `made_by` wrote into a folder; None where there is no list of it."""
    if not is_regular(folder / LIST):
        return None
    try:
        content = read_json(folder / LIST, ("made_by", "files"))
    except UserError:
        return None
    if content["made_by"] != made_by or not isinstance(content["files"], dict):
        return None
    return {name: digests for name, digests in content["files"].items() if isinstance(digests, list)}


def is_regular(path: Path) -> bool:
    """Whether there is a file: no folder, link, device or pipe."""
    return path.is_file() and not path.is_symlink()


def find_others(folder: Path, names: Iterable[str], listed: Listed) -> list[str]:
    """Return those names of which a folder has what is not on its list, or was changed since."""
    return [
        name
        for name in names
        if os.path.lexists(folder / name)
        and not (is_regular(folder / name) and sha256((folder / name).read_bytes()) in listed.get(name, ()))
    ]


def shown(names: list[str]) -> str:
    """Return the first names, as they stand in a message of one line."""
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return ", ".join(names[:3]) + more
