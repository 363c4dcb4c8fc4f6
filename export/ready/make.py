"""A ready model's folder: what is read of a run, the int8 file with what belongs to it, and a card."""

import io
import os
import shutil
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

from export.formats import FORMATS
from export.ready.card import DATA_TERMS, REPORT, write_card
from export.request import NAME
from pipeline.config.option import flag
from pipeline.config.published import IMAGENET
from pipeline.errors import UserError, received
from pipeline.files.json_file import read_json, write_json
from pipeline.files.place import check_can_be_made
from pipeline.files.regular import open_regular
from pipeline.files.whole import write_text, write_whole
from pipeline.prediction.model_file import LABELS, PREPROCESSING
from pipeline.ready_models import CARD, describe_ready, list_ready
from pipeline.run_directory import METRICS, RunDirectory
from pipeline.tflite.file import crc32

INT8 = FORMATS["int8"].file


def make_ready(run: RunDirectory, folder: Path) -> None:
    """Copy what a ready model needs of a run and its bundle, and write its card.

    Args:
        run: finished and exported, in its own `export`.
        folder: a new one, called as the model is to be called.

    Raises:
        UserError: the run is unfinished or not exported to int8, its bundle is damaged or of another
            run, it began with weights or had a teacher that others do not have, the terms of its data are
            not known, or the folder is not new.
    """
    config, bundle = run.load_finished(), run.path / "export"
    report = read_json(bundle / "report.json", REPORT, of="an exported run")
    splits = read_json(run.splits, {"splits": dict})
    if report["splits"] != splits["splits"]:
        raise UserError(f"a bundle must be of the run that it lies in; {bundle} is of another")
    int8 = _read(bundle / INT8)
    if crc32(int8) != report["files"]["int8"]["crc32"]:
        raise UserError(f"a bundle must be as it was exported; {bundle / INT8} was changed since")
    if config.data.data not in DATA_TERMS:
        raise UserError(
            f"a ready model's data must be {' or '.join(DATA_TERMS)}, whose terms are known; received "
            f"{received(config.data.data)}"
        )
    for name in ("weights", "teacher"):
        if (source := config.values()[name]) not in ("", IMAGENET, *list_ready()):
            raise UserError(
                f"a ready model's {flag(name)} must be one that everybody has: {describe_ready()}; "
                f"received {received(source)}"
            )
    if not NAME.fullmatch(folder.name) or os.path.lexists(folder):
        raise UserError(
            "FOLDER must be new, and its name words of lower-case letters and digits, joined by _; "
            f"received {folder}"
        )
    check_can_be_made(folder, "FOLDER")
    aside = folder.with_name(f".aside-{folder.name}")
    shutil.rmtree(aside, ignore_errors=True)
    try:
        aside.mkdir(parents=True)
        contents = {file.name: _read(file) for file in (run.metrics, run.splits)}
        contents |= {run.model.name: _compress(_read(run.model))}
        # With the settings that came after an earlier version's run, lest they be told at every use.
        contents |= {run.config.name: config.to_json().encode()}
        contents |= {LABELS: _read(bundle / LABELS), INT8: int8}
        for file, content in contents.items():
            write_whole(aside / file, partial(Path.write_bytes, data=content))
        write_json(aside / PREPROCESSING, _contract(bundle / PREPROCESSING))
        metrics = read_json(run.metrics, METRICS)
        cores = read_json(run.environment, {"cores": int})["cores"]
        write_text(aside / CARD, write_card(folder.name, config, metrics, report, aside, cores=cores))
        aside.rename(folder)
    finally:
        shutil.rmtree(aside, ignore_errors=True)


def _compress(archive: bytes) -> bytes:
    """Write a .keras file anew, of which Keras compresses nothing: the same files, smaller."""
    compressed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(archive)) as stored, zipfile.ZipFile(compressed, "w") as written:
        for file in stored.infolist():
            written.writestr(file, stored.read(file), zipfile.ZIP_DEFLATED)
    return compressed.getvalue()


def _read(file: Path) -> bytes:
    try:
        with open_regular(file) as opened:
            return opened.read()
    except OSError as error:
        raise UserError(f"an exported run must be whole; {file}: {error.strerror or error}") from None


def _contract(preprocessing: Path) -> dict[str, Any]:
    """Return what a device must do for the int8 file, and for no other."""
    content = read_json(preprocessing, {"models": dict}, of="a bundle")
    return {**content, "models": {name: of for name, of in content["models"].items() if name == INT8}}
