"""Everything a bundle holds, written into its folder."""

import json
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from export.bundle.c_source import write_c_source
from export.bundle.golden import verify_golden, write_golden
from export.bundle.model_card import write_card
from export.bundle.plots import plot_files
from export.bundle.preprocessing import describe_preprocessing
from export.bundle.report import to_json
from export.errors import ExportFailed
from export.quantize.search import Findings
from export.request import Request
from export.tflite.formats import FORMATS
from export.tflite.graph import Graph, read_graph
from export.verify.micro import MicroResult
from pipeline.finished_run import FinishedRun

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
        report: the content of `report.json`; whether the C source is there is added to it.
    """
    report["c_source"] = None
    for name, content in found.files.items():
        (folder / FORMATS[name].file).write_bytes(content)
    labels = "".join(f"{' '.join(name.split())}\n" for name in run.class_names)
    (folder / "labels.txt").write_text(labels, encoding="utf-8")
    graphs = {FORMATS[name].file: read_graph(content, run.layers) for name, content in found.files.items()}
    if graphs:
        preprocessing = describe_preprocessing(graphs, request.output)
        (folder / "preprocessing.json").write_text(json.dumps(preprocessing, indent=2) + "\n")
        shutil.copyfile(RUN_ON_DEVICE, folder / "run.py")
        plot_files(report, folder / "files.png")
        # Those who port a network to a board port the int8 file, where there is one.
        ported = found.files.get("int8") or next(iter(found.files.values()))
        write_golden(ported, found.calibration.images[:GOLDEN_IMAGES], folder / "golden")
        verify_golden(ported, folder / "golden")
    if "int8" in found.files:
        report["c_source"] = _write_c_source(found, graphs[FORMATS["int8"].file], folder)
    (folder / "report.json").write_text(to_json(report))
    (folder / "model_card.md").write_text(write_card(report, run.class_names), encoding="utf-8")


def _write_c_source(found: Findings, graph: Graph, folder: Path) -> bool | str:
    """Write the int8 file for a microcontroller; return True, or why it cannot run there."""
    runs_on_micro = isinstance(found.micro, MicroResult)
    if find_spec("tflite_micro") and not runs_on_micro:
        return found.micro
    try:
        arena = found.micro.arena_bytes if runs_on_micro else None
        write_c_source(found.files["int8"], graph, arena, folder)
    except ExportFailed as error:
        return str(error)
    return True
