"""What a word of the command line means as a source of images: a folder that is there, or a set."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

from pipeline.config.tfds_folder import tfds_folder
from pipeline.errors import UserError, received

FOLDER = "folder:"

ENDINGS = (".jpg", ".jpeg", ".png", ".gif", ".bmp", ".webp", ".tif", ".tiff")


def is_folder(word: str) -> bool:
    """Whether there is a folder of that name; `~` is the home directory."""
    return os.path.isdir(os.path.expanduser(word))


def as_folder(word: str) -> str:
    """Return the folder as a setting has it, with or without the `/` that a shell completes."""
    return FOLDER + (word.rstrip("/") or "/")


def find_source(word: str) -> str:
    """Return what `--data WORD` means: `folder:PATH` where WORD is a folder, else WORD as it is.

    A set of TensorFlow Datasets goes before a folder of its name, `digits` as well.

    Raises:
        UserError: it names a set, and images lie in a folder of that name.
    """
    if word.startswith(FOLDER) or not is_folder(word):
        return word
    if not _is_set(word):
        return as_folder(word)
    verify_one_meaning(word, "set")
    return word


def verify_one_meaning(name: str, kind: str) -> None:
    """Refuse a name of a `kind` (set, preset) that a folder of images has as well.

    Raises:
        UserError: there is such a folder.
    """
    if is_folder(name) and _holds_classes(name):
        raise UserError(
            f"a name must mean one thing; received {received(name)}, a {kind} and a folder of images here "
            f"(./{name} is the folder; for the {kind} rename it)"
        )


def _is_set(word: str) -> bool:
    """Whether TFDS knows a set of that name or finds it prepared; its list of names needs no TensorFlow."""
    if word == "digits":
        return True
    if not re.fullmatch(r"[a-z0-9_]+([/:][\w.*-]+)*", word):
        return False
    base = re.split("[/:]", word)[0]
    if any(any((tfds_folder() / base).glob(f"{below}/dataset_info.json")) for below in ("*", "*/*")):
        return True
    import tensorflow_datasets as tfds

    return base in tfds.list_builders(with_community_datasets=False)


def _holds_classes(folder: str) -> bool:
    """Whether images, by their names, lie in two folders below; those of a run are charts."""
    if os.path.exists(os.path.join(folder, "config.json")):
        return False
    places = _folders_with_images(folder)
    return next(places, None) is not None and next(places, None) is not None


def _folders_with_images(folder: str) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        if parent != folder and any(name.lower().endswith(ENDINGS) for name in names):
            yield Path(parent)
