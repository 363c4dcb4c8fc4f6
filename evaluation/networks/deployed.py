"""The TFLite files of a run's bundle, as far as they are to be measured."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from export.formats import FORMATS, OUTPUTS, TFLITE
from pipeline.errors import UserError
from pipeline.files.json_file import read_json
from pipeline.files.regular import open_regular
from pipeline.finished_run import FinishedRun
from pipeline.tflite.file import TFLiteFile

NEEDED = ("files", "output", "temperature", "splits")
"""What a bundle's report must tell."""


@dataclass(frozen=True)
class DeployedFile:
    """One TFLite file of a bundle.

    Attributes:
        name: of its format, such as int8.
        file: its name in the bundle.
        tflite: the file itself.
        output: what it returns: logits or probabilities.
        temperature: that its logits were divided by.
    """

    name: str
    file: str
    tflite: TFLiteFile
    output: str
    temperature: float = 1.0


def load_deployed(run: FinishedRun, formats: tuple[str, ...] | None) -> list[DeployedFile]:
    """Load the run's exported files.

    Args:
        run: the finished run.
        formats: which; None for all that there are.

    Raises:
        UserError: one is missing or damaged, or the bundle is of another run.
    """
    folder = run.directory.path / "export"
    path = folder / "report.json"
    report = read_json(path, NEEDED, "a bundle") if path.exists() else None
    if report and not _is_whole(report):
        raise UserError(f"a bundle must have a whole report.json; {path} is none that an export wrote")
    files = [name for name in report["files"] if name in TFLITE] if report else []
    if report and report["splits"] != run.splits:
        raise UserError(f"a bundle must be of the run that it lies in; {folder} is of another")
    for name in formats or ():
        if name not in files:
            raise UserError(
                f"--formats must be exported files; received {name}, but {folder} has "
                f"{', '.join(files) or 'none'} (to export it: python -m export "
                f"{run.directory.path} --formats {name})"
            )
    return [_load(folder, name, report) for name in formats or files] if report else []


def _is_whole(report: dict[str, Any]) -> bool:
    """Whether what is used of a report has the types that an export gives it."""
    files, temperature = report["files"], report["temperature"]
    return (
        isinstance(files, dict)
        and all(name in FORMATS and isinstance(file, dict) for name, file in files.items())
        and all(isinstance(file.get(key, ""), str) for file in files.values() for key in ("file", "crc32"))
        and report["output"] in OUTPUTS
        and type(temperature) in (int, float)
        and temperature > 0
    )


def choose(deployed: Sequence[DeployedFile]) -> list[DeployedFile]:
    """Choose the one file to hold beside Keras: int8, else the smallest."""
    by_size = sorted(deployed, key=lambda file: (file.name != "int8", file.tflite.size))
    return by_size[:1]


def _load(folder: Path, name: str, report: dict[str, Any]) -> DeployedFile:
    described = report["files"][name]
    if missing := [key for key in ("file", "crc32") if key not in described]:
        raise UserError(
            f"a bundle must have a whole report.json; {folder} does not tell {', '.join(missing)} of {name}"
        )
    path = folder / described["file"]
    try:
        with open_regular(path) as file:
            tflite = TFLiteFile(file.read())
    except OSError as error:
        raise UserError(f"a bundle must be whole; {path}: {error.strerror}") from None
    if tflite.crc32 != described["crc32"]:
        raise UserError(f"a bundle must be as it was exported; {path} was changed since")
    return DeployedFile(name, path.name, tflite, report["output"], report["temperature"])
