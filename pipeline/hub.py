"""Repositories of the Hugging Face Hub: what is kept here already, and what is downloaded."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import UserError
from pipeline.reachable import SECONDS

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
"""Files of a repository: arrays, how their pixels are normalised, and the licence in its head."""


@dataclass(frozen=True)
class Snapshot:
    """A repository's files at one revision.

    Attributes:
        weights: the arrays; the other files lie beside them.
        revision: of all of them, as Git knows it.
        licence: as the repository's card has it; empty where it tells none.
        sha256: of the weights, as hex.
    """

    weights: Path
    revision: str
    licence: str
    sha256: str


def hub_url(repository: str) -> str:
    """Return the address of a repository's weights; `HF_ENDPOINT` names another hub."""
    from huggingface_hub import hf_hub_url

    return hf_hub_url(repository, WEIGHTS)


def is_offline() -> bool:
    """Whether `HF_HUB_OFFLINE` forbids downloads."""
    from huggingface_hub import is_offline_mode

    return is_offline_mode()


def is_kept(repository: str) -> bool:
    """Whether the files lie in the hub's folder on this machine (`HF_HOME`, else `~/.cache/huggingface`)."""
    from huggingface_hub import try_to_load_from_cache

    return all(isinstance(try_to_load_from_cache(repository, file), str) for file in (WEIGHTS, CONFIG, CARD))


def fetch(repository: str) -> Snapshot:
    """Find a repository's files, downloading what is not kept; a download that broke off goes on.

    What is kept is not asked for again, so that a run has the weights that it began with.

    Raises:
        UserError: a file cannot be downloaded, or is not what the hub says it is.
    """
    from huggingface_hub import metadata_load

    weights = _fetch(repository, WEIGHTS, "main")
    revision = weights.parent.name
    _fetch(repository, CONFIG, revision)
    card = metadata_load(_fetch(repository, CARD, revision)) or {}
    return Snapshot(weights, revision, str(card.get("license") or ""), _digest(weights))


def _fetch(repository: str, file: str, revision: str) -> Path:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        return Path(hf_hub_download(repository, file, revision=revision, local_files_only=True))
    except LocalEntryNotFoundError:
        pass
    try:
        return Path(hf_hub_download(repository, file, revision=revision, etag_timeout=SECONDS))
    except Exception as error:
        # The hub's client raises its own, the network's and the disk's.
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UserError(f"--weights imagenet must be downloaded; {file} of {repository}: {reason}") from error


def _digest(weights: Path) -> str:
    """Return the SHA-256, which is the name that the hub keeps a large file under."""
    with weights.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    kept = weights.resolve()
    if re.fullmatch("[0-9a-f]{64}", kept.name) and kept.name != found:
        raise UserError(
            f"--weights imagenet must be what the hub says, SHA-256 {kept.name}; {kept} has {found} (once it "
            "is deleted, it is downloaded again)"
        )
    return found
