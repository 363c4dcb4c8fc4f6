"""Everything a bundle holds, written into its folder."""

import shutil
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from export.bundle.c_source import write_c_source
from export.bundle.golden import verify_golden, write_golden
from export.bundle.golden_resize import verify_golden_resize, write_golden_resize
from export.bundle.micro_folder import write_micro_folder
from export.bundle.model_card import write_card
from export.bundle.plots import plot_files
from export.bundle.preprocessing import describe_preprocessing
from export.bundle.report import Findings
from export.errors import ExportFailed
from export.formats import FORMATS
from export.request import Request
from export.verify.micro import MicroResult
from pipeline.files.json_file import write_json
from pipeline.files.whole import write_text, write_whole
from pipeline.finished_run import FinishedRun
from pipeline.tflite.file import TFLiteFile

GOLDEN_IMAGES = 4

RUN_ON_DEVICE = Path(__file__).parents[1] / "device" / "run.py"


def write_bundle(
    folder: Path, request: Request, run: FinishedRun, found: Findings, report: dict[str, Any]
) -> None:
    """Write the files that were verified, and what a device and its owner need beside them.

    Args:
        folder: of the bundle; holds the SavedModel already, where that was asked for.
        request: what was asked for.
        run: the finished run.
        found: the files and what is known of them.
        report: the content of `report.json`; the C source's name, and whether it is there, are added.
    """
    report["c_source"] = report["c_name"] = None
    reading, size = run.data.source.reading, run.data.image_size
    for name, file in found.files.items():
        write_whole(folder / FORMATS[name].file, partial(Path.write_bytes, data=file.content))
    labels = "".join(f"{' '.join(name.split())}\n" for name in run.class_names)
    write_text(folder / "labels.txt", labels)
    if found.files:
        files = {FORMATS[name].file: file for name, file in found.files.items()}
        described = describe_preprocessing(files, request.output, reading)
        write_json(folder / "preprocessing.json", described)
        shutil.copyfile(RUN_ON_DEVICE, folder / "run.py")
        plot_files(report, folder / "files.png")
        _write_golden(folder / "golden", found)
        write_golden_resize(size, reading, folder / "golden")
        verify_golden_resize(size, reading, folder / "golden")
    if found.int8:
        report["c_source"] = _write_micro_folder(folder / "micro", request, run, found, found.int8.micro)
        report["c_name"] = request.c_name
        if npu := found.int8.npu:
            (folder / "micro" / "npu").mkdir(parents=True)
            name = f"{request.c_name}_{npu.npu.replace('-', '_')}"
            write_c_source(npu.file, None, folder / "micro" / "npu", name, reading)
    write_json(folder / "report.json", report)
    write_text(folder / "model_card.md", write_card(report, run.class_names))


def _write_golden(folder: Path, found: Findings) -> None:
    """Write vectors of the int8 file, which is what is ported to boards, else of the first .tflite file."""
    tflite = {name: file for name, file in found.files.items() if isinstance(file, TFLiteFile)}
    for name in [*(name for name in tflite if name == "int8"), *tflite][:1]:
        ported = FORMATS[name].file
        write_golden(ported, tflite[name], found.calibration.images[:GOLDEN_IMAGES], folder)
        verify_golden(ported, tflite[name], folder)


def _write_micro_folder(
    folder: Path, request: Request, run: FinishedRun, found: Findings, micro: MicroResult | str
) -> bool | str:
    """Write the int8 file for a microcontroller; return True, or why it cannot run there."""
    if find_spec("tflite_micro") and not isinstance(micro, MicroResult):
        return micro
    assert found.int8  # else there is nothing to write
    file, images = found.int8.chosen.file, found.calibration.images[:GOLDEN_IMAGES]
    name, reading = request.c_name, run.data.source.reading
    try:
        write_micro_folder(file, micro, images, run.class_names, folder, name, reading)
    except ExportFailed as error:
        return str(error)
    return True
