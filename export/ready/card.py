"""The card of a ready model: what it was made of and how, what it is worth, and digests to know it by."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from export.formats import FORMATS
from export.request import Request
from pipeline.config.config import Config
from pipeline.config.option import flag
from pipeline.console.tables import markdown_table
from pipeline.files.json_file import read_json
from pipeline.files.own_files import sha256
from pipeline.pretrained import read_pretrained
from pipeline.tflite.file import TFLiteFile

DATA_TERMS = {
    "digits": "scikit-learn's copy of the handwritten digits of E. Alpaydin and C. Kaynak (UCI, 1998), "
    "CC BY 4.0",
    "cifar10": "A. Krizhevsky 2009, which names no licence; the images belong to their authors",
}
"""Data that ready models may be trained on -> whose it is, and its licence."""

REPORT = {
    "output": str,
    "temperature": float,
    "max_drop_points": float,
    "splits": dict,
    "run.parameters": int,
    "run.multiply_adds": int,
    "run.image_size": int,
    "files.int8": dict,
    "files.int8.crc32": str,
    "files.int8.test_images": int,
    "files.int8.accuracy": float,
    "files.int8.drop_points": float,
    "files.int8.drop_interval_95_points": list,
    "files.int8.agreement": float,
    "files.int8.latency": list,
    "int8_tried": list,
    "environment.python": str,
    "environment.packages": dict,
    "environment.cores": int,
    "environment.processor": str,
}
"""What the export's report must tell, and its type."""

INT8 = FORMATS["int8"].file


def write_card(
    name: str,
    config: Config,
    metrics: Mapping[str, Any],
    report: Mapping[str, Any],
    folder: Path,
    *,
    cores: int,
) -> str:
    """Write the card in Markdown.

    Args:
        name: of the model.
        config: of its run.
        metrics: of its run.
        report: of its export; see `REPORT`.
        folder: holds the model's other files.
        cores: that trained it.
    """
    run, splits = report["run"], read_json(folder / "splits.json")
    sizes = ", ".join(f"{split} {of['images']:,}" for split, of in splits["splits"].items())
    best = metrics["validation"]
    sections = [
        f"# {name}",
        f"{config.model.model}, width {config.model.width}, from {run['image_size']} x {run['image_size']} "
        f"RGB pixels in [0, 255] to {report['output']} of {len(splits['class_names'])} classes "
        f"(`labels.txt`). {run['parameters']:,} parameters, {run['multiply_adds']:,} multiply-adds an image.",
        markdown_table(("file", "KiB", "test accuracy", "p50 ms"), _files(metrics, report, folder)),
        _compare(report),
        "## Data",
        f"{splits['source']}: {DATA_TERMS[config.data.data]}. Splits: {sizes}.",
        "## Recipe",
        f"{metrics['epochs']} epochs ({metrics['steps']:,} steps), seed {config.run.seed}, one run. Best on "
        f"validation after epoch {best['best_epoch']}: {best['accuracy']:.2%}. Test was looked at once. All "
        "settings are in `config.json`; those that are not at their defaults:",
        f"```\n{' '.join(_flags(config))}\n```",
        "## Made by",
        f"```\n{_holding_to(cores, report['environment'])}python train.py --config ready/{name}/config.json "
        f"--run-dir runs/{name}\n"
        f"python -m export runs/{name}{_remedies(report['int8_tried'])}{_choices(report, folder)}\n"
        f"python -m export.ready runs/{name} ready/{name}\n```",
        f"{_describe_machine(report['environment'], cores)} There, the same commands give the same weights "
        "and the same int8 file, bit for bit; `model.keras` itself holds the time at which it was written.",
        "## Digests",
        markdown_table(("what", "SHA-256"), _digests(folder)),
    ]
    return "\n\n".join(sections) + "\n"


def _remedies(tried: Sequence[Mapping[str, Any]]) -> str:
    """Return the flags of the export that tried more than one way to int8.

    Args:
        tried: what the report tells of each.
    """
    # An earlier version trained none.
    epochs = [one.get("trained_epochs", 0) for one in tried]
    flags = " --repair" if epochs.count(0) > 1 else ""
    return f"{flags} --finetune {max(epochs)}" if any(epochs) else flags


def _choices(report: Mapping[str, Any], folder: Path) -> str:
    """Return the flags that made the int8 file another one than their defaults make."""
    given = {
        "output": report["output"],
        "temperature": report["temperature"],
        "input_type": TFLiteFile((folder / INT8).read_bytes()).input.dtype,
        # Where --repair stops, and whether there is a file at all.
        "max_drop": report["max_drop_points"],
    }
    changed = {name: value for name, value in given.items() if value != getattr(Request, name)}
    # The file has its names itself; of an earlier version it is not told.
    no_slim = f" {flag('no_slim')}" * (report["files"]["int8"].get("tensor_names") == [])
    return "".join(f" {flag(name)} {value}" for name, value in changed.items()) + no_slim


def _files(metrics: Mapping[str, Any], report: Mapping[str, Any], folder: Path) -> list[tuple[str, ...]]:
    int8 = report["files"]["int8"]
    keras_kib, int8_kib = (f"{(folder / file).stat().st_size / 1024:,.1f}" for file in ("model.keras", INT8))
    return [
        ("`model.keras`", keras_kib, f"{metrics['test']['accuracy']:.2%}", ""),
        (f"`{INT8}`", int8_kib, f"{int8['accuracy']:.2%}", f"{int8['latency'][0]['p50_ms']:.3f}"),
    ]


def _compare(report: Mapping[str, Any]) -> str:
    """Say how the int8 file differs from the network, and what a microcontroller needs for it."""
    int8, micro = report["files"]["int8"], report.get("tensorflow_lite_micro") or {}
    low, high = int8["drop_interval_95_points"]
    text = (
        f"Measured on {int8['test_images']:,} test images, the time of one image on one thread. int8 costs "
        f"{int8['drop_points']:.2f} points ({low:.2f} to {high:.2f}, 95 %, paired) and gives "
        f"{int8['agreement']:.2%} of Keras' answers."
    )
    if "arena_bytes" in micro:
        text += (
            f" TensorFlow Lite Micro needs an arena of {micro['arena_bytes'] / 1024:.1f} KiB and gives "
            f"LiteRT's bytes on {micro['images']} images."
        )
    return text


def _flags(config: Config) -> list[str]:
    """Write the settings that are not at their defaults as flags."""
    default, words = Config().values(), []
    for name, value in config.values().items():
        if isinstance(value, bool) and value != default[name]:
            words.append(flag(name) if value else flag(f"no_{name}"))
        elif value != default[name]:
            words.append(f"{flag(name)} {value}")
    return words


def _holding_to(cores: int, environment: Mapping[str, Any]) -> str:
    """What a command begins with that is to have no more cores than the training had."""
    return f"taskset -c {','.join(map(str, range(cores)))} " if cores < environment["cores"] else ""


def _describe_machine(environment: Mapping[str, Any], cores: int) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in environment["packages"].items())
    where = f"{environment['cores']} cores of {environment['processor']}"
    if cores != environment["cores"]:
        where += f" (trained on {cores}, which `taskset` holds a command to)"
    return f"With Python {environment['python']}, {packages} on {where}, at commit {_commit()}."


def _commit() -> str:
    """Name the commit of the code, with `-dirty` where it was changed since."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def _digests(folder: Path) -> list[tuple[str, str]]:
    files = [(f"`{file}`", sha256((folder / file).read_bytes())) for file in ("model.keras", INT8)]
    weights = "weights, as `weights.json` of a run that starts from them tells it"
    return [*files, (weights, read_pretrained(str(folder / "model.keras")).fingerprint)]
