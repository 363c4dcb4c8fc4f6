"""What the tests of run.py share: labels, images, a bundle, and what run.py printed."""

import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import numpy as np
from PIL import Image

from export.bundle.preprocessing import describe_preprocessing
from export.device import run
from pipeline.config.reading import READING
from pipeline.tflite.file import TFLiteFile

HEIGHT, WIDTH = 6, 9  # unequal, so that a swapped axis shows
LABELS = ["cat", "sea lion", "Äffchen", "犬", "cat and dog"]
IMAGES = np.random.default_rng(0).integers(0, 256, (12, HEIGHT, WIDTH, 3), dtype=np.uint8)


def write_bundle(folder: Path, models: dict[str, TFLiteFile], output: str) -> Path:
    folder.mkdir()
    for name, file in models.items():
        (folder / name).write_bytes(file.content)
    description = describe_preprocessing(models, output, READING)
    (folder / "preprocessing.json").write_text(json.dumps(description))
    (folder / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), "utf-8")
    shutil.copy(run.__file__, folder / "run.py")
    return folder


def main_of(bundle: Path) -> Callable[[list[str]], int]:
    """What the bundle's own run.py runs, in this process."""
    spec = spec_from_file_location("bundled_run", bundle / "run.py")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.main


def classify(bundle: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, bundle / "run.py", *arguments]
    return subprocess.run([*map(str, command)], capture_output=True, text=True, encoding="utf-8")


def parse(output: str) -> tuple[list[str], list[list[str]], np.ndarray]:
    """Split run.py's lines into paths, labels [images][K] and probabilities [images, K]."""
    rows = [line.split("\t") for line in output.splitlines()]
    chances = np.array([row[2::2] for row in rows], float)
    return [row[0] for row in rows], [row[1::2] for row in rows], chances


def save(image: np.ndarray, kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, kind)
    return buffer.getvalue()


def assert_one_complaint(code: int, stdout: str, stderr: str, about: str) -> None:
    assert (code, stdout) == (2, "")
    assert stderr.startswith("error: ")
    assert stderr.count("\n") == 1
    assert about in stderr
