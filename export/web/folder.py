"""The folder that a static server serves: page, network, contract, golden vectors, LiteRT.js."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np

from export.bundle.golden import verify_golden, write_golden
from export.bundle.golden_resize import write_golden_resize
from export.bundle.preprocessing import describe_preprocessing
from export.litert_js import MODULES, copy_runtime
from export.request import Request
from pipeline.files.json_file import write_json
from pipeline.files.whole import write_whole
from pipeline.finished_run import FinishedRun
from pipeline.page.answering import page_files
from pipeline.tflite.file import TFLiteFile

MODEL = "model.tflite"

SCRIPTS = ("ask.js", "contract.js")

FOOTER = (
    "Milliseconds are those of the network for this one image in this browser, decoding and resizing aside. "
    "Images stay here: they are sent to nobody."
)


def write_web(bundle: Path, file: TFLiteFile, request: Request, run: FinishedRun, images: np.ndarray) -> None:
    """Write `web/` into a bundle: a page on which the network answers for images and a camera.

    It answers for nothing before it has given the golden vectors' scores.

    Args:
        bundle: holds `labels.txt`.
        file: the network, as LiteRT.js takes it.
        request: what was asked for.
        run: the finished run.
        images: uint8 [images, height, width, 3], for golden vectors; a few.
    """
    folder, size, reading = bundle / "web", run.data.image_size, run.data.source.reading
    folder.mkdir()
    pages = page_files(
        run.directory.path.name,
        {"int8": f"{file.size / 1024:,.1f} KiB"},
        classes=len(run.class_names),
        image_size=size,
        footer=FOOTER,
        modules={module: f"./litert/{name}" for module, name in MODULES.items()},
    )
    for name, content in {**pages, MODEL: file.content}.items():
        write_whole(folder / name, partial(Path.write_bytes, data=content))
    for path in (bundle / "labels.txt", *(Path(__file__).parent / name for name in SCRIPTS)):
        shutil.copyfile(path, folder / path.name)
    write_json(folder / "preprocessing.json", describe_preprocessing({MODEL: file}, request.output, reading))
    write_golden(MODEL, file, images, folder / "golden")
    verify_golden(MODEL, file, folder / "golden")
    write_golden_resize(size, reading, folder / "golden")
    assert request.web  # else there is nothing to write
    copy_runtime(request.web, folder / "litert")
