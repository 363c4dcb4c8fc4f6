"""Digits as files, and a bundle of the finished run, for whatever predicts."""

import json
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from export.bundle.preprocessing import describe_preprocessing
from export.convert.converter import quantize_to_int8
from export.device import run
from export.quantize.ranges import Calibrator
from pipeline.config.reading import READING
from pipeline.data.digits import load_digits
from pipeline.tflite.file import TFLiteFile

COUNT = 40


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Pixels uint8 [40, 8, 8, 3] and labels."""
    source = load_digits()
    return source.images.images[:COUNT], source.labels[:COUNT]


def write_digit_folder(root: Path) -> Path:
    """Write the digits into folders that are called as their classes."""
    for row, (image, label) in enumerate(zip(*digits(), strict=True)):
        (root / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(root / str(label) / f"{row:02d}.png")
    return root


def write_digit_bundle(folder: Path, float32: TFLiteFile) -> Path:
    """Write a network of digits as float32 and int8, without the checks of an export."""
    int8 = quantize_to_int8(float32, Calibrator(float32, digits()[0]).full)
    files = {"model_float32.tflite": float32, "model_int8.tflite": int8}
    for name, file in files.items():
        (folder / name).write_bytes(file.content)
    (folder / "preprocessing.json").write_text(json.dumps(describe_preprocessing(files, "logits", READING)))
    (folder / "labels.txt").write_text("".join(f"{digit}\n" for digit in range(10)))
    shutil.copy(run.__file__, folder / "run.py")
    return folder
