"""The file that answers, found by what the user called it, before TensorFlow loads."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.config.reading import READING, RESIZES, Reading
from pipeline.errors import UserError, received
from pipeline.files.json_file import read_json, verify_fields
from pipeline.files.regular import open_regular
from pipeline.ready_models import describe_ready, find_place
from pipeline.run_directory import RunDirectory

LABELS, PREPROCESSING = "labels.txt", "preprocessing.json"
"""What lies beside every .tflite file of a bundle."""

NEEDED = {"input": dict, "input.dtype": str, "output": dict, "output.scores": str}
"""What `PREPROCESSING` must tell of a file, and its type."""

SCORES = ("logits", "probabilities")


@dataclass(frozen=True)
class ModelFile:
    """A network on the disk.

    Attributes:
        path: a .keras or a .tflite file.
        class_names: label -> name; empty where nothing tells them.
        scores: what it returns, one of `SCORES`.
        crc32: of a .tflite file as it was exported; None where its bundle is too old to tell.
        reading: how image files become what it sees.
    """

    path: Path
    class_names: tuple[str, ...]
    scores: str = "logits"
    crc32: str | None = None
    reading: Reading = READING


def find_model(name: str) -> ModelFile:
    """Find what MODEL means.

    Args:
        name: a run directory, which stands for its model.keras with the best weights; a bundle,
            which stands for its int8 file, else for its first; a .tflite file of a bundle; a
            .keras file; the name of a ready model, which stands for its model.keras.

    Raises:
        UserError: it is none of these, unfinished, or what belongs to it is missing or damaged.
    """
    path = find_place(name)
    try:
        if RunDirectory(path).config.exists():
            RunDirectory(path).load_finished()
            return _of_keras(RunDirectory(path).model)
        if (path / PREPROCESSING).exists():
            return _of_bundle(path, None)
        if path.suffix == ".tflite" and path.is_file():
            return _of_bundle(path.parent, path.name)
        if path.suffix == ".keras" and path.is_file():
            return _of_keras(path)
    except OSError as error:
        raise UserError(f"a model must be readable; {received(name)}: {error.strerror}") from None
    raise UserError(
        "a model must be a run directory, a bundle with .tflite files, a .tflite or a .keras file, or the "
        f"name of a ready one; received {received(name)}; {describe_ready(name)}"
    )


def find_export(name: str) -> ModelFile | None:
    """Find the file for the device that a run or a ready model was exported to.

    Args:
        name: what `find_model` takes.

    Returns:
        What stands for the bundle in the run directory, or for a ready model, which has its files beside
        the network; None where there is none, or no run.

    Raises:
        UserError: the bundle is damaged.
    """
    path = find_place(name)
    if RunDirectory(path).config.exists():
        for bundle in (path / "export", path):
            if (bundle / PREPROCESSING).exists():
                return _of_bundle(bundle, None)
    return None


def warn_of_numbers(model: ModelFile) -> None:
    """Say on stderr where numbers stand for the names of classes."""
    if not model.class_names:
        print(
            f"nothing names the classes of {model.path}: they are numbered (a labels.txt beside it, a name a "
            "line, would name them)",
            file=sys.stderr,
        )


def _of_bundle(folder: Path, name: str | None) -> ModelFile:
    """Describe a file of a bundle, or the one that its run.py takes."""
    path = folder / PREPROCESSING
    if name and not (path.exists() and (folder / LABELS).exists()):
        raise UserError(
            f"a .tflite file must have {LABELS} and {PREPROCESSING} beside it, as python -m export writes "
            f"them; received {folder / name} without (copy the whole folder)"
        )
    content = read_json(path, {"models": dict}, of="a bundle")
    models = {name: of for name, of in content["models"].items() if name.endswith(".tflite")}
    for described in models.values():
        verify_fields(described, NEEDED, path, of="a bundle")
    chosen = name or _default(models)
    if chosen is None or chosen not in models:
        described_ones = ", ".join(models) or "none"
        raise UserError(
            f"{path} must describe the .tflite file; received {chosen}, and it has {described_ones}"
        )
    scores = models[chosen]["output"]["scores"]
    if scores not in SCORES:
        raise UserError(f"scores in {path} must be {' or '.join(SCORES)}; received {received(scores)}")
    labels, reading = _read_labels(folder / LABELS), _reading_of(content, path)
    return ModelFile(folder / chosen, labels, scores, models[chosen].get("crc32"), reading)


def _reading_of(content: dict[str, Any], path: Path) -> Reading:
    """Find how a bundle reads images; one of an earlier version does not say, and ignores EXIF."""
    if "image" not in content:
        return Reading(exif_orientation=False)
    kinds = {"exif_orientation": bool, "resize": str, "crop_share": float, "border": int}
    needed = {"image": dict, **{f"image.{name}": kind for name, kind in kinds.items()}}
    verify_fields(content, needed, path, of="a bundle")
    if (resize := content["image"]["resize"]) not in RESIZES:
        raise UserError(f"resize in {path} must be one of {', '.join(RESIZES)}; received {received(resize)}")
    return Reading(**{name: content["image"][name] for name in kinds})


def _default(models: dict[str, Any]) -> str | None:
    int8 = (name for name, described in models.items() if described["input"]["dtype"] in ("int8", "uint8"))
    return next(int8, next(iter(models), None))


def _of_keras(path: Path) -> ModelFile:
    """Describe a .keras file; its run knows classes and reading, elsewhere labels.txt names the classes."""
    directory = RunDirectory(path.parent)
    is_runs_own = path.name == directory.model.name and directory.config.exists()
    if is_runs_own and directory.splits.exists():
        names = read_json(directory.splits, {"class_names": list})["class_names"]
        reading = directory.load_unfinished(asked={}).data.reading
        return ModelFile(path, tuple(map(str, names)), reading=reading)
    labels = path.with_name(LABELS)
    return ModelFile(path, _read_labels(labels) if labels.exists() else ())


def _read_labels(path: Path) -> tuple[str, ...]:
    try:
        with open_regular(path) as file:
            # Lines end as they do on Windows where a name was changed there, or Git checked them out.
            text = file.read().decode("utf-8").replace("\r\n", "\n")
            return tuple(text.removesuffix("\n").split("\n"))
    except (OSError, ValueError) as error:
        raise UserError(f"{path} must be readable text in UTF-8; {error}") from None
