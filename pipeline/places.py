"""What the command line points at, looked at before TensorFlow takes seconds to load."""

import difflib
import os
import re
from pathlib import Path

from pipeline import hub
from pipeline.config.config import Config
from pipeline.config.option import flag
from pipeline.config.published import IMAGENET, PUBLISHED, HubWeights, KerasWeights, published_settings
from pipeline.config.settings import ModelConfig
from pipeline.config.tfds_folder import tfds_folder
from pipeline.data.exclusions import read_exclusions
from pipeline.data.folders.layout import find_class_folders, real_path
from pipeline.errors import UserError, received
from pipeline.reachable import find_fault
from pipeline.ready_models import describe_ready, find_place
from pipeline.run_directory import RunDirectory

WEIGHT_ENDINGS = (".keras", ".pth", ".pt", ".th", ".tar", ".bin", ".safetensors")
"""How the names of files of weights end; all but the first and the last are PyTorch's."""


def check_places(config: Config) -> None:
    """Refuse data, lists and weights that are plainly not there, or not laid out as they must be.

    Raises:
        UserError: there is no such folder, set, run or file, or a folder is in no layout of classes, or
            a list has no column of images.
    """
    kind, _, path = config.data.data.partition(":")
    if kind == "folder":
        _check_folder(path)
    elif config.data.data != "digits":
        _check_set(config.data.data)
    if config.data.exclude:
        read_exclusions(Path(config.data.exclude), by_file=kind == "folder")
    if config.transfer.weights == IMAGENET:
        _check_published(config.model)
    elif config.transfer.weights:
        check_weights(config.transfer.weights)
    if config.transfer.teacher:
        check_teacher(config.transfer.teacher)


def _check_folder(path: str) -> None:
    if not os.path.isdir(os.path.expanduser(path)):
        raise UserError(f"--data folder:PATH must name a folder; received folder:{path}")
    find_class_folders(real_path(Path(path)))


def _check_set(name: str) -> None:
    """Refuse what TFDS neither knows nor finds prepared; its list of names needs no TensorFlow."""
    if name.startswith(("/", ".", "~")):
        # No set of TFDS is called so.
        raise UserError(f"--data must name a folder that is there; received {name}")
    base = re.split("[/:]", name)[0]
    folder = tfds_folder()
    if not re.fullmatch("[a-z0-9_]+", base) or (folder / base).is_dir():
        return
    import tensorflow_datasets as tfds

    known = tfds.list_builders(with_community_datasets=False)
    if base not in known:
        near = difflib.get_close_matches(base, [*known, "digits"], 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise UserError(
            f"--data must be folder:PATH, digits or what TFDS can open in {folder}; received {name!r}{hint}"
        )


def check_imagenet(model: str) -> None:
    """Raise `UserError` unless ImageNet weights of the network are published."""
    if model not in PUBLISHED:
        raise UserError(
            f"--weights {IMAGENET} must go with --model {', '.join(PUBLISHED)}, as there are none of {model} "
            "(give a file, .safetensors or .pth, a KerasHub preset to download, or --weights none; the "
            "preset folder_scratch has none)"
        )


def _check_published(model: ModelConfig) -> None:
    """Refuse a network that the published weights are not of, and weights that cannot be had now."""
    check_imagenet(model.model)
    theirs = published_settings(model.model)
    for name in ("width", "stem", "shortcut"):
        if (value := getattr(model, name)) not in ("auto", theirs[name]):
            raise UserError(
                f"{flag(name)} must be {theirs[name]} with --weights {IMAGENET}, as those of {model.model} "
                f"are published; received {value}"
            )
    match PUBLISHED[model.model]:
        case KerasWeights() as weights if not (keras_folder() / "models" / weights.name).is_file():
            _check_reachable(model.model, weights.url)
        case HubWeights(repository) if not hub.is_kept(repository):
            if hub.is_offline():
                raise _unavailable(model.model, f"{repository} is not kept here, and HF_HUB_OFFLINE is set")
            _check_reachable(model.model, hub.hub_url(repository))


def keras_folder() -> Path:
    """Return where Keras keeps what it downloads."""
    return Path(os.environ.get("KERAS_HOME") or os.path.expanduser("~/.keras"))


def _check_reachable(model: str, url: str) -> None:
    if fault := find_fault(url):
        raise _unavailable(model, f"{url}: {fault}")


def _unavailable(model: str, reason: str) -> UserError:
    return UserError(
        f"--weights {IMAGENET} of {model} must be downloaded; {reason} (without a network give a file, "
        ".safetensors or .pth, --weights none, or --model efficientnet_lite0, whose weights come along)"
    )


def check_weights(source: str) -> None:
    """Hold what `--weights` names to its kinds; a name that is no path may be a KerasHub preset's.

    Raises:
        UserError: there is no such file, or it is of another kind, or a run is not finished.
    """
    path = find_place(source)
    if os.path.isdir(path):
        if not is_preset(path):
            RunDirectory(path).load_finished()
        return
    if not os.path.exists(source):
        if path.suffix in WEIGHT_ENDINGS or ("/" in source and "://" not in source):
            raise UserError(f"--weights must exist; received {source}")
        return
    if not path.is_file():
        raise UserError(f"--weights must be a regular file, a directory or a preset; received {source}")
    if path.suffix not in WEIGHT_ENDINGS:
        raise UserError(f"--weights must be a file of {', '.join(WEIGHT_ENDINGS)}; received {source}")


def check_teacher(name: str) -> None:
    """Hold what `--teacher` names to a finished run.

    Raises:
        UserError: it is none, and no ready model either.
    """
    path = find_place(name)
    if not os.path.isdir(path):
        raise UserError(
            f"--teacher must be the directory of a finished run or a ready model; received {received(name)}; "
            f"{describe_ready(name)}"
        )
    RunDirectory(path).load_finished()


def is_preset(folder: Path) -> bool:
    """Whether KerasHub wrote the folder: into every preset it writes a file that a run lacks."""
    return (folder / "metadata.json").is_file()
