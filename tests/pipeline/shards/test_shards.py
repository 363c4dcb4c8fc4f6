"""A folder written as a set of TensorFlow Datasets: what `tfds.load` and training read of it."""

import io
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image

from pipeline.data.tfds import load_tfds
from pipeline.shards.__main__ import main
from tests.commands import run_command

SIZES = {"cat": (64, 40), "dog": (20, 10), "rüd": (30, 90)}
"""Class -> width and height; of the second the shorter side is shorter than asked for."""

SIDE = 20


def image_of(name: str, number: int) -> Image.Image:
    """One colour an image, so that neither resizing nor JPEG changes it by more than rounding."""
    colour = (40 * number, 250 - 30 * number, 20 * len(name) + [*SIZES].index(name))
    return Image.new("RGB", SIZES[name], colour)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Three images a class in train, one in test."""
    for split, numbers in {"train": (0, 1, 2), "test": (3,)}.items():
        for name in SIZES:
            for number in numbers:
                path = tmp_path / "images" / split / name / f"{number}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                image_of(name, number).save(path)
    return tmp_path / "images"


def test_tfds_and_training_read_what_was_in_the_folder(folder, tmp_path, monkeypatch):
    damaged = folder / "train" / "cat" / "cut.png"
    damaged.write_bytes(b"\x89PNG\r\n\x1a\n")
    # One of thirteen is too much, as for a run.
    outcome = run_command(main, str(folder), str(tmp_path / "sets" / "pets"), "--side", str(SIDE))
    assert outcome.code == 2
    assert "--max-bad-share" in outcome.error
    damaged.unlink()
    out = tmp_path / "sets" / "pets"
    outcome = run_command(main, str(folder), str(out), "--side", str(SIDE))
    assert outcome.code == 0, outcome.error
    assert f"TFDS_DATA_DIR={out.parent} python train.py --data pets" in outcome.printed
    builder = tfds.builder("pets", data_dir=out.parent)
    assert builder.info.features["label"].names == [*SIZES]
    for split, count in {"train": 9, "test": 3}.items():
        examples = list(builder.as_dataset(split, as_supervised=True).as_numpy_iterator())
        assert len(examples) == count
        for image, label in examples:
            name = [*SIZES][label]
            # 64 x 40 to 32 x 20, 20 x 10 as it is, 30 x 90 to 20 x 60.
            assert image.shape == {"cat": (20, 32, 3), "dog": (10, 20, 3), "rüd": (60, 20, 3)}[name]
            number = round(image[..., 0].mean() / 40)
            assert np.abs(image.astype(int) - image_of(name, number).getpixel((0, 0))).max() <= 3
    monkeypatch.setenv("TFDS_DATA_DIR", str(out.parent))
    source = load_tfds("pets")
    assert {split: len(rows) for split, rows in source.provided.items()} == {"train": 9, "test": 3}
    assert Image.open(io.BytesIO(source.images.read(0).numpy())).format == "JPEG"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere", "sets/pets"], "FOLDER must name a folder; received nowhere"),
        (["images", "sets/Pets"], "OUT must be called as a set may be, [a-z][a-z0-9_]*; received sets/Pets"),
        (["images", "images"], "OUT must be new; received images"),
        (["images", "sets/digits"], "OUT must have a name of its own, for --data digits is another set"),
        (["images", "sets/imagenette"], "OUT must have a name of its own, for --data imagenette is another"),
        (["images", "sets/pets", "--side", "4"], "--side must be from 8 to 2048; received 4"),
        (["images/train/cat", "sets/pets"], "class folders"),
    ],
)
def test_what_cannot_be_is_refused_at_once(folder, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    outcome = run_command(main, *arguments)
    assert outcome.code == 2
    assert message in outcome.error
    assert outcome.error.count("\n") == 1
    assert not (tmp_path / "sets").exists()


@pytest.mark.parametrize(
    ("crash", "code"), [(KeyboardInterrupt(), 130), (OSError(5, "Input/output error"), 2)]
)
def test_a_broken_off_set_is_not_there(folder, tmp_path, monkeypatch, crash, code):
    def break_off(*_: object, **__: object) -> None:
        raise crash

    monkeypatch.setattr(tfds.core.GeneratorBasedBuilder, "_download_and_prepare", break_off)
    outcome = run_command(main, str(folder), str(tmp_path / "pets"))
    assert outcome.code == code
    assert ("OUT must be writable" in outcome.error) is (code == 2)
    assert not (tmp_path / "pets").exists()
